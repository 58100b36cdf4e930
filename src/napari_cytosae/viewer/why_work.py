"""Why a patient is predicted so, beside the window: cells behind it, and the masking curve."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.cohorts.classification import CohortModel
from napari_cytosae.cohorts.explanation import carriers, masking_curve, patch_evidence
from napari_cytosae.cohorts.explanation.masking import MASKS
from napari_cytosae.concepts import open_run
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.viewer.cohort_cells_work import cell_picture
from napari_cytosae.viewer.cohort_strip import Cell, Coming
from napari_cytosae.viewer.cohort_work import Classified, OpenedCohort

_CELLS = 24


@dataclass(frozen=True, slots=True, eq=False)
class WhyRequest:
    """Whose prediction, by which model, and which concept's share of it.

    Parameters
    ----------
    cohort, patient
        Whose.
    model
        That predicts.
    name
        The class that the cells speak for.
    concept_id
        Cells that carry this concept; those that carry the whole prediction without it.
    """

    cohort: OpenedCohort
    patient: str
    model: CohortModel
    name: str
    concept_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """The masking curve of all patients that are predicted."""

    curve: pd.DataFrame


def why_job(
    request: WhyRequest, cancelled: Callable[[], bool]
) -> Generator[Coming | Cell, None, None]:
    """Cut the cells that carry a patient's prediction, or a concept's share of it."""
    cohort = request.cohort
    row = row_of(cohort.barcodes, request.patient)
    patient = cohort.barcodes.patients.iloc[row]
    n_cells = int(patient["n_cells"])
    if request.concept_id is None:
        found = carriers(
            request.model, cohort.barcodes, request.patient, request.name, _CELLS, cohort.folder
        )
        cells = found.rename(columns={"evidence": "value"}).to_dict("records")
        words = (
            f"The {len(cells)} of {n_cells:,} cells that speak most for {request.name}; patches "
            "glow that say so. Select a concept for its own."
        )
    else:
        found = cohort.barcodes.best_cells(request.concept_id, [row], _CELLS)
        cells = found.rename(columns={"activation": "value"}).to_dict("records")
        title = request.model.names.title(request.concept_id)
        words = f"Cells of {request.patient} that show {title} best."
        if not cells:
            words = f"No cell of {request.patient} shows {title}."
    yield Coming(len(cells), words)
    place = request.model.class_index(request.name)

    def patches(run: Path, label: int) -> NDArray[np.float32]:
        shares = patch_evidence(request.model, open_run(run).cell(label), n_cells).patches[place]
        return np.maximum(shares, 0).astype(np.float32)

    with ReferencePictures() as pictures:
        for rank, cell in enumerate(cells):
            if cancelled():
                return
            cell |= {"patient": request.patient, "diagnosis": patient["diagnosis"]}
            if request.concept_id is None:
                # `carriers` gives whole paths of runs.
                cell["run"] = str(Path(str(cell["run"])).resolve())
                picture = cell_picture(cohort, rank, cell, pictures, patches)
                note = (
                    f"its share of the logit: {picture.value:+.2f}, most of all {cell['concept']}"
                )
                yield Cell(picture, f"{picture.value:+.2f}", note)
            else:
                cell["concept_id"] = request.concept_id
                picture = cell_picture(cohort, rank, cell, pictures)
                note = f"mean activation over its tokens: {picture.value:.3g}"
                yield Cell(picture, f"{picture.value:.3g}", note)


def masking_job(cohort: OpenedCohort, classified: Classified) -> Generator[Masked, None, None]:
    """Mask ever more concepts in all patients, each predicted by its own model."""
    rows_of: dict[int, list[int]] = {}
    models = {id(model): model for model in classified.model_of.values()}
    for row, model in classified.model_of.items():
        rows_of.setdefault(id(model), []).append(row)
    parts = [(models[key], np.array(rows, np.int64)) for key, rows in rows_of.items()]
    fewest = min(model.concept_ids.size for model in models.values())
    yield Masked(masking_curve(parts, cohort.barcodes, masks_up_to(fewest)))


def masks_up_to(n_concepts: int) -> list[int]:
    """Give the numbers of concepts that a curve is drawn at."""
    return [k for k in MASKS if k <= n_concepts]


def row_of(barcodes: Barcodes, patient: str) -> int:
    """Give a patient's row."""
    return list(barcodes.patients.index).index(patient)
