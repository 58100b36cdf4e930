"""Which concepts are strong in the same cells, from a sample of cells that is drawn by identity.

Counting every pair of 49,152 concepts would take gigabytes. Instead the cells whose identities
hash lowest are kept, each with its strongest concepts: a uniform sample of bounded size that does
not depend on the order in which cells come, and that two halves of a data set share with the whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

SAMPLE_CELLS = 1024
"""Cells kept for co-activation. Where a data set has no more, all of them are."""
CONCEPTS_PER_CELL = 128
"""The strongest ones of each such cell; the published SAE has some 1,900 active per image."""
N_PARTNERS = 10
LEAST_CELLS = 3
"""Fewer cells with both concepts would be an anecdote."""

_BLOCK = 2048  # concepts at a time; bounds the memory of a product


@dataclass(frozen=True, slots=True, eq=False)
class CellSample:
    """The cells of a data set whose priorities are lowest, with their strongest concepts.

    Parameters
    ----------
    priorities
        (n,) uint64, ascending.
    sources, cells
        (n,) row of the data set's sources, and label in that run.
    indptr
        (n + 1,) int64.
    concept_ids, values
        (nnz,) uint32 and float32: a cell's concepts with their means over tokens.
    size
        Cells kept at most.
    """

    priorities: NDArray[np.uint64]
    sources: NDArray[np.int32]
    cells: NDArray[np.int64]
    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.uint32]
    values: NDArray[np.float32]
    size: int = SAMPLE_CELLS

    @classmethod
    def empty(cls, size: int = SAMPLE_CELLS) -> "CellSample":
        """Give a sample without cells."""
        return cls(
            np.zeros(0, np.uint64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(1, np.int64),
            np.zeros(0, np.uint32),
            np.zeros(0, np.float32),
            size,
        )

    def __len__(self) -> int:
        return len(self.priorities)

    @property
    def full(self) -> bool:
        """Whether only cells of lower priority still come in."""
        return len(self) >= self.size

    def joined(self, others: list["CellSample"]) -> "CellSample":
        """Keep the cells of lowest priority of all these samples."""
        parts = [self, *others]
        priorities = np.concatenate([part.priorities for part in parts])
        sources = np.concatenate([part.sources for part in parts])
        cells = np.concatenate([part.cells for part in parts])
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.concatenate([part.concept_ids for part in parts])
        values = np.concatenate([part.values for part in parts])
        # Two cells of one hash are told apart by their labels, so that the order never depends on
        # which came first.
        order = np.lexsort((cells, priorities))[: self.size]
        indptr = np.concatenate([[0], np.cumsum(lengths[order])])
        entries = np.repeat(starts[order] - indptr[:-1], lengths[order]) + np.arange(indptr[-1])
        return CellSample(
            priorities[order],
            sources[order],
            cells[order],
            indptr.astype(np.int64),
            ids[entries],
            values[entries],
            self.size,
        )

    def with_sources(self, renumbered: NDArray[np.int32]) -> "CellSample":
        """Let sources count in another list: old row → new row."""
        return CellSample(
            self.priorities,
            renumbered[self.sources],
            self.cells,
            self.indptr,
            self.concept_ids,
            self.values,
            self.size,
        )


def priorities(keys: NDArray[np.uint64], cells: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash cells to 64 bits: uniform, and the same on every machine (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        x = cells.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + keys
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Partners:
    """For each concept those that are strong in the same cells, the most alike first.

    Parameters
    ----------
    concept_ids
        (d_sae, m) int32; −1 where there are fewer.
    cosines
        (d_sae, m) float32: cosine between the two concepts' strengths over the sampled cells.
    shares
        (d_sae, m) float32: of the sampled cells with the concept, the share that has the partner.
    n_sampled
        Sampled cells in all.
    """

    concept_ids: NDArray[np.int32]
    cosines: NDArray[np.float32]
    shares: NDArray[np.float32]
    n_sampled: int


def find_partners(sample: CellSample, d_sae: int, m: int = N_PARTNERS) -> Partners:
    """Compare concepts over the sampled cells.

    Parameters
    ----------
    sample
        The cells; a concept counts in a cell where it is among the cell's strongest.
    d_sae
        Number of concepts.
    m
        Partners for each.
    """
    matrix = csr_array(
        (sample.values, sample.concept_ids.astype(np.int32), sample.indptr),
        shape=(len(sample), d_sae),
    )
    cells = np.bincount(sample.concept_ids, minlength=d_sae)
    squares = np.bincount(
        sample.concept_ids, sample.values.astype(np.float64) ** 2, minlength=d_sae
    )
    norms = np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny))
    ids = np.full((d_sae, m), -1, np.int32)
    cosines = np.zeros((d_sae, m), np.float32)
    shares = np.zeros((d_sae, m), np.float32)
    by_concept = matrix.T.tocsr()
    present = csr_array(
        (np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape
    )
    present_by_concept = present.T.tocsr()
    known = np.flatnonzero(cells >= LEAST_CELLS)
    for start in range(0, len(known), _BLOCK):
        rows = known[start : start + _BLOCK]
        products = by_concept[rows] @ matrix
        both = present_by_concept[rows] @ present
        # Sorted alike, the two products have the same entries: strengths are never 0.
        products.sort_indices()
        both.sort_indices()
        for place, concept in enumerate(rows):
            entries = slice(products.indptr[place], products.indptr[place + 1])
            others, together = products.indices[entries], both.data[entries]
            cosine = products.data[entries] / (norms[concept] * norms[others])
            chosen = np.flatnonzero((others != concept) & (together >= LEAST_CELLS))
            chosen = chosen[np.lexsort((others[chosen], -cosine[chosen]))[:m]]
            ids[concept, : len(chosen)] = others[chosen]
            cosines[concept, : len(chosen)] = cosine[chosen]
            shares[concept, : len(chosen)] = together[chosen] / cells[concept]
    return Partners(ids, cosines, shares, len(sample))
