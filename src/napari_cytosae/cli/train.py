"""The commands ``train``: tokens, autoencoder, report and sweep."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_cytosae.cli.console import note, plain_table, progress, results
from napari_cytosae.cli.progress import stop_on_ctrl_c
from napari_cytosae.errors import Cancelled, TrainingError

if TYPE_CHECKING:
    from napari_cytosae.training import SaeTrainingConfig
    from napari_cytosae.training.sweep.run import SweepStep
    from napari_cytosae.training.tokens import ExtractionProgress
    from napari_cytosae.training.trained import Record

_LOGGED_SECONDS = 15.0  # a line in a log so often
_LISTED = 5
_STAGES = {
    "look": "looking for cells",
    "check": "checking tokens",
    "extract": "extracting tokens",
}


class _Bar:
    """A bar on a terminal, or a line now and then in a log."""

    def __init__(self, live: Progress) -> None:
        self._live = live
        self._task = live.add_task("", total=None, said="")
        self._what = ""
        self._logged = time.monotonic()

    def show(self, what: str, done: int, total: int, said: str = "") -> None:
        if what != self._what:
            # A new task: another stage's pace says nothing about how long this one takes.
            self._live.remove_task(self._task)
            self._task = self._live.add_task(what, total=total or None, said=said)
            self._what = what
        self._live.update(self._task, completed=done, total=total or None, said=said)
        due = time.monotonic() - self._logged >= _LOGGED_SECONDS or done == total
        if self._live.disable and due:
            self._logged = time.monotonic()
            note(f"{what}: {done:,} of {total:,}{'; ' + said if said else ''}")


@contextmanager
def _bar() -> Iterator[_Bar]:
    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}", markup=False, style="dim"),
        console=progress(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with live:
        yield _Bar(live)


def tokens(
    images: list[Path],
    out: Path,
    *,
    bundle: str,
    backbone: Path | None,
    block: int | None,
    cells: str,
    crop_um: float,
    microns_per_pixel: float | None,
    class_token_only: bool,
    device: str,
    precision: str,
    batch_images: int,
    overwrite: bool,
) -> None:
    """Extract tokens, and say what became of the images.

    Raises
    ------
    CytoSAEError
        Nothing can be extracted, or it was stopped.
    """
    from napari_cytosae.training.tokens import CropOptions, TokenModel, extract_tokens

    options = CropOptions(
        cells=tuple(name.strip() for name in cells.split(",") if name.strip()),
        crop_um=crop_um,
        microns_per_pixel=microns_per_pixel,
    )
    if backbone is not None:
        model = TokenModel.from_file(backbone, -2 if block is None else block)
    else:
        model = TokenModel.of(bundle, block)
    with stop_on_ctrl_c() as cancelled, _bar() as bar:

        def show(step: ExtractionProgress) -> None:
            bar.show(_STAGES[step.stage], step.done, step.total)

        store = extract_tokens(
            images,
            model,
            out,
            options=options,
            class_token_only=class_token_only,
            device=device,
            precision=precision,
            batch_images=batch_images,
            overwrite=overwrite,
            progress=show,
            cancelled=cancelled,
        )
    n, per_image, d_model = store.shape
    size = n * per_image * d_model * 2 / 1e6
    results().print(
        f"{n:,} crops × {per_image} tokens × {d_model} after block {store.block}: {size:,.0f} MB "
        f"in {out}",
        markup=False,
    )
    labels = [label for label in store.labels if label]
    if labels:
        names, counts = np.unique(labels, return_counts=True)
        table = plain_table("class", "crops", right=("crops",))
        for name, count in zip(names, counts, strict=True):
            table.add_row(str(name), f"{count:,}")
        results().print(table)
    _tell_skipped([(item.path, item.reason) for item in store.skipped])
    note(f"Train on them with: napari-cytosae train sae {out} --out FOLDER")


def _tell_skipped(skipped: list[tuple[Path, str]]) -> None:
    if not skipped:
        return
    note(f"{len(skipped):,} could not be read and are left out:")
    for path, reason in skipped[:_LISTED]:
        note(f"  {path.name}: {reason}")
    if len(skipped) > _LISTED:
        note(f"  and {len(skipped) - _LISTED:,} more; store.json names all.")


def sae(
    store: Path,
    out: Path,
    *,
    config: Path | None,
    preset: str | None,
    resume: bool,
    settings: dict[str, Any],
    name: str | None,
    device: str,
    tensorboard: bool,
    checkpoint_every: int,
) -> None:
    """Train, and write the bundle.

    Raises
    ------
    CytoSAEError
        The settings are not possible, the training cannot be written, or it was stopped.
    """
    from napari_cytosae.training import save_as_bundle, train_sae
    from napari_cytosae.training.tokens import TokenStore

    source = TokenStore(store)
    recipe = _recipe(config, preset, settings, out if resume else None)
    with stop_on_ctrl_c() as cancelled, _bar() as bar:

        def show(record: Record) -> None:
            said = " ".join(
                f"{key} {record[key]:.3g}"
                for key in ("loss", "l0", "explained_variance", "dead")
                if key in record
            )
            bar.show("training", int(record["step"]), recipe.steps, said)

        try:
            trained = train_sae(
                source,
                recipe,
                out=out,
                resume=resume,
                device=device,
                checkpoint_every=checkpoint_every,
                tensorboard=tensorboard,
                progress=show,
                cancelled=cancelled,
            )
        except Cancelled as error:
            raise Cancelled(
                f"{str(error).split('.')[0]}. {out} holds it: go on with the same command and "
                "--resume."
            ) from error
    made = save_as_bundle(trained, source, out, name)
    last = trained.history[-1] if trained.history else {}
    table = plain_table("figure", "in the last step", right=("in the last step",))
    for key, said in _FIGURES.items():
        if key in last:
            table.add_row(said, f"{last[key]:.3g}")
    results().print(table)
    if recipe.k is not None and recipe.saelens is None:
        note(
            f"The bundle keeps what is above one threshold: {recipe.k} concepts per token on "
            "average, more in some and fewer in others."
        )
    note(f"The bundle is {made}. Use it with: napari-cytosae analyze IMAGE --bundle {made}")
    note(f"See how good it is with: napari-cytosae train report {out}")


_FIGURES = {
    "loss": "loss",
    "l0": "active concepts per token (L0)",
    "explained_variance": "explained variance, centred",
    "dead": "share of silent concepts",
}


def _recipe(
    config: Path | None, preset: str | None, settings: dict[str, Any], resumed: Path | None
) -> SaeTrainingConfig:
    """Take the recipe of a file, a preset or the training that is gone on with, and change it."""
    from napari_cytosae.training import PRESETS, SaeTrainingConfig
    from napari_cytosae.training.folder import ABOUT, read_about

    if config is not None and preset is not None:
        raise TrainingError("Give --config or --preset, not both.")
    if config is not None:
        recipe = SaeTrainingConfig.read(config)
    elif preset is not None:
        recipe = PRESETS[preset]
    elif resumed is not None and (resumed / ABOUT).exists():
        recipe, _ = read_about(resumed)
    else:
        recipe = SaeTrainingConfig()
    given = {key: value for key, value in settings.items() if value is not None}
    if words := given.pop("set", None):
        chosen = given.get("saelens") or recipe.saelens
        if chosen is None:
            raise TrainingError("--set is for SAELens; choose its architecture with --saelens.")
        given["saelens"] = {**chosen, **dict(map(_setting, words))}
    if "expansion" in given:
        given["d_sae"] = None
    if "batch_images" in given and "batch_tokens" not in given:
        given["batch_tokens"] = None
    elif "batch_tokens" in given and "batch_images" not in given:
        given["batch_images"] = None
    if given.get("activation") == "relu":
        given.setdefault("k", None)
    if given.get("activation", recipe.activation) != recipe.activation:
        # What a file says of them is for the file's activation.
        given.setdefault("ghost_gradients", None)
    return replace(recipe, **given)


def _setting(words: str) -> tuple[str, Any]:
    """Read ``name=value``; the value as JSON where it is, and as plain words where not."""
    name, separator, value = words.partition("=")
    if not separator or not name.strip():
        raise TrainingError(f"{words!r} is no setting; give --set NAME=VALUE.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def report(
    training: Path,
    *,
    tokens: Path | None,
    out: Path | None,
    images: int | None,
    permutations: int,
) -> None:
    """Measure a training and write its page.

    Raises
    ------
    CytoSAEError
        The training is not finished, its tokens are not there, or the page cannot be written.
    """
    from napari_cytosae.training import open_training
    from napari_cytosae.training.folder import read_about
    from napari_cytosae.training.report import report_on
    from napari_cytosae.training.tokens import TokenStore

    trained = open_training(training)
    _, about = read_about(training)
    where = tokens or (Path(about["store"]) if about.get("store") else None)
    if where is None or not where.exists():
        raise TrainingError(
            f"The tokens of {training} are not at hand"
            f"{f': there is no {where}' if where else ''}. Give a store with --tokens."
        )
    store = TokenStore(where)
    own = store.identity == about.get("tokens")
    rows = None
    if images is not None and images < len(store):
        rows = np.unique(np.linspace(0, len(store) - 1, images).round().astype(int)).tolist()
    labels = store.labels
    target = out or training / "report.html"
    notes = []
    if own and rows is not None:
        notes.append("These images are among those that it was trained on: the figures flatter it.")
    with stop_on_ctrl_c() as cancelled:
        note(f"Measuring on {len(rows) if rows else len(store):,} images …")
        made = report_on(
            trained,
            store,
            target,
            rows=rows if rows is not None else (None if own else range(len(store))),
            labels=labels if len(set(labels) - {""}) > 1 else None,
            crop_of=store.crop,
            title=training.resolve().name,
            facts={
                "backbone": store.model().name or "?",
                "block": str(store.block),
                "images": f"{len(store):,}",
                "concepts": f"{trained.sae.d_sae:,}",
            },
            notes=notes,
            permutations=permutations,
            cancelled=cancelled,
        )
    table = plain_table("", "explained variance", "L0", "dead share")
    for row in made.measured:
        table.add_row(
            str(row.get("name", "")),
            *(
                _number(row.get(key))
                for key in ("explained_variance", "l0_per_token", "dead_share")
            ),
        )
    results().print(table)
    note(f"The report is {target}.")


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "–"


def sweep(
    stores: list[Path],
    out: Path,
    *,
    axes: list[str],
    paper: bool,
    config: Path | None,
    preset: str | None,
    steps: int | None,
    full: bool,
    seeds: int,
    held_out: float,
    figure: Path | None,
    device: str,
) -> None:
    """Train over a grid, print its figures, and draw them.

    Raises
    ------
    CytoSAEError
        The grid is not possible, the stores do not go together, or it was stopped.
    """
    from napari_cytosae.training.sweep import PAPER_AXES, SweepGrid, draw_sweep, read_axis
    from napari_cytosae.training.sweep.run import run_sweep
    from napari_cytosae.training.tokens import TokenStore

    by_block: dict[int, TokenStore] = {}
    for path in stores:
        store = TokenStore(path)
        if store.block in by_block:
            raise TrainingError(f"Two stores hold tokens after block {store.block}.")
        by_block[store.block] = store
    first = next(iter(by_block.values()))
    if any(
        [c.id for c in store.crops] != [c.id for c in first.crops] for store in by_block.values()
    ):
        raise TrainingError("The stores are of other images: extract all of the same ones.")
    chosen: dict[str, tuple[Any, ...]] = {}
    if paper:
        chosen |= PAPER_AXES
        chosen["block"] = tuple(by_block)
    chosen |= dict(read_axis(text) for text in axes)
    if len(by_block) > 1:
        chosen.setdefault("block", tuple(by_block))
    if not chosen:
        raise TrainingError("Say what to vary: --axis l1=1e-4,3e-4 or --paper.")
    grid = SweepGrid(
        base=_recipe(config, preset, {"steps": steps}, None),
        block=first.block,
        axes=chosen,
        full=full,
        seeds=tuple(range(seeds)),
    )
    missing = [block for block in grid.blocks() if block not in by_block]
    if missing:
        raise TrainingError(
            f"There are no tokens of block {', '.join(map(str, missing))}; the stores hold "
            f"{', '.join(map(str, by_block))}."
        )
    labels = first.labels if len(set(first.labels) - {""}) > 1 else None
    with stop_on_ctrl_c() as cancelled, _bar() as bar:

        def show(step: SweepStep) -> None:
            said = ", ".join(f"{key}={value}" for key, value in step.point.values.items()) or "base"
            doing = f"step {step.step:,}" if step.step else "measuring"
            bar.show("sweep", step.done, step.total, f"{said}: {doing}")

        found = run_sweep(
            grid,
            by_block.__getitem__,
            out,
            labels=labels,
            identity=" ".join(by_block[block].identity for block in sorted(by_block)),
            held_out=held_out,
            device=device,
            progress=show,
            cancelled=cancelled,
        )
    names = list(chosen)
    shown = {"explained_variance": "explained variance", "l0_per_token": "L0", "dead_share": "dead"}
    table = plain_table(*names, "seed", *shown.values())
    for point in found.points:
        values = [str(point.point.values.get(name, grid.value_of(name))) for name in names]
        table.add_row(
            *values,
            str(point.point.config.seed),
            *(_number(point.measured.get(key)) for key in shown),
        )
    results().print(table)
    target = figure or out / "sweep.png"
    draw_sweep(found, target)
    note(f"The figure is {target}.")
