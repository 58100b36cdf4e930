"""Train and measure every point of a sweep; stopped anywhere, it goes on where it was."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.concepts.durable import only_process, write_json_durably
from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.metrics import evaluate, sae_dictionary
from napari_cytosae.training.sweep.grid import SweepGrid, SweepPoint
from napari_cytosae.training.train import train_sae

_GRID: Final = "sweep.json"
_POINTS: Final = "points"
_RESULT: Final = "result.json"
_VERSION: Final = 1
_IMAGES_AT_ONCE: Final = 8
_RECORDS: Final = 200


class ImageTokens(Protocol):
    """Tokens of images, of which some can be read at a time; an array or a memory map will do."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, tokens, d_model)."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Give the tokens of some images, as an array."""


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
    tokens_at: Callable[[int], ImageTokens],
    folder: str | Path,
    *,
    labels: list[str] | None = None,
    identity: str = "",
    held_out: float = 0.2,
    progress: Callable[[SweepStep], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SweepResult:
    """Train every point of a grid and measure it on images that none was trained on.

    Points that are finished are not trained again, whichever process finished them: stopped or
    killed anywhere, the same call goes on. Every point of a block reads the same tokens.

    Parameters
    ----------
    grid
        What to train.
    tokens_at
        Gives the tokens of a block; called once per block.
    folder
        Where results go: ``sweep.json`` and a folder for each point.
    labels
        One per image, for the figures that need them.
    identity
        Names the images and the backbone, in any way: a sweep of others is refused.
    held_out
        Share of the images that is measured on, drawn by the grid's first seed.
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
            tokens: ImageTokens | None = None
            for point in (point for point in points if point.block == block):
                if _read_point(folder, point) is None:
                    tokens = _checked(tokens_at(block), labels) if tokens is None else tokens
                    fit, left = split_images(tokens.shape[0], held_out, grid.seeds[0])
                    _train_point(
                        folder,
                        point,
                        tokens,
                        fit,
                        left,
                        None if labels is None else [labels[row] for row in left],
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


def split_images(
    images: int, held_out: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the images that are measured on, and leave the others to the training; both sorted."""
    left = round(images * held_out)
    if not 0 < left < images:
        raise TrainingError(
            f"Of {images} images, a share of {held_out} cannot be held out: at least one is needed "
            "on each side."
        )
    order = np.random.default_rng(seed).permutation(images)
    return np.sort(order[left:]), np.sort(order[:left])


class ImageBatches:
    """Batches of tokens of some images, in a new order with each pass.

    Parameters
    ----------
    tokens
        The images' tokens.
    rows
        Which images.
    config
        Its batch, seed and `class_token_only`. Tokens of a batch smaller than an image come from
        several images, which are shuffled in memory a few hundred at a time.
    """

    def __init__(
        self, tokens: ImageTokens, rows: NDArray[np.int64], config: SaeTrainingConfig
    ) -> None:
        self._tokens = tokens
        self._rows = rows
        self._config = config
        self._passes = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        config = self._config
        rng = np.random.default_rng((config.seed, self._passes))
        self._passes += 1
        order = rng.permutation(self._rows)
        if config.batch_images is not None:
            size = min(config.batch_images, len(order))
            for first in range(0, len(order) - size + 1, size):
                yield self._read(order[first : first + size])
            return
        assert config.batch_tokens is not None
        pool = torch.empty(0)
        for first in range(0, len(order), 256):
            images = self._read(order[first : first + 256])
            flat = images.reshape(-1, images.shape[-1])
            pool = flat if not len(pool) else torch.cat([pool, flat])
            pool = pool[torch.from_numpy(rng.permutation(len(pool)))]
            while len(pool) >= config.batch_tokens:
                yield pool[: config.batch_tokens]
                pool = pool[config.batch_tokens :]
        if len(self._rows) * self._tokens.shape[1] < config.batch_tokens:
            yield pool  # fewer tokens than one batch are a batch

    def _read(self, rows: NDArray[np.int64]) -> torch.Tensor:
        images = torch.as_tensor(np.asarray(self._tokens[np.sort(rows)])).float()
        return images[:, :1] if self._config.class_token_only else images


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
    tokens: ImageTokens,
    fit: NDArray[np.int64],
    left: NDArray[np.int64],
    labels: list[str] | None,
    report: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> None:
    trained = train_sae(
        ImageBatches(tokens, fit, point.config),
        point.config,
        block=point.block,
        progress=lambda record: report(int(record["step"])),
        cancelled=cancelled,
    )
    report(0)

    def images() -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(left), _IMAGES_AT_ONCE):
            yield np.asarray(tokens[left[first : first + _IMAGES_AT_ONCE]], np.float32)

    found = evaluate(
        images, [sae_dictionary(trained.sae)], labels=labels, permutations=0, cancelled=cancelled
    )
    if cancelled():
        raise Cancelled("The sweep was stopped.")
    where = folder / _POINTS / point.key
    where.mkdir(parents=True, exist_ok=True)
    trained.save(where)
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


def _read_point(folder: Path, point: SweepPoint) -> PointResult | None:
    """Read a finished point; None where it is not finished."""
    where = folder / _POINTS / point.key
    if not (where / _RESULT).is_file():
        return None
    content = _read_json(where / _RESULT)
    if content.get("version") != _VERSION or not isinstance(content.get("measured"), dict):
        return None
    return PointResult(point, content["measured"], tuple(content.get("history", ())), where)


def _checked(tokens: ImageTokens, labels: list[str] | None) -> ImageTokens:
    if len(tokens.shape) != 3 or 0 in tokens.shape:
        raise TrainingError(
            f"A sweep needs tokens of images, (images, tokens, d_model), not {tuple(tokens.shape)}."
        )
    if labels is not None and len(labels) != tokens.shape[0]:
        raise TrainingError(f"There are {tokens.shape[0]} images, but {len(labels)} labels.")
    return tokens


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
