"""What cells add up to, concept by concept: the sums that barcodes are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.cohorts.top_cells import TopCells
from napari_cytosae.concepts.cell import CellSummary
from napari_cytosae.concepts.folder import RunFolder
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import CohortError

N_TOP_CELLS = 4
"""Best cells that are kept for each concept of each patient."""

BRANCHES = 8
"""Sums that are added up in one step of a tree; the same everywhere, so that sums are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over cells, of the concepts that are active in any of them.

    Parameters
    ----------
    d_sae
        Concepts of the SAE.
    n_cells
        Cells that were summed.
    concept_ids
        (n,) int64, ascending.
    counts
        (n,) int64 tokens above τ: the numerator of the paper's barcode.
    cells
        (n,) int64 cells with any token above τ.
    active
        (n,) int64 cells in which the concept is active at all.
    means
        (n,) float64 sum of the cells' means over tokens.
    maxima
        (n,) float64 sum of the cells' largest values.
    top
        The best cells.
    """

    d_sae: int
    n_cells: int
    concept_ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    cells: NDArray[np.int64]
    active: NDArray[np.int64]
    means: NDArray[np.float64]
    maxima: NDArray[np.float64]
    top: TopCells = field(default_factory=TopCells.none)

    @classmethod
    def empty(cls, d_sae: int) -> "Sums":
        """Give the sums of no cells."""
        none = np.zeros(0, np.int64)
        return cls(d_sae, 0, none, none, none, none, none.astype(float), none.astype(float))

    @classmethod
    def of_matrices(
        cls,
        count: csr_array,
        mean: csr_array,
        maximum: csr_array,
        labels: NDArray[np.int64],
        image: int | NDArray[np.int32] = 0,
        k: int = N_TOP_CELLS,
    ) -> "Sums":
        """Sum the rows of cells × concepts tables.

        Parameters
        ----------
        count, mean, maximum
            (cells, d_sae): tokens above τ, mean and largest value over tokens.
        labels
            (cells,) labels of the cells in their run.
        image
            Row of the cohort's images, for `top`: one for all cells, or (cells,).
        k
            Best cells to keep for each concept, by mean.
        """
        d_sae = count.shape[1]
        counts = np.bincount(count.indices, weights=count.data, minlength=d_sae)
        cells = np.bincount(count.indices[count.data > 0], minlength=d_sae)
        active = np.bincount(mean.indices[mean.data > 0], minlength=d_sae)
        ids = np.flatnonzero(active)
        rows = np.repeat(np.arange(mean.shape[0]), np.diff(mean.indptr))
        images = np.broadcast_to(np.asarray(image, np.int32), mean.shape[0])
        return cls(
            d_sae,
            mean.shape[0],
            ids.astype(np.int64),
            np.rint(counts[ids]).astype(np.int64),
            cells[ids].astype(np.int64),
            active[ids].astype(np.int64),
            _column_sums(mean)[ids],
            _column_sums(maximum)[ids],
            TopCells.of(mean.indices, mean.data, labels[rows], images[rows], k),
        )

    def __add__(self, other: "Sums") -> "Sums":
        if self.d_sae != other.d_sae:
            raise CohortError(
                f"Cells of an SAE of {self.d_sae} concepts and of one of {other.d_sae} cannot be "
                "summed: analyse all images with one bundle."
            )
        ids = np.union1d(self.concept_ids, other.concept_ids)

        def total(name: str) -> NDArray[Any]:
            mine, theirs = getattr(self, name), getattr(other, name)
            values = np.zeros(ids.size, mine.dtype)
            values[np.searchsorted(ids, self.concept_ids)] += mine
            values[np.searchsorted(ids, other.concept_ids)] += theirs
            return values

        return Sums(
            self.d_sae,
            self.n_cells + other.n_cells,
            ids,
            total("counts"),
            total("cells"),
            total("active"),
            total("means"),
            total("maxima"),
            self.top.merged(other.top),
        )


def _column_sums(matrix: csr_array) -> NDArray[np.float64]:
    sums = np.bincount(matrix.indices, weights=matrix.data, minlength=matrix.shape[1])
    return np.asarray(sums, np.float64)


def add_up(parts: Sequence[Sums]) -> Sums:
    """Add sums up as a tree, in order: whoever does it, with the same parts, gets the same bits.

    Raises
    ------
    CohortError
        Where there is none.
    """
    if not parts:
        raise CohortError("There are no cells to add up.")
    level = list(parts)
    while len(level) > 1:
        level = [
            reduce(lambda a, b: a + b, level[start : start + BRANCHES])
            for start in range(0, len(level), BRANCHES)
        ]
    return level[0]


def sums_of_run(
    run: Run, threshold: float, image: int | NDArray[np.int32] = 0, k: int = N_TOP_CELLS
) -> Sums:
    """Sum a finished run's cells.

    Parameters
    ----------
    run
        The run.
    threshold
        τ. Where it is not the run's own, tokens are counted anew from the shards; the run stays
        as it is.
    image
        Row of the cohort's images: one for all cells, or (cells,).
    k
        Best cells to keep for each concept.

    Raises
    ------
    CohortError
        Where the run is not finished.
    RunError
        Where it is damaged.
    """
    if run.unfinished:
        raise CohortError(
            f"{run.path} is not finished. Start the same analysis again to go on with it."
        )
    if not len(run):
        return Sums.empty(run.d_sae)
    labels = run.table["label"].to_numpy(np.int64)
    if run.manifest.threshold == threshold:
        table = run.adata
        return Sums.of_matrices(
            csr_array(table.layers["count"]),
            csr_array(table.X),
            csr_array(table.layers["max"]),
            labels,
            image,
            k,
        )
    summaries = RunFolder(run.path).summaries(run.plan, run.boxes, threshold)
    return sums_of_summaries(summaries, labels, run.d_sae, image, k)


def sums_of_summaries(
    summaries: Iterable[CellSummary],
    labels: NDArray[np.int64],
    d_sae: int,
    image: int | NDArray[np.int32] = 0,
    k: int = N_TOP_CELLS,
) -> Sums:
    """Sum cells that are summed up one by one; `labels` in their order."""
    rows = list(summaries)
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row.concept_ids) for row in rows], out=indptr[1:])
    ids = np.concatenate([np.zeros(0, np.int64), *(row.concept_ids for row in rows)])

    def matrix(name: str) -> csr_array:
        data = np.concatenate([np.zeros(0), *(getattr(row, name) for row in rows)])
        return csr_array((data, ids, indptr), shape=(len(rows), d_sae))

    return Sums.of_matrices(matrix("count"), matrix("mean"), matrix("maximum"), labels, image, k)
