"""Measured cells drawn by identity, with all their concepts: what rank correlations are of.

Ranks need all cells side by side, and so cannot be summed up as cells stream by. The cells whose
identities hash lowest are a uniform sample of bounded size; two halves of a data set share it with
the whole, whatever the order. A data set with fewer measured cells is in it as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells.morphology import MORPHOLOGY

MEASURED_CELLS: Final = 2048
"""Cells kept for rank correlations: ρ is then known to ± 0.02, and memory stays below 100 MB."""
MEASURES: Final = tuple(MORPHOLOGY)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCells:
    """The measured cells of a data set whose priorities are lowest, with all their concepts.

    Parameters
    ----------
    priorities
        (n,) uint64, ascending.
    sources, cells
        (n,) row of the data set's sources, and label in that run.
    indptr
        (n + 1,) int64.
    concept_ids, values
        (nnz,) uint32 and float32: a cell's concepts, ascending, with their means over tokens.
    measures
        (n, m) float64 in the order of `MEASURES`; NaN where one is not possible.
    size
        Cells kept at most.
    """

    priorities: NDArray[np.uint64]
    sources: NDArray[np.int32]
    cells: NDArray[np.int64]
    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.uint32]
    values: NDArray[np.float32]
    measures: NDArray[np.float64]
    size: int = MEASURED_CELLS

    @classmethod
    def empty(cls, size: int = MEASURED_CELLS) -> "MeasuredCells":
        """Give a sample without cells."""
        return cls(
            np.zeros(0, np.uint64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            np.zeros(1, np.int64),
            np.zeros(0, np.uint32),
            np.zeros(0, np.float32),
            np.zeros((0, len(MEASURES))),
            size,
        )

    def __len__(self) -> int:
        return len(self.priorities)

    @property
    def limit(self) -> np.uint64:
        """Priority from which on no cell comes in any more."""
        full = len(self) >= self.size
        return self.priorities[-1] if full and self.size else np.uint64(0 if full else 2**64 - 1)

    def joined(self, others: Sequence["MeasuredCells"]) -> "MeasuredCells":
        """Keep the cells of lowest priority of all these samples; the smallest size holds."""
        parts = [self, *others]
        size = min(part.size for part in parts)
        priorities = np.concatenate([part.priorities for part in parts])
        cells = np.concatenate([part.cells for part in parts])
        lengths = np.concatenate([np.diff(part.indptr) for part in parts])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        # Two cells of one hash are told apart by their labels, as in `CellSample`.
        order = np.lexsort((cells, priorities))[:size]
        indptr = np.concatenate([[0], np.cumsum(lengths[order])])
        entries = np.repeat(starts[order] - indptr[:-1], lengths[order]) + np.arange(indptr[-1])
        return MeasuredCells(
            priorities[order],
            np.concatenate([part.sources for part in parts])[order],
            cells[order],
            indptr.astype(np.int64),
            np.concatenate([part.concept_ids for part in parts])[entries],
            np.concatenate([part.values for part in parts])[entries],
            np.concatenate([part.measures for part in parts])[order],
            size,
        )

    def with_sources(self, renumbered: NDArray[np.int32]) -> "MeasuredCells":
        """Let sources count in another list: old row → new row."""
        return MeasuredCells(
            self.priorities,
            renumbered[self.sources],
            self.cells,
            self.indptr,
            self.concept_ids,
            self.values,
            self.measures,
            self.size,
        )


def in_our_order(morphology: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """Put measures into the order of `MEASURES`; NaN where a version did not measure them yet."""
    ordered = np.full((len(morphology), len(MEASURES)), np.nan)
    for place, name in enumerate(MEASURES):
        if name in columns:
            ordered[:, place] = morphology[:, columns.index(name)]
    ordered[~np.isfinite(ordered)] = np.nan
    return ordered
