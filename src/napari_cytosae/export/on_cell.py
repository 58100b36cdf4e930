"""Which concepts are strongest on a cell itself, and not on what lies around it in its crop."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts import ActiveConcept, Run
from napari_cytosae.concepts.cell import GRID

# Points per side of a patch at which the label image is asked.
_POINTS = 4


@dataclass(frozen=True, slots=True)
class CellConcept:
    """A concept of a cell, and how strong it is on the cell itself.

    Parameters
    ----------
    concept
        The concept as the run knows it, over the whole crop.
    on_cell
        Mean activation over the patches, each counted by its share that the cell covers.
    """

    concept: ActiveConcept
    on_cell: float


def cell_share(run: Run, label: int) -> NDArray[np.float64]:
    """Give the share of each patch that the cell covers, (16, 16), from 0 to 1.

    All ones where the cell covers none of the points that are looked at, as a speck in a large
    crop may.
    """
    y0, x0, y1, x1 = run.cell(label).box
    height, width = run.labels.shape
    steps = (np.arange(GRID * _POINTS) + 0.5) / (GRID * _POINTS)
    rows = np.floor(y0 + steps * (y1 - y0)).astype(int)
    columns = np.floor(x0 + steps * (x1 - x0)).astype(int)
    # What lies beyond the image is its reflection, and no part of the cell.
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    window = np.asarray(run.labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    at = window[(rows - rows[0])[:, None], columns - columns[0]]
    covered = (at == label) & inside
    share: NDArray[np.float64] = covered.reshape(GRID, _POINTS, GRID, _POINTS).mean(axis=(1, 3))
    return share if share.any() else np.ones_like(share)


def strongest_on_cell(run: Run, label: int, k: int) -> list[CellConcept]:
    """Rank a cell's concepts by their mean activation on the cell itself, strongest first.

    The mean over the whole crop, the paper's image score, is led by what fills most of a crop:
    glass, and the red cells around. Within the cell's outline the cell's own concepts lead.

    Parameters
    ----------
    run
        The run.
    label
        The cell; it must be encoded.
    k
        How many concepts at most.
    """
    cell = run.cell(label)
    weights = np.concatenate([[0.0], cell_share(run, label).ravel()])  # none for the class token
    weights /= weights.sum()
    of_entry = np.repeat(weights, np.diff(cell.indptr))
    values = cell.values.astype(np.float64) * of_entry
    ids, inverse = np.unique(cell.concept_ids, return_inverse=True)
    on_cell = np.bincount(inverse, weights=values, minlength=len(ids))
    # Ties go to the smaller id, as everywhere.
    ranked = np.lexsort((ids, -on_cell))[:k]
    known = {concept.concept_id: concept for concept in run.active_concepts(label)}
    return [CellConcept(known[int(ids[row])], float(on_cell[row])) for row in ranked]
