"""Where concepts are active: how much of each lies in nucleus, cytoplasm, border, around the cell.

Everything is whole numbers, so that sums are exact, whatever the order in which cells come.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.cells.compartments import COMPARTMENTS, POINTS_PER_PATCH
from napari_cytosae.concepts.atlas.evidence_kernel import compiled_where
from napari_cytosae.concepts.atlas.measures import ratio
from napari_cytosae.concepts.atlas.token_counts import TokenBlock
from napari_cytosae.concepts.atlas.units import UNIT, UNITS_PER_ONE
from napari_cytosae.errors import AtlasError

LEAST_CELLS: Final = 10
"""Fewer measured cells with a concept do not tell where it is."""
MOSTLY: Final = 0.5
MOSTLY_ENRICHED: Final = 1.25
"""A concept is mostly in a compartment that has this share of it, and more than its area's."""
LEAST_SHARE: Final = 0.2
LEAST_ENRICHMENT: Final = 1.5
"""Otherwise it is often in the most enriched compartment that has this much of it."""
NOWHERE: Final = -1

N_COMPARTMENTS: Final = len(COMPARTMENTS)
_LARGEST_TOTAL = 2.0**62


@dataclass(frozen=True, eq=False)
class Whereabouts:
    """Activation and area by compartment, over the cells whose compartments are known.

    Parameters
    ----------
    units
        (d_sae, 6) int64: a concept's activation at each patch times the patch's points (of 16) in
        the compartment, summed over patches and cells, in steps of 2⁻²⁴ / 16; exact.
    points
        (d_sae, 6) int64: points of each compartment in the cells that have the concept at a patch.
    cells
        (d_sae,) int64: those cells.
    n_cells
        Cells whose compartments are known, in all.
    """

    units: NDArray[np.int64]
    points: NDArray[np.int64]
    cells: NDArray[np.int64]
    n_cells: int

    @classmethod
    def empty(cls, d_sae: int) -> "Whereabouts":
        """Give the counts of no cell."""
        shape = (d_sae, N_COMPARTMENTS)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(d_sae, int), 0)

    def __add__(self, other: "Whereabouts") -> "Whereabouts":
        """Add up the counts of different cells.

        Raises
        ------
        AtlasError
            Where sums leave what 64 bits hold.
        """
        return Whereabouts(
            _added(self.units, other.units),
            self.points + other.points,
            self.cells + other.cells,
            self.n_cells + other.n_cells,
        )

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """(d_sae, 6) share of a concept's activation over patches that is in each compartment.

        Compartment c's share is Σ a·w_c / Σ a·w over all patches of all cells, a the activation and
        w_c the share of the patch's points in c; w sums up what lies on the slide. NaN without any.
        """
        return _shares(self.units)

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """(d_sae, 6) each compartment's share of the crops of the cells that have the concept."""
        return _shares(self.points)

    @cached_property
    def enrichment(self) -> NDArray[np.float64]:
        """(d_sae, 6) share of activation over share of area; NaN where there is no such area.

        1 for a concept that is spread evenly over the crops of its cells.
        """
        enrichment = np.full(self.shares.shape, np.nan)
        np.divide(self.shares, self.areas, out=enrichment, where=self.areas > 0)
        return enrichment

    @cached_property
    def activation(self) -> NDArray[np.float64]:
        """(d_sae, 6) activation in each compartment, in patches' worth."""
        return np.asarray(self.units * (UNIT / POINTS_PER_PATCH), np.float64)

    @cached_property
    def tags(self) -> NDArray[np.int64]:
        """(d_sae,) index of the compartment that tells a concept best, `NOWHERE` where none does.

        The one that has at least half of the activation, and 1.25 times its area's share; otherwise
        the most enriched of those that have at least a fifth, and 1.5 times their area's share.
        Concepts of fewer than ten measured cells have none.
        """
        shares, enrichment = (np.nan_to_num(x) for x in (self.shares, self.enrichment))
        largest = shares.argmax(axis=1)
        rows = np.arange(len(shares))
        mostly = (shares[rows, largest] >= MOSTLY) & (enrichment[rows, largest] >= MOSTLY_ENRICHED)
        often = np.where((shares >= LEAST_SHARE) & (enrichment >= LEAST_ENRICHMENT), enrichment, 0)
        best = often.argmax(axis=1)
        tags = np.where(mostly, largest, np.where(often[rows, best] > 0, best, NOWHERE))
        tags[self.cells < LEAST_CELLS] = NOWHERE
        return np.asarray(tags, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class WhereTotals:
    """What some cells are added to, see `count_where`."""

    units: NDArray[np.int64]
    points: NDArray[np.int64]
    cells: NDArray[np.int64]

    @classmethod
    def zeros(cls, d_sae: int) -> "WhereTotals":
        """Give totals of no cell."""
        empty = Whereabouts.empty(d_sae)
        return cls(empty.units, empty.points, empty.cells)


def count_where(
    block: TokenBlock,
    points: NDArray[np.uint8],
    totals: WhereTotals,
    *,
    compiled: bool = True,
) -> int:
    """Add up where concepts are active in some cells.

    Parameters
    ----------
    block
        The cells, values in half precision.
    points
        (n, 6, patches) points of each patch in each compartment; cells without any do not count.
    totals
        What they are added to.
    compiled
        Whether numba may be used where it is installed: the same bits in a fraction of the time.

    Returns
    -------
    int
        Cells that counted.
    """
    known = np.asarray(points.any(axis=(1, 2)))
    loop = compiled_where() if compiled else None
    by_patch = np.ascontiguousarray(points.transpose(0, 2, 1))
    if loop is None:
        _by_matrices(block, by_patch, known, totals)
    else:
        bits = block.values.view(np.uint16)
        loop(
            block.concept_ids, bits, block.indptr, by_patch, known,
            totals.units, totals.points, totals.cells,
        )  # fmt: skip
    return int(known.sum())


def _by_matrices(
    block: TokenBlock, by_patch: NDArray[np.uint8], known: NDArray[np.bool_], totals: WhereTotals
) -> None:
    """Multiply sparse matrices of whole numbers."""
    n_cells, n_patches, _ = by_patch.shape
    d_sae = len(totals.cells)
    n_tokens = n_patches + 1
    lengths = np.diff(block.indptr).reshape(n_cells, n_tokens).copy()
    of_patch = np.repeat((np.arange(n_cells * n_tokens) % n_tokens) > 0, lengths.ravel())
    wanted = of_patch & np.repeat(known, lengths.sum(axis=1))
    lengths[:, 0] = 0
    lengths[~known] = 0
    ids = block.concept_ids[wanted].astype(np.int32)
    units = np.rint(block.values[wanted].astype(np.float64) * UNITS_PER_ONE).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths[:, 1:].ravel())])
    activations = csr_array((units, ids, ends), shape=(n_cells * n_patches, d_sae))
    per_patch = by_patch.reshape(-1, N_COMPARTMENTS).astype(np.int64)
    totals.units[:] += activations.T @ per_patch
    ones = np.ones(len(ids), np.int64)
    present = csr_array((ones, ids, ends[::n_patches].copy()), shape=(n_cells, d_sae))
    present.sum_duplicates()
    present.data[:] = 1
    totals.points[:] += present.T @ by_patch.sum(axis=1, dtype=np.int64)
    totals.cells[:] += np.bincount(present.indices, minlength=d_sae)


def add_totals(where: Whereabouts, totals: WhereTotals, n_cells: int) -> Whereabouts:
    """Add what `count_where` counted of so many cells."""
    return where + Whereabouts(totals.units, totals.points, totals.cells, n_cells)


def _added(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    if (first.astype(np.float64) + second > _LARGEST_TOTAL).any():
        raise AtlasError(
            "There is more activation than can be added up exactly by compartment. Build the atlas "
            "without evidence, or atlases of parts."
        )
    return first + second


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True, dtype=np.float64)
    shares = ratio(counts, totals)
    shares[totals[:, 0] == 0] = np.nan
    return shares
