"""Cells with what is specific to a disease, found beside the window."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from napari_cytosae.cohorts import ComparisonOptions, compare
from napari_cytosae.cohorts.explanation import (
    SpecificConcepts,
    pathognomonic_cells,
    rank_run,
    specific_concepts,
)
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import CohortError
from napari_cytosae.viewer.cohort_cells_work import cell_picture
from napari_cytosae.viewer.cohort_strip import Cell, Coming
from napari_cytosae.viewer.cohort_work import OpenedCohort


@dataclass(frozen=True, slots=True, eq=False)
class SpecificRequest:
    """Whose cells are looked through, for what.

    Parameters
    ----------
    cohort
        The concepts are chosen in.
    disease
        Whose concepts.
    patients
        Whose cells; not used with a run.
    run
        A slide's cells instead.
    words
        What is looked through, for a person.
    within
        Covariate that is held fixed in the comparison.
    k
        Cells at most.
    """

    cohort: OpenedCohort
    disease: str
    patients: tuple[str, ...]
    run: Run | None
    words: str
    within: str | None = None
    k: int = 60


@dataclass(frozen=True, slots=True)
class LookedThrough:
    """So many patients have been looked through."""

    done: int
    total: int


def specific_job(
    request: SpecificRequest, cancelled: Callable[[], bool]
) -> Generator[SpecificConcepts | LookedThrough | Coming | Cell, None, None]:
    """Choose the concepts, rank the cells, and cut the best."""
    cohort = request.cohort
    # The false discovery rate needs no permutations.
    options = ComparisonOptions(within=request.within, n_permutations=0)
    specific = specific_concepts(
        cohort.barcodes, compare(cohort.barcodes, request.disease, options=options)
    )
    yield specific
    tables, missing = [], []
    if request.run is not None:
        tables.append(_of_run(request.run, specific, request.k))
    for done, patient in enumerate(request.patients if request.run is None else ()):
        if cancelled():
            return
        try:
            found = pathognomonic_cells(
                cohort.barcodes, specific, patient, request.k, cohort.folder
            )
        except CohortError:
            missing.append(patient)
            if len(request.patients) == 1:
                raise
        else:
            tables.append(found.assign(patient=patient))
        yield LookedThrough(done + 1, len(request.patients))
    if not tables:
        raise CohortError(
            "The runs of these patients are not at hand: their cells cannot be looked at. Open the "
            "cohort's folder, with runs/ in it."
        )
    ranked = pd.concat(tables, ignore_index=True)
    ranked = ranked.sort_values("score", ascending=False, kind="stable").head(request.k)
    yield Coming(len(ranked), _words(request, specific, len(ranked), missing))
    diagnosis = cohort.barcodes.patients["diagnosis"].to_dict()
    with ReferencePictures() as pictures:
        for rank, cell in enumerate(ranked.to_dict("records")):
            if cancelled():
                return
            cell |= {"diagnosis": diagnosis.get(cell["patient"], ""), "value": cell["score"]}
            cell["run"] = str(Path(str(cell["run"])).resolve())
            picture = cell_picture(cohort, rank, cell, pictures)
            note = (
                f"score {picture.value:.2f} from {cell['concepts']} specific concepts, most of all "
                f"{cell['concept']}"
            )
            yield Cell(picture, f"{picture.value:.1f}", note)


def _of_run(run: Run, specific: SpecificConcepts, k: int) -> pd.DataFrame:
    image = "" if run.slide_path is None else str(run.slide_path)
    return rank_run(run, specific, k).assign(
        run=str(run.path), image=image, patient=run.path.name.removesuffix(".cytosae")
    )


def _words(request: SpecificRequest, specific: SpecificConcepts, n: int, missing: list[str]) -> str:
    if not n:
        words = f"No cell of {request.words} shows a concept that is specific to {request.disease}."
    else:
        words = (
            f"The {n} cells of {request.words} that show most of the {len(specific.table)} concepts "
            f"specific to {request.disease}. Not a diagnosis."
        )
    if missing:
        words += f" Runs of {len(missing)} patients are not at hand ({missing[0]} …)."
    return words
