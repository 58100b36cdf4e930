"""The commands ``cohort classify``, ``predict`` and ``report``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from napari_cytosae.cli.cohort import open_barcodes
from napari_cytosae.cli.console import note, plain_table, progress, results
from napari_cytosae.cli.progress import stop_on_ctrl_c
from napari_cytosae.errors import CohortError

if TYPE_CHECKING:
    from napari_cytosae.cohorts import Barcodes, Comparison
    from napari_cytosae.cohorts.classification import Classification

    Other = NDArray[np.float64] | Barcodes

MODEL_FILE = "model.safetensors"
_LOGGED_SECONDS = 15.0


def classify(
    folder: Path,
    *,
    model: Path | None,
    out: Path | None,
    baselines: bool,
    beside: list[str],
    settings: Mapping[str, Any],
) -> None:
    """Classify a cohort, print what that is worth, and save a model of all patients.

    Raises
    ------
    CytoSAEError
        Where there are too few patients, a file cannot be read or written, or it was stopped.
    """
    from napari_cytosae.cohorts.classification import save_model, train_model

    barcodes = open_barcodes(folder)
    found = _classify(barcodes, _beside(folder, barcodes, baselines, beside), settings)
    _print(found)
    place = model or _inside(folder) / MODEL_FILE
    save_model(train_model(barcodes, scores=found), place)
    note(f"The model of all patients is {place}.")
    if out is not None:
        _write_tables(found, barcodes, out)
        note(f"The tables are in {out}.")
    _warn(found.warnings)


def predict(model: Path, folder: Path, out: Path | None) -> None:
    """Apply a model to a cohort.

    Raises
    ------
    CytoSAEError
        Where the model or the barcodes cannot be read or do not fit.
    """
    from napari_cytosae.cohorts.classification import load_model
    from napari_cytosae.concepts.durable import write_durably

    barcodes = open_barcodes(folder)
    loaded = load_model(model)
    found = loaded.predict(barcodes)
    table = plain_table("patient", "predicted", *loaded.classes, "", right=loaded.classes)
    for patient, row in found.iterrows():
        table.add_row(
            Text(str(patient)),
            Text(row["predicted"]),
            *(f"{row[f'p {name}']:.2f}" for name in loaded.classes),
            Text(row["why"], style="yellow"),
        )
    results().print(table)
    note("For research; not a diagnosis.")
    if out is not None:
        write_durably(out, lambda part: found.to_csv(part))
        note(f"The predictions are in {out}.")


def report(
    folder: Path,
    out: Path,
    *,
    within: str | None,
    classified: bool,
    pictures: bool,
    title: str | None,
    baselines: bool,
    beside: list[str],
    settings: Mapping[str, Any],
) -> None:
    """Compare every group with all others, classify, and write the report.

    Raises
    ------
    CytoSAEError
        Where there are no two groups, a file cannot be read or written, or it was stopped.
    """
    from napari_cytosae.export.cohort import CohortReport, without_runs, write_cohort_report

    barcodes = open_barcodes(folder)
    comparisons = _compare_all(barcodes, within, settings)
    classification = None
    notes = []
    if classified:
        try:
            others = _beside(folder, barcodes, baselines, beside)
            classification = _classify(barcodes, others, settings)
        except CohortError as error:
            # A cohort too small to classify can still be shown.
            notes.append(f"There is no classification. {error}")
    name = str(barcodes.provenance.get("cohort") or folder.stem)
    content = CohortReport(
        barcodes,
        comparisons,
        classification,
        _inside(folder),
        title or f"Cohort {name}",
        notes,
    )
    page = write_cohort_report(
        content if pictures else without_runs(content), out, lambda words: note(f"drawing: {words}")
    )
    _warn([*notes, *(classification.warnings if classification is not None else ())])
    note(f"The report is {page}.")


def _compare_all(
    barcodes: Barcodes, within: str | None, settings: Mapping[str, Any]
) -> list[Comparison]:
    from napari_cytosae.cohorts import ComparisonOptions, compare
    from napari_cytosae.cohorts.classification.features import words_of

    by = str(settings["by"])
    if by not in barcodes.patients:
        raise CohortError(f"The cohort has no column “{by}”.")
    groups = sorted(set(words_of(barcodes.patients[by]).tolist()) - {""})
    if len(groups) < 2:
        raise CohortError(f"All patients have one {by}; there is nothing to compare.")
    options = ComparisonOptions(
        statistic=settings["statistic"], within=within, seed=int(settings["seed"])
    )
    if len(groups) == 2:
        return [compare(barcodes, groups[0], groups[1], by=by, options=options)]
    return [compare(barcodes, group, by=by, options=options) for group in groups]


def _classify(
    barcodes: Barcodes, beside: Mapping[str, Other], settings: Mapping[str, Any]
) -> Classification:
    from napari_cytosae.cohorts.classification import ClassificationOptions
    from napari_cytosae.cohorts.classification import classify as run

    options = ClassificationOptions(**settings)
    with stop_on_ctrl_c() as cancelled, _bar() as show:
        return run(barcodes, options, beside=beside, progress=show, cancelled=cancelled)


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=progress(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = live.add_task("cross-validation", total=None)
    logged = time.monotonic()

    def show(done: int, total: int, stage: str) -> None:
        nonlocal logged
        live.update(task, description=stage, completed=done, total=total)
        if live.disable and time.monotonic() - logged >= _LOGGED_SECONDS:
            logged = time.monotonic()
            note(f"{stage}: {done:,} of about {total:,} fits")

    with live:
        yield show


def _beside(
    folder: Path, barcodes: Barcodes, baselines: bool, given: list[str]
) -> dict[str, Other]:
    """Gather the other descriptions of the patients: the cohort's baselines, and what was given."""
    from napari_cytosae.cohorts.baselines import read_baselines

    found: dict[str, Other] = {}
    if baselines:
        try:
            found.update(read_baselines(_inside(folder), barcodes))
        except CohortError as error:
            # A file of barcodes may lie anywhere, also beside another cohort's baselines.
            note(f"Without baselines: {error}")
    found.update(_matrix(words, barcodes) for words in given)
    return found


def _matrix(words: str, barcodes: Barcodes) -> tuple[str, Other]:
    """Read ``NAME=FILE``, rows in the order of the cohort's patients."""
    name, _, place = words.partition("=")
    path = Path(place)
    if not name or not place:
        raise CohortError(f"--beside takes NAME=FILE, not “{words}”.")
    if not path.is_file():
        raise CohortError(f"{path} does not exist.")
    if path.suffix == ".npy":
        try:
            return name, np.asarray(np.load(path, allow_pickle=False), np.float64)
        except (ValueError, OSError) as error:
            raise CohortError(f"{path} holds no matrix of numbers ({error}).") from error
    if path.suffix == ".h5ad":
        other = open_barcodes(path)
        rows = other.patients.index.get_indexer(barcodes.patients.index)
        if (rows < 0).any():
            unknown = barcodes.patients.index[rows < 0]
            raise CohortError(f"{path} has no row for patient {unknown[0]}.")
        return name, other.select(rows)
    try:
        table = pd.read_csv(path, dtype={"patient": str})
    except (ValueError, OSError) as error:
        raise CohortError(f"{path} cannot be read ({error}).") from error
    if "patient" not in table:
        raise CohortError(f"{path} has no column patient.")
    table = table.drop_duplicates("patient").set_index("patient")
    missing = [str(one) for one in barcodes.patients.index if one not in table.index]
    if missing:
        raise CohortError(f"{path} has no row for patient {missing[0]}.")
    try:
        return name, table.loc[barcodes.patients.index].to_numpy(np.float64)
    except ValueError as error:
        raise CohortError(f"{path} holds values that are not numbers ({error}).") from error


def _print(found: Classification) -> None:
    from napari_cytosae.cohorts.classification import SCORES

    console = results()
    sizes = np.bincount(found.truth)
    patients = ", ".join(f"{n} {name}" for name, n in zip(found.classes, sizes, strict=True))
    console.print(f"{len(found.truth)} patients: {patients}", markup=False)
    table = plain_table("score", "mean", "sd", right=("mean", "sd"))
    for name, row in found.summary().iterrows():
        table.add_row(SCORES[str(name)], f"{row['mean']:.3f}", f"{row['sd']:.3f}")
    console.print(table)
    classes = plain_table(
        found.options.by, "patients", "precision", "recall", "F1", "AUROC",
        right=("patients", "precision", "recall", "F1", "AUROC"),
    )  # fmt: skip
    for name, row in found.per_class.iterrows():
        numbers = (float(row[key]) for key in ("precision", "recall", "f1", "auroc"))
        classes.add_row(
            Text(str(name)), f"{row['patients']:.0f}", *(f"{one:.2f}" for one in numbers)
        )
    console.print(classes)
    beside = plain_table(
        "weighted F1 of", "mean", "sd", "features", right=("mean", "sd", "features")
    )
    for one in found.beside.to_dict("records"):
        beside.add_row(
            Text(str(one["name"])),
            f"{one['weighted_f1']:.3f}",
            f"{one['weighted_f1_sd']:.3f}",
            f"{one['features']:,.0f}",
        )
    if found.null.size:
        beside.add_row("shuffled", f"{found.null.mean():.3f}", f"{found.null.std():.3f}", "")
    console.print(beside)
    if found.p is not None:
        console.print(f"p = {found.p:.2g}", markup=False)
    for words in found.notes:
        note(words)


def _write_tables(found: Classification, barcodes: Barcodes, out: Path) -> None:
    from napari_cytosae.concepts.durable import explain_write_error, write_durably

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, out) from error
    confusion = pd.DataFrame(found.confusion, list(found.classes), list(found.classes))
    tables = {
        "scores": found.summary(),
        "per_class": found.per_class,
        "predictions": found.predictions(barcodes),
        "confusion": confusion,
        "folds": found.validation.folds.set_index("repeat"),
        "beside": found.beside.set_index("name"),
        "grouped": found.grouped.set_index("covariate"),
        "curve": found.curve.set_index("threshold"),
        "calibration": found.calibration.table.rename_axis("bin"),
    }
    for name, table in tables.items():
        write_durably(out / f"{name}.csv", lambda part, table=table: table.to_csv(part))  # type: ignore[misc]


def _warn(warnings: tuple[str, ...] | list[str]) -> None:
    for words in warnings:
        progress().print(Text(f"WARNING: {words}", style="bold red"), soft_wrap=True)


def _inside(folder: Path) -> Path:
    return folder if folder.is_dir() else folder.parent
