"""Train and measure every point of a sweep; stopped anywhere, it goes on where it was."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.durable import only_process, write_json_durably
from napari_cytosae.errors import TrainingError
from napari_cytosae.training.checkpoint import NAME as CHECKPOINT
from napari_cytosae.training.metrics import evaluate, sae_dictionary
from napari_cytosae.training.sweep.grid import SweepGrid, SweepPoint
from napari_cytosae.training.sweep.images import (
    Images,
    SomeImages,
    as_source,
    split_images,
    token_batches,
)
from napari_cytosae.training.tokens.sources import TokenSource
from napari_cytosae.training.train import train_sae

_GRID: Final = "sweep.json"
_POINTS: Final = "points"
_RESULT: Final = "result.json"
_VERSION: Final = 1
_RECORDS: Final = 200


@dataclass(frozen=True, slots=True)
class PointResult:
    """One training of a sweep and its figures on the held-out images.

    Attributes
    ----------
    point
        What was trained.
    measured
        The figures, as `Measured.to_json` gives them.
    history
        Records of the training, at most 200 of them, evenly picked.
    folder
        Where the autoencoder lies.
    """

    point: SweepPoint
    measured: Mapping[str, Any]
    history: tuple[Mapping[str, float], ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep and what is finished of it.

    Attributes
    ----------
    grid
        What was asked for.
    mean_activation_cuts
        Of the figure ``concepts_above``.
    points
        The finished points, in the grid's order.
    missing
        How many are not finished.
    """

    grid: SweepGrid
    mean_activation_cuts: tuple[float, ...]
    points: tuple[PointResult, ...]
    missing: int


@dataclass(frozen=True, slots=True)
class SweepStep:
    """How far a sweep is.

    Attributes
    ----------
    done, total
        Points finished, and all.
    point
        The one at work.
    step
        Its step, from 1; 0 while it is measured.
    """

    done: int
    total: int
    point: SweepPoint
    step: int


def run_sweep(
    grid: SweepGrid,
    tokens_at: Callable[[int], Images],
    folder: str | Path,
    *,
    labels: list[str] | None = None,
    identity: str = "",
    held_out: float = 0.2,
    device: str = "auto",
    progress: Callable[[SweepStep], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SweepResult:
    """Train every point of a grid and measure it on images that none was trained on.

    Points that are finished are not trained again, and a point that was stopped in its middle goes
    on from its checkpoint: stopped or killed anywhere, the same call goes on. Every point of a
    block reads the same tokens.

    Parameters
    ----------
    grid
        What to train.
    tokens_at
        Gives the tokens of a block: a token store, or an array (images, tokens, d_model), which
        may be a memory map. Called once per block, and not for one whose points are finished.
    folder
        Where results go: ``sweep.json`` and a folder for each point.
    labels
        One per image, for the figures that need them.
    identity
        Names the images and the backbone, in any way: a sweep of others is refused.
    held_out
        Share of the images that is measured on, drawn by the grid's first seed.
    device
        Of the training; see `train_sae`.
    progress
        Called now and then.
    cancelled
        Asked before each step.

    Raises
    ------
    TrainingError
        The folder holds another sweep, or the tokens do not go with the grid or the labels.
    Cancelled
        When `cancelled` says so; what is finished stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_process(folder):
        _claim(folder, grid, identity, held_out)
        points = grid.points()
        done = 0
        for block in grid.blocks():
            source: TokenSource | None = None
            for point in (point for point in points if point.block == block):
                if _read_point(folder, point) is None:
                    source = as_source(tokens_at(block)) if source is None else source
                    images = source.shape[0]
                    if labels is not None and len(labels) != images:
                        raise TrainingError(f"There are {images} images, but {len(labels)} labels.")
                    _train_point(
                        folder,
                        point,
                        source,
                        split_images(images, held_out, grid.seeds[0]),
                        labels,
                        device,
                        _reporter(progress, done, len(points), point),
                        cancelled,
                    )
                done += 1
    return open_sweep(folder)


def open_sweep(folder: str | Path) -> SweepResult:
    """Read a sweep's results, finished or not.

    Raises
    ------
    TrainingError
        There is none.
    """
    folder = Path(folder)
    content = _read_json(folder / _GRID)
    if content.get("format") != "cytosae-sweep" or content.get("version") != _VERSION:
        raise TrainingError(f"{folder / _GRID} is no sweep that this version reads.")
    grid = SweepGrid.from_json(content.get("grid"), str(folder / _GRID))
    points = grid.points()
    found = [result for point in points if (result := _read_point(folder, point)) is not None]
    cuts = tuple(found[0].measured["mean_activation_cuts"]) if found else ()
    return SweepResult(grid, cuts, tuple(found), len(points) - len(found))


def _claim(folder: Path, grid: SweepGrid, identity: str, held_out: float) -> None:
    """Write what the folder is for, or make sure that it is for this."""
    content = {
        "format": "cytosae-sweep",
        "version": _VERSION,
        "identity": identity,
        "held_out": held_out,
        "grid": grid.to_json(),
    }
    path = folder / _GRID
    if path.exists():
        there = _read_json(path)
        if any(there.get(key) != content[key] for key in ("format", "identity", "held_out")):
            raise TrainingError(
                f"{folder} holds a sweep over other images, or another share of them held out. "
                "Choose another folder."
            )
    write_json_durably(path, content)


def _train_point(
    folder: Path,
    point: SweepPoint,
    source: TokenSource,
    held_out: tuple[NDArray[np.int64], NDArray[np.int64]],
    labels: list[str] | None,
    device: str,
    report: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> None:
    where = folder / _POINTS / point.key
    fit, left = held_out
    trained = train_sae(
        SomeImages(source, fit),
        point.config,
        block=point.block,
        out=where,
        resume=True,
        device=device,
        progress=lambda record: report(int(record["step"])),
        cancelled=cancelled,
    )
    report(0)
    only_class = point.config.class_token_only
    found = evaluate(
        lambda: token_batches(source, left, only_class),
        [sae_dictionary(trained.sae)],
        labels=None if labels is None else [labels[row] for row in left],
        permutations=0,
        cancelled=cancelled,
    )
    every = max(1, len(trained.history) // _RECORDS)
    write_json_durably(
        where / _RESULT,
        {
            "format": "cytosae-sweep-point",
            "version": _VERSION,
            "block": point.block,
            "config": point.config.to_json(),
            "measured": {
                "mean_activation_cuts": list(found.mean_activation_cuts),
                **found.rows[0].to_json(),
            },
            "history": list(trained.history[every - 1 :: every]),
        },
    )
    # Three times the autoencoder's size, and of no use any more.
    (where / CHECKPOINT).unlink(missing_ok=True)


def _read_point(folder: Path, point: SweepPoint) -> PointResult | None:
    """Read a finished point; None where it is not finished."""
    where = folder / _POINTS / point.key
    if not (where / _RESULT).is_file():
        return None
    content = _read_json(where / _RESULT)
    if content.get("version") != _VERSION or not isinstance(content.get("measured"), dict):
        return None
    return PointResult(point, content["measured"], tuple(content.get("history", ())), where)


def _reporter(
    progress: Callable[[SweepStep], None] | None, done: int, total: int, point: SweepPoint
) -> Callable[[int], None]:
    def report(step: int) -> None:
        if progress is not None:
            progress(SweepStep(done, total, point, step))

    return report


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path} should hold a JSON object.")
    return content
