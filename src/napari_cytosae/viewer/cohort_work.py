"""What the Cohort dock asks of worker threads: frozen requests, and jobs that yield answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from napari_cytosae.cohorts import Barcodes, Comparison, ComparisonOptions, compare, read_barcodes
from napari_cytosae.cohorts.classification import (
    Classification,
    ClassificationOptions,
    CohortModel,
    classify,
    fold_models,
    load_model,
    save_model,
    train_model,
)
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out


@dataclass(slots=True)
class Steps:
    """How far a job is; written by the worker, read by a timer of the window."""

    done: int = 0
    total: int = 0
    words: str = ""

    def __call__(self, done: int, total: int, words: str) -> None:
        self.done, self.total, self.words = done, total, words


@dataclass(frozen=True, eq=False)
class OpenedCohort:
    """Barcodes, and the folder that paths of runs are relative to."""

    barcodes: Barcodes
    folder: Path
    kept: bool = True  # whether the folder is a cohort's own

    @property
    def sae_digest(self) -> str | None:
        """Which SAE the concepts are of; None where it is not known."""
        digest = self.barcodes.provenance.get("sae_digest")
        return str(digest) if digest else None

    def renamed(self) -> OpenedCohort:
        """Give the same with names as the dictionary has them now."""
        return replace(self, barcodes=replace(self.barcodes))


@dataclass(frozen=True, eq=False)
class Classified:
    """Predictions of patients, and how they came about.

    Parameters
    ----------
    predictions
        Index ``patient``; ``predicted`` and a column ``p NAME`` per class; with a model of another
        cohort also ``why`` a patient is unlike those that it was made of.
    classes
        Names of the classes.
    model_of
        For each patient's row a model that predicts them: one that has not seen them.
    classification
        What the predictions are worth; None where a model of another cohort made them.
    origin
        Which model that was.
    """

    predictions: pd.DataFrame
    classes: tuple[str, ...]
    model_of: dict[int, CohortModel] = field(default_factory=dict)
    classification: Classification | None = None
    origin: str = ""

    def renamed(self) -> Classified:
        """Give the same with names as the dictionary has them now."""
        new = {id(model): replace(model) for model in self.model_of.values()}
        return replace(self, model_of={row: new[id(model)] for row, model in self.model_of.items()})


@dataclass(frozen=True, slots=True)
class Saved:
    """A file or a page was written."""

    path: Path


def open_job(path: Path) -> Generator[OpenedCohort, None, None]:
    """Read a cohort's folder, or a file of barcodes."""
    keep_triton_out()
    from napari_cytosae.cohorts.extraction import CohortFolder

    if path.is_dir():
        folder = CohortFolder(path)
        folder.read_manifest()
        yield OpenedCohort(read_barcodes(folder.barcodes_path), path)
    else:
        yield OpenedCohort(read_barcodes(path), path.parent, kept=False)


def compare_job(
    barcodes: Barcodes, first: str, second: str | None, within: str | None
) -> Generator[Comparison, None, None]:
    """Compare two groups."""
    yield compare(barcodes, first, second, options=ComparisonOptions(within=within))


def renamed_comparison(comparison: Comparison, barcodes: Barcodes) -> Comparison:
    """Give a comparison with names as barcodes have them."""
    ids = comparison.table["concept_id"]
    names = barcodes.names.columns(barcodes.d_sae)
    columns = {name: column[ids] for name, column in names.items()}
    return replace(comparison, table=comparison.table.assign(**columns))


def classify_job(
    barcodes: Barcodes,
    options: ClassificationOptions,
    steps: Steps,
    cancelled: Callable[[], bool],
) -> Generator[Classified, None, None]:
    """Classify the patients."""
    found = classify(barcodes, options, progress=steps, cancelled=cancelled)
    model_of = {int(row): model for model, rows in fold_models(barcodes, found) for row in rows}
    yield Classified(found.predictions(barcodes), found.classes, model_of, found)


def apply_job(barcodes: Barcodes, file: Path) -> Generator[Classified, None, None]:
    """Predict the patients by a model that was saved."""
    model = load_model(file)
    predictions = model.predict(barcodes)
    yield Classified(
        predictions,
        model.classes,
        dict.fromkeys(range(len(barcodes)), model),
        origin=file.name,
    )


def save_model_job(
    barcodes: Barcodes, found: Classification, file: Path
) -> Generator[Saved, None, None]:
    """Fit a model to all patients and save it."""
    save_model(train_model(barcodes, scores=found), file)
    yield Saved(file)
