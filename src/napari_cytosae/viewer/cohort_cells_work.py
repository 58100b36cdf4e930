"""Cells of a cohort, cut out of their images beside the window."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cohorts import Comparison
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture, ReferencePictures
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.cohort_work import OpenedCohort

FIRST, SECOND = "first", "second"

MapOf = Callable[[Path, int], "NDArray[np.float32] | None"]


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


def cells_job(
    request: CellsRequest, cancelled: Callable[[], bool]
) -> Generator[GroupCells, None, None]:
    """Cut a concept's best cells of both groups."""
    comparison, cohort = request.comparison, request.cohort
    groups: tuple[tuple[str, NDArray[np.bool_]], ...] = (
        (FIRST, comparison.in_first),
        (SECOND, comparison.in_second),
    )
    with ReferencePictures() as pictures:
        for group, rows in groups:
            found = cohort.barcodes.best_cells(request.concept_id, rows, request.k)
            cells = found.rename(columns={"activation": "value"}).to_dict("records")
            yield GroupCells(group, len(cells))
            for rank, cell in enumerate(cells):
                if cancelled():
                    return
                cell["concept_id"] = request.concept_id
                yield GroupCells(group, picture=cell_picture(cohort, rank, cell, pictures))


def cell_picture(
    cohort: OpenedCohort,
    rank: int,
    cell: dict[Any, Any],
    pictures: ReferencePictures,
    map_of: MapOf | None = None,
) -> ReferencePicture:
    """Cut one cell, with a map over its patches.

    Parameters
    ----------
    cohort
        Whose runs are relative to its folder.
    rank
        Place in a list, from 0.
    cell
        ``patient``, ``diagnosis``, ``run``, ``image``, ``label``, ``value`` and ``concept_id``.
    pictures
        Open slides and runs.
    map_of
        Gives what is laid over the cell; its concept's activations without it.
    """
    run = cohort.folder / str(cell["run"]) if cell["run"] else None
    label, concept_id = int(cell["label"]), int(cell["concept_id"])
    crop = seen = None
    missing = "" if run is not None else "This cell's run was not kept."
    if map_of is None:

        def map_of(run: Path, label: int) -> NDArray[np.float32]:
            return pictures.concept_map(run, label, concept_id)

    if run is not None:
        try:
            seen = map_of(run, label)
            crop = pictures.crop(run, label, str(cell["image"]))
        except (CytoSAEError, OSError) as error:
            missing = str(error)
    return ReferencePicture(
        data_set=str(cell["patient"]),
        rank=rank,
        concept_id=concept_id,
        value=float(cell["value"]),
        label=str(cell["diagnosis"] or ""),
        cell=label,
        image=str(cell["image"]),
        run=run,
        crop=crop,
        concept_map=seen,
        missing=missing,
    )
