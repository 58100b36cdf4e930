"""The k best cells of every concept, kept while cells stream by."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.measures import NO_LABEL
from napari_cytosae.concepts.atlas.references import NO_PATCH, NO_SOURCE, References
from napari_cytosae.concepts.atlas.units import UNIT

# Offers that wait before they are sorted into the lists: sorting many at once is what makes it
# cheap, and until then a list only lets a few more through than it has to.
_MOST_WAITING = 300_000


class BestCells:
    """For each concept the k cells with the largest sum over tokens.

    The same cells are kept in whatever order they come: of two with the same sum the one whose
    source has the smaller key stays, then the one with the smaller label.

    Parameters
    ----------
    d_sae
        Number of concepts.
    k
        Cells for each.

    Attributes
    ----------
    limit
        (d_sae,) float64: a cell whose sum is below it need not be offered.
    """

    def __init__(self, d_sae: int, k: int) -> None:
        self._sums = np.zeros((d_sae, k))
        self._keys = np.zeros((d_sae, k), np.uint64)
        self._sources = np.full((d_sae, k), NO_SOURCE, np.int32)
        self._cells = np.full((d_sae, k), -1, np.int64)
        self._patches = np.full((d_sae, k), NO_PATCH, np.int16)
        self._labels = np.full((d_sae, k), NO_LABEL, np.int32)
        self.limit = np.full(d_sae, UNIT)
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        self._n_waiting = 0

    @property
    def k(self) -> int:
        """Cells for each concept."""
        return int(self._sums.shape[1])

    def offer(
        self,
        concepts: NDArray[np.int64],
        sums: NDArray[np.float64],
        keys: NDArray[np.uint64],
        sources: NDArray[np.int32],
        cells: NDArray[np.int64],
        patches: NDArray[np.int16],
        labels: NDArray[np.int32],
    ) -> None:
        """Offer cells to concepts' lists; all arrays (n,), no cell twice to one concept."""
        self._waiting.append((concepts, sums, keys, sources, cells, patches, labels))
        self._n_waiting += len(concepts)
        if self._n_waiting > _MOST_WAITING:
            self.settle()

    def settle(self) -> None:
        """Sort what was offered into the lists."""
        if not self._n_waiting:
            self._waiting.clear()
            return
        columns: list[NDArray[Any]] = [
            np.concatenate(column) for column in zip(*self._waiting, strict=True)
        ]
        self._waiting.clear()
        self._n_waiting = 0
        touched = np.unique(columns[0])
        rows, places = np.nonzero(self._sums[touched])
        rows = touched[rows]
        lists: list[NDArray[Any]] = [
            self._sums, self._keys, self._sources, self._cells, self._patches, self._labels
        ]  # fmt: skip
        concepts = np.concatenate([columns[0], rows])
        others = [
            np.concatenate([column, kept[rows, places]])
            for column, kept in zip(columns[1:], lists, strict=True)
        ]
        order = _ranked(concepts, others[0], others[1], others[3])
        concepts = concepts[order]
        starts = np.flatnonzero(np.diff(concepts, prepend=-1))
        lengths = np.diff(np.append(starts, len(concepts)))
        place = np.arange(len(concepts)) - np.repeat(starts, lengths)
        k = self._sums.shape[1]
        stays = place < k
        at = (concepts[stays], place[stays])
        for kept, column in zip(lists, others, strict=True):
            kept[at] = column[order][stays]
        self.limit[touched] = np.maximum(self._sums[touched, -1], UNIT)

    def references(self, n_tokens: int) -> References:
        """Give the lists as they are now; values are means over tokens."""
        self.settle()
        return References(
            self._sums / n_tokens,
            self._sources.copy(),
            self._cells.copy(),
            self._patches.copy(),
            self._labels.copy(),
        )

    def offer_references(
        self, references: References, keys: NDArray[np.uint64], n_tokens: int
    ) -> None:
        """Offer all that other lists hold.

        Parameters
        ----------
        references
            Sources and labels counted as here.
        keys
            Key of each source.
        n_tokens
            Tokens per cell: a mean times it is the exact sum again.
        """
        concepts, places = np.nonzero(references.filled)
        sources = references.sources[concepts, places]
        self.offer(
            concepts.astype(np.int64),
            exact_sums(references.values[concepts, places], n_tokens),
            keys[sources],
            sources,
            references.cells[concepts, places],
            references.patches[concepts, places],
            references.labels[concepts, places],
        )


def exact_sums(means: NDArray[np.float64], n_tokens: int) -> NDArray[np.float64]:
    """Give back the sums that means over tokens were made of, to the last bit."""
    return np.rint(means * (n_tokens / UNIT)) * UNIT


def _ranked(
    concepts: NDArray[np.int64],
    sums: NDArray[np.float64],
    keys: NDArray[np.uint64],
    cells: NDArray[np.int64],
) -> NDArray[np.intp]:
    """Order by concept, then the largest sum, then the smallest key and label."""
    order = np.lexsort((-sums, concepts))
    tied = (np.diff(concepts[order]) == 0) & (np.diff(sums[order]) == 0)
    if tied.any():
        # Few are tied, and only they need the other two keys.
        at = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        among = order[at]
        order[at] = among[np.lexsort((cells[among], keys[among], -sums[among], concepts[among]))]
    return order
