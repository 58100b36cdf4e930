"""The k best cells of every concept, kept while cells stream by."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.measures import NO_LABEL
from napari_cytosae.concepts.atlas.references import NO_PATCH, NO_SOURCE, References
from napari_cytosae.concepts.atlas.units import UNIT, UNITS_PER_ONE

# Offers that wait before they are sorted into the lists: sorting many at once is what makes it
# cheap, and until then a list only lets a few more through than it has to.
_MOST_WAITING = 300_000
_MOST_UNUSED = 1_000_000  # records of cells that have fallen out of the lists, 29 bytes each
_NO_RECORD = -1


class BestCells:
    """For each concept the k cells with the largest sum over tokens, in steps of 2⁻²⁴.

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
        (d_sae,) int64: a cell whose sum is below it need not be offered.
    """

    def __init__(self, d_sae: int, k: int) -> None:
        self.k = k
        self.limit = np.ones(d_sae, np.int64)
        self._units = np.zeros((d_sae, k), np.int64)
        # What else is known of a cell stands in a record, so that sorting moves two numbers only.
        self._records = np.full((d_sae, k), _NO_RECORD, np.int64)
        self._known = _Records()
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        self._n_waiting = 0

    def offer(
        self,
        concepts: NDArray[np.integer],
        units: NDArray[np.int64],
        keys: NDArray[np.uint64],
        sources: NDArray[np.int32],
        cells: NDArray[np.int64],
        patches: NDArray[np.int16],
        labels: NDArray[np.int32],
    ) -> None:
        """Offer cells to concepts' lists; all arrays (n,), no cell twice to one concept."""
        self._waiting.append((concepts, units, keys, sources, cells, patches, labels))
        self._n_waiting += len(concepts)
        if self._n_waiting > _MOST_WAITING:
            self.settle()

    def settle(self) -> None:
        """Sort what was offered into the lists."""
        if not self._n_waiting:
            self._waiting.clear()
            return
        concepts, units, *rest = (np.concatenate(c) for c in zip(*self._waiting, strict=True))
        self._waiting.clear()
        self._n_waiting = 0
        good = np.flatnonzero(units >= self.limit[concepts])
        # 16 bits are sorted several times as fast.
        small = concepts[good].astype(np.uint16 if len(self.limit) <= 1 << 16 else np.uint32)
        good = good[np.argsort(small, kind="stable")]
        records = self._known.add([column[good] for column in rest])
        concepts, units = concepts[good], units[good]
        while len(concepts):
            starts = np.flatnonzero(np.diff(concepts, prepend=-1))
            lengths = np.diff(np.append(starts, len(concepts)))
            rows = np.repeat(np.arange(len(starts)), lengths)
            places = np.arange(len(concepts)) - np.repeat(starts, lengths)
            # At most k of a concept's offers at a time: they raise its limit for the others.
            now = places < self.k
            self._insert(concepts[starts], rows[now], places[now], units[now], records[now])
            left = ~now & (units >= self.limit[concepts])
            concepts, units, records = concepts[left], units[left], records[left]
        if len(self._known) > self._records.size + _MOST_UNUSED:
            self._forget_unused()

    def references(self, n_tokens: int) -> References:
        """Give the lists as they are now; values are means over tokens."""
        self.settle()
        _, sources, cells, patches, labels = self._known.of(self._records)
        values = np.asarray(self._units * (UNIT / n_tokens), np.float64)
        return References(values, sources, cells, patches, labels)

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
            concepts,
            exact_units(references.values[concepts, places], n_tokens),
            keys[sources],
            sources,
            references.cells[concepts, places],
            references.patches[concepts, places],
            references.labels[concepts, places],
        )

    def _insert(
        self,
        touched: NDArray[np.integer],
        rows: NDArray[np.intp],
        places: NDArray[np.intp],
        units: NDArray[np.int64],
        records: NDArray[np.int64],
    ) -> None:
        """Insert up to k offers into each of some concepts' lists.

        Parameters
        ----------
        touched
            (m,) the concepts.
        rows, places
            (n,) which of them an offer is for, and its number among that concept's offers.
        units, records
            (n,) the offers' sums and records.
        """
        k = self.k
        wide_units = np.zeros((len(touched), 2 * k), np.int64)
        wide_records = np.full((len(touched), 2 * k), _NO_RECORD, np.int64)
        wide_units[:, :k], wide_records[:, :k] = self._units[touched], self._records[touched]
        wide_units[rows, k + places], wide_records[rows, k + places] = units, records
        order = np.argsort(-wide_units, axis=1)
        ranked = np.take_along_axis(wide_units, order, axis=1)
        tied = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] > 0)).any(axis=1)
        if tied.any():
            # Only lists with equals need the other two keys.
            keys, _, cells, *_ = self._known.of(wide_records[tied])
            order[tied] = np.lexsort((cells, keys, -wide_units[tied]), axis=1)
        self._units[touched] = np.take_along_axis(wide_units, order[:, :k], axis=1)
        self._records[touched] = np.take_along_axis(wide_records, order[:, :k], axis=1)
        self.limit[touched] = np.maximum(self._units[touched, -1], 1)

    def _forget_unused(self) -> None:
        used = self._records >= 0
        columns = self._known.of(self._records[used])
        self._known = _Records()
        self._records[used] = self._known.add(columns)


class _Records:
    """What is known of cells besides their sums: key, source, label of the cell, patch, class."""

    _NOTHING = (
        np.uint64(0),
        np.int32(NO_SOURCE),
        np.int64(-1),
        np.int16(NO_PATCH),
        np.int32(NO_LABEL),
    )

    def __init__(self) -> None:
        self._n = 0
        self._columns = [np.zeros(0, type(nothing)) for nothing in self._NOTHING]

    def __len__(self) -> int:
        return self._n

    def add(self, columns: list[NDArray[Any]]) -> NDArray[np.int64]:
        """Keep some cells; give their numbers."""
        n = len(columns[0])
        if self._n + n > len(self._columns[0]):
            more = np.zeros(max(len(self._columns[0]), n), np.uint8)
            self._columns = [
                np.concatenate([column, more.astype(column.dtype)]) for column in self._columns
            ]
        for kept, column in zip(self._columns, columns, strict=True):
            kept[self._n : self._n + n] = column
        self._n += n
        return np.arange(self._n - n, self._n)

    def of(self, records: NDArray[np.int64]) -> list[NDArray[Any]]:
        """Give the columns of some records; of none where there is none."""
        if not self._n:
            return [np.full(records.shape, nothing) for nothing in self._NOTHING]
        found: list[NDArray[Any]] = [column[records] for column in self._columns]
        for column, nothing in zip(found, self._NOTHING, strict=True):
            column[records == _NO_RECORD] = nothing
        return found


def exact_units(means: NDArray[np.float64], n_tokens: int) -> NDArray[np.int64]:
    """Give back the sums that means over tokens were made of, to the last bit."""
    return np.rint(means * (n_tokens * UNITS_PER_ONE)).astype(np.int64)
