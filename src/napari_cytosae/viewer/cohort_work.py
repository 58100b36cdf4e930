"""What the Cohort dock asks of worker threads: frozen requests, and jobs that yield answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cohorts import Barcodes, Comparison, ComparisonOptions, compare, read_barcodes
from napari_cytosae.cohorts.classification import (
    Classification,
    ClassificationOptions,
    CohortModel,
    classify,
    fold_models,
)
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture, ReferencePictures
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out

FIRST, SECOND = "first", "second"


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


@dataclass(frozen=True, eq=False)
class Classified:
    """A classification, and for each patient's row the model that has not seen them."""

    classification: Classification
    model_of: dict[int, CohortModel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class CellsRequest:
    """Whose best cells, in which groups."""

    cohort: OpenedCohort
    comparison: Comparison
    concept_id: int
    k: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class GroupCells:
    """A group's section begins, or one of its cells comes."""

    group: str
    n_tiles: int = 0
    picture: ReferencePicture | None = None


def open_job(path: Path) -> Generator[OpenedCohort, None, None]:
    """Read a cohort's folder, or a file of barcodes."""
    keep_triton_out()
    from napari_cytosae.cohorts.extraction import CohortFolder

    if path.is_dir():
        folder = CohortFolder(path)
        folder.read_manifest()
        yield OpenedCohort(read_barcodes(folder.barcodes_path), path)
    else:
        yield OpenedCohort(read_barcodes(path), path.parent)


def extract_job(
    source: Path, cells: str, bundle: str, steps: Steps, cancelled: Callable[[], bool]
) -> Generator[OpenedCohort, None, None]:
    """Extract the barcodes of a table or folder of patients into ``NAME.cohort`` beside it."""
    keep_triton_out()
    from napari_cytosae.cohorts import read_cohort
    from napari_cytosae.cohorts.extraction import ExtractionProgress, ExtractionSettings, extract

    steps(0, 0, "reading the patients")
    cohort = read_cohort(source)
    out = source.with_name(f"{source.stem}.cohort")

    def tell(step: ExtractionProgress) -> None:
        steps(step.done, step.total, f"{step.cells:,} cells; images {step.done} of {step.total}")

    settings = ExtractionSettings(bundle=bundle, cells=cells)
    yield OpenedCohort(extract(cohort, out, settings, progress=tell, cancelled=cancelled), out)


def compare_job(
    barcodes: Barcodes, first: str, second: str | None, within: str | None
) -> Generator[Comparison, None, None]:
    """Compare two groups."""
    yield compare(barcodes, first, second, options=ComparisonOptions(within=within))


def classify_job(
    barcodes: Barcodes,
    options: ClassificationOptions,
    steps: Steps,
    cancelled: Callable[[], bool],
) -> Generator[Classified, None, None]:
    """Classify the patients."""
    found = classify(barcodes, options, progress=steps, cancelled=cancelled)
    model_of = {int(row): model for model, rows in fold_models(barcodes, found) for row in rows}
    yield Classified(found, model_of)


def cells_job(
    request: CellsRequest, cancelled: Callable[[], bool]
) -> Generator[GroupCells, None, None]:
    """Cut a concept's best cells of both groups."""
    comparison, barcodes = request.comparison, request.cohort.barcodes
    groups: tuple[tuple[str, NDArray[np.bool_]], ...] = (
        (FIRST, comparison.in_first),
        (SECOND, comparison.in_second),
    )
    with ReferencePictures() as pictures:
        for group, rows in groups:
            cells = barcodes.best_cells(request.concept_id, rows, request.k).to_dict("records")
            yield GroupCells(group, len(cells))
            for rank, cell in enumerate(cells):
                if cancelled():
                    return
                yield GroupCells(group, picture=_picture(request, rank, cell, pictures))


def _picture(
    request: CellsRequest, rank: int, cell: dict[Any, Any], pictures: ReferencePictures
) -> ReferencePicture:
    run = request.cohort.folder / str(cell["run"]) if cell["run"] else None
    label, concept_id = int(cell["label"]), request.concept_id
    crop = seen = None
    missing = "" if run is not None else "This cell's run was not kept."
    if run is not None:
        try:
            seen = pictures.concept_map(run, label, concept_id)
            crop = pictures.crop(run, label, str(cell["image"]))
        except (CytoSAEError, OSError) as error:
            missing = str(error)
    return ReferencePicture(
        data_set=str(cell["patient"]),
        rank=rank,
        concept_id=concept_id,
        value=float(cell["activation"]),
        label=str(cell["diagnosis"]),
        cell=label,
        image=str(cell["image"]),
        run=run,
        crop=crop,
        concept_map=seen,
        missing=missing,
    )
