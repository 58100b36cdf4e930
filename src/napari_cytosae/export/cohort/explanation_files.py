"""Why a patient is predicted as it is, as files: tables, figures, and the cells behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.cohorts.classification import CohortModel
from napari_cytosae.cohorts.explanation import (
    Explanation,
    carriers,
    explain,
    masking_curve,
    patch_evidence,
    what_if,
)
from napari_cytosae.cohorts.explanation.masking import MASKS
from napari_cytosae.concepts.durable import explain_write_error, write_durably
from napari_cytosae.concepts.run import open_run
from napari_cytosae.errors import CohortError
from napari_cytosae.export.cohort import classification_figures as of_classes
from napari_cytosae.export.cohort.cell_sheet import cut_cells, write_sheet
from napari_cytosae.export.cohort.files import write_svg
from napari_cytosae.export.cohort.style import new_figure, shorten

_PICTURED = 12
ABLATED = 12
"""The concepts that are taken away one by one, where none is named."""


@dataclass(frozen=True, eq=False)
class WhyPatient:
    """What `why_patient` finds.

    Parameters
    ----------
    explanation
        Contributions of concepts.
    name
        The class that is explained.
    what_if
        Probabilities of the class ``before`` and ``after``, one row for each concept that is made
        absent, and where several were named, one (``all of these``) without all of them.
    masking
        See `masking_curve`, for this patient.
    cells
        See `carriers`; None where the runs are not at hand.
    notes
        What a person should know.
    """

    explanation: Explanation
    name: str
    what_if: pd.DataFrame
    masking: pd.DataFrame
    cells: pd.DataFrame | None
    notes: tuple[str, ...]


def why_patient(
    model: CohortModel,
    barcodes: Barcodes,
    patient: str,
    *,
    name: str | None = None,
    without: Sequence[int] = (),
    k: int = 20,
    folder: Path | None = None,
) -> WhyPatient:
    """Take a patient's prediction apart: concepts, cells, what if, and masking.

    Parameters
    ----------
    model, barcodes, patient
        See `explain`.
    name
        The class to explain; the predicted one without it.
    without
        Concepts that are made absent; without any, the `ABLATED` that contribute most.
    k
        Cells at most.
    folder
        The cohort's folder, which paths of runs are relative to.

    Raises
    ------
    CohortError
        Where there is no such patient, class or concept, or the barcodes do not fit the model.
    """
    explanation = explain(model, barcodes, patient)
    chosen = name or explanation.predicted
    evidence = explanation.evidence(chosen)
    ids = [int(one) for one in without] or [int(i) for i in evidence["concept_id"].head(ABLATED)]
    rows = [
        {"concept": model.names.title(i), **what_if(model, barcodes, patient, [i]).loc[chosen]}
        for i in ids
    ]
    if len(without) > 1:
        together = what_if(model, barcodes, patient, ids).loc[chosen]
        rows.append({"concept": "all of these", **together})
    row = list(barcodes.patients.index).index(patient)
    ks = [n for n in MASKS if n <= len(model.concept_ids)]
    notes = []
    digest = barcodes.provenance.get("cohort_digest")
    if digest and model.facts.get("cohort_digest") == digest:
        notes.append(
            "The model was made of this cohort and has seen this patient. The report explains each "
            "patient by a model that has not."
        )
    cells = None
    try:
        cells = carriers(model, barcodes, patient, chosen, k, folder)
    except CohortError as error:
        notes.append(str(error))
    return WhyPatient(
        explanation,
        chosen,
        pd.DataFrame(rows),
        masking_curve(model, barcodes.select([row]), ks),
        cells,
        tuple(notes),
    )


def write_why(
    why: WhyPatient,
    model: CohortModel,
    barcodes: Barcodes,
    out: str | Path,
    *,
    pictures: bool = True,
) -> tuple[tuple[Path, ...], str]:
    """Write what was found as CSV and SVG, and the cells with their patches as PNG.

    Parameters
    ----------
    why
        Of the same model and barcodes.
    model, barcodes
        See `why_patient`.
    out
        The folder; files of the same names there are replaced.
    pictures
        Whether to draw cells.

    Returns
    -------
    files : tuple of Path
    missing : str
        Why some cells are not drawn; empty where all are.

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    """
    folder = Path(out)
    create(folder)
    written: list[Path] = []

    def csv(name: str, table: pd.DataFrame) -> None:
        write_durably(folder / name, lambda part: table.to_csv(part, index=False))
        written.append(folder / name)

    csv("contributions.csv", why.explanation.evidence(why.name))
    csv("what_if.csv", why.what_if)
    csv("masking.csv", why.masking)
    contributions, masking = new_figure(6, 3.8), new_figure(5.4, 3.3)
    of_classes.draw_contributions(contributions.subplots(), why.explanation, name=why.name)
    of_classes.draw_masking(masking.subplots(), why.masking)
    for name, figure in (("contributions.svg", contributions), ("masking.svg", masking)):
        write_svg(folder / name, figure)
        written.append(folder / name)
    missing = ""
    if why.cells is not None:
        csv("cells.csv", why.cells)
        if pictures:
            sheet, missing = _sheet(why, model, barcodes, folder / "cells.png")
            written += sheet
    return tuple(written), missing


def _sheet(
    why: WhyPatient, model: CohortModel, barcodes: Barcodes, target: Path
) -> tuple[list[Path], str]:
    assert why.cells is not None
    place = model.class_index(why.name)
    patient = why.explanation.patient
    n_cells = int(barcodes.patients["n_cells"].loc[patient])

    def patches(row: Mapping[str, Any]) -> NDArray[np.float32]:
        cell = open_run(row["run"]).cell(int(row["label"]))
        return np.asarray(patch_evidence(model, cell, n_cells).patches[place], np.float32)

    cells, missing = cut_cells(
        why.cells.head(_PICTURED).to_dict("records"),
        patches,
        lambda row: (
            f"{row['evidence']:+.3g} · {shorten(row['concept'], 30)}\n"
            f"{shorten(Path(str(row['image'])).name, 26)}, cell {row['label']}"
        ),
    )
    if not cells:
        return [], missing
    title = f"{patient}: cells that speak most for {why.name}; painted, the patches that do"
    write_sheet(target, cells, title)
    return [target], missing


def create(folder: Path) -> None:
    """Make a folder.

    Raises
    ------
    RunError
        Where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error
