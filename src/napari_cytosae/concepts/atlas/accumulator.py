"""Count concepts while cells stream by: one pass, bounded memory, the same bits in any order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.concepts.atlas.best_cells import BestCells
from napari_cytosae.concepts.atlas.data_set import Counts
from napari_cytosae.concepts.atlas.partners import (
    CONCEPTS_PER_CELL,
    SAMPLE_CELLS,
    CellSample,
    priorities,
)
from napari_cytosae.concepts.atlas.references import NO_PATCH, References
from napari_cytosae.concepts.atlas.units import UNIT, UNITS_PER_ONE, to_grid
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.errors import AtlasError

# Cells × concepts that are summed up at a time: 1 MB of float64, which stays in the cache; and so
# few cells that even the largest half-precision number at every token adds up exactly.
_DENSE = 1 << 17
_MOST_AT_ONCE = 31
# Cells whose token counts are added up as float64 before they go into whole numbers.
_MOST_CELLS = 1024
_ABOVE = float(1 << 20)
"""A token above τ counts this much more than 1, so that one pass counts both."""
_LARGEST_TOTAL = 2.0**62


@dataclass(frozen=True, slots=True, eq=False)
class TokenBlock:
    """The activations of some cells at every token, as CSR rows ``cell * n_tokens + token``.

    Parameters
    ----------
    sources
        (n,) int32 which source each cell comes from.
    keys
        (n,) uint64 that source's key.
    cells
        (n,) int64 label of each cell in its source.
    labels
        (n,) int32 class of each cell, or `NO_LABEL`.
    indptr
        (n · n_tokens + 1,) int64.
    concept_ids, values
        (nnz,) concept and activation of each entry, above 0.
    """

    sources: NDArray[np.int32]
    keys: NDArray[np.uint64]
    cells: NDArray[np.int64]
    labels: NDArray[np.int32]
    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.integer]
    values: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.cells)

    def rows(self, start: int, stop: int, n_tokens: int) -> "TokenBlock":
        """Give some of the cells."""
        pointers = self.indptr[start * n_tokens : stop * n_tokens + 1]
        entries = slice(pointers[0], pointers[-1])
        return TokenBlock(
            self.sources[start:stop],
            self.keys[start:stop],
            self.cells[start:stop],
            self.labels[start:stop],
            pointers - pointers[0],
            self.concept_ids[entries],
            self.values[entries],
        )


class Accumulator:
    """Counts, best cells and a sample of cells, for every concept.

    Its size goes with the number of concepts, never with that of cells.

    Parameters
    ----------
    d_sae
        Number of concepts.
    k
        References for each.
    threshold
        τ of `Counts.tokens_above`.
    n_tokens
        Tokens per cell; the first is the class token, the others are patches.
    sample_cells
        Cells kept for co-activation.
    """

    def __init__(
        self,
        d_sae: int,
        k: int = 10,
        threshold: float = 0.2,
        *,
        n_tokens: int = N_TOKENS,
        sample_cells: int = SAMPLE_CELLS,
    ) -> None:
        self.d_sae = d_sae
        self.threshold = threshold
        self.n_tokens = n_tokens
        self.n_images = 0
        self.images = np.zeros(d_sae, np.int64)
        self.mass_units = np.zeros(d_sae, np.int64)
        self.patches = np.zeros(d_sae, np.int64)
        self.tokens_above = np.zeros(d_sae, np.int64)
        self.best = BestCells(d_sae, k)
        self._sample = CellSample.empty(sample_cells)
        self._sampled: list[CellSample] = []

    def add(self, block: TokenBlock) -> None:
        """Count some cells.

        Raises
        ------
        AtlasError
            Where sums leave what 64 bits hold, after some 5 · 10¹¹ in all.
        """
        for start in range(0, len(block), _MOST_CELLS):
            stop = min(start + _MOST_CELLS, len(block))
            self._add(block.rows(start, stop, self.n_tokens))

    def merge(
        self,
        counts: Counts,
        n_images: int,
        references: References,
        sample: CellSample | None,
        keys: NDArray[np.uint64],
    ) -> None:
        """Add what was counted elsewhere, with sources and labels numbered as here.

        Parameters
        ----------
        counts
            Exact ones.
        n_images
            Cells that were counted.
        references, sample
            Best cells, and the sample.
        keys
            Key of each source.
        """
        assert counts.mass_units is not None
        assert counts.patches is not None
        assert counts.tokens_above is not None
        self.n_images += n_images
        self.images += counts.images
        self.patches += counts.patches
        self.tokens_above += counts.tokens_above
        self._add_mass(counts.mass_units)
        self.best.offer_references(references, keys, self.n_tokens)
        if sample is not None:
            self._sample = self.sample.joined([sample])

    def empty_copy(self) -> "Accumulator":
        """Give another one with the same settings that has counted nothing."""
        return Accumulator(
            self.d_sae,
            self.best.k,
            self.threshold,
            n_tokens=self.n_tokens,
            sample_cells=self._sample.size,
        )

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return Counts.exact(
            self.images.copy(),
            self.mass_units.copy(),
            self.patches.copy(),
            self.tokens_above.copy(),
            self.n_tokens,
        )

    @property
    def references(self) -> References:
        """The best cells so far."""
        return self.best.references(self.n_tokens)

    @property
    def sample(self) -> CellSample:
        """The sampled cells so far."""
        if self._sampled:
            self._sample = self._sample.joined(self._sampled)
            self._sampled.clear()
        return self._sample

    def _add(self, block: TokenBlock) -> None:
        n_tokens = self.n_tokens
        # Only the concepts that occur are looked at, so that what is summed up stays small.
        seen = np.zeros(self.d_sae, bool)
        seen[block.concept_ids] = True
        present = np.flatnonzero(seen)
        self.n_images += len(block)
        if not len(present):
            return
        place = np.zeros(self.d_sae, np.int32)
        place[present] = np.arange(len(present), dtype=np.int32)
        images = np.zeros(len(present), np.int64)
        units = np.zeros(len(present), np.int64)
        tokens = np.zeros(len(present))
        at_once = max(1, min(_MOST_AT_ONCE, _DENSE // len(present)))
        drawn = self._drawn(block)
        for start in range(0, len(block), at_once):
            part = block.rows(start, min(start + at_once, len(block)), n_tokens)
            columns = place[part.concept_ids]
            values = to_grid(part.values)
            of_cells = csr_array(
                (values, columns, part.indptr[::n_tokens]), shape=(len(part), len(present))
            ).toarray()
            images += np.add.reduce((of_cells > 0).view(np.uint8), axis=0, dtype=np.uint8)
            units += (np.add.reduce(of_cells, axis=0) * UNITS_PER_ONE).astype(np.int64)
            weights = (values > self.threshold) * _ABOVE
            weights += 1.0
            tokens += np.bincount(columns, weights, minlength=len(present))
            self._offer(part, columns, of_cells, present)
            for row in np.flatnonzero(drawn[start : start + at_once]):
                self._sampled.append(self._strongest(part, int(row), of_cells[row], present))
        above = np.floor(tokens / _ABOVE)
        self.images[present] += images
        self.tokens_above[present] += above.astype(np.int64)
        self.patches[present] += (tokens - above * _ABOVE).astype(np.int64)
        starts = block.indptr[:-1:n_tokens]
        of_class_token = np.concatenate(
            [
                block.concept_ids[first:last]
                for first, last in zip(starts, block.indptr[1::n_tokens], strict=True)
            ]
        )
        self.patches -= np.bincount(of_class_token, minlength=self.d_sae)
        mass_units = np.zeros(self.d_sae, np.int64)
        mass_units[present] = units
        self._add_mass(mass_units)
        if len(self._sampled) > self._sample.size:
            self._sample = self.sample

    def _offer(
        self,
        part: TokenBlock,
        columns: NDArray[np.int32],
        of_cells: NDArray[np.float64],
        present: NDArray[np.int64],
    ) -> None:
        """Offer cells to the lists of those concepts that they may be among the best of."""
        good = of_cells >= self.best.limit[present]
        rows, offered = np.nonzero(good)
        if not len(rows):
            return
        concepts = present[offered]
        self.best.offer(
            concepts,
            of_cells[rows, offered],
            part.keys[rows],
            part.sources[rows],
            part.cells[rows],
            self._patches_of_maxima(part, columns, good)[rows, offered],
            part.labels[rows],
        )

    def _patches_of_maxima(
        self, part: TokenBlock, columns: NDArray[np.int32], good: NDArray[np.bool_]
    ) -> NDArray[np.int16]:
        """Find for some (cell, concept) the patch where the concept is largest, the first of equals."""
        n_tokens, width = self.n_tokens, good.shape[1]
        lengths = np.diff(part.indptr[::n_tokens])
        cell_of = np.repeat(np.arange(len(part), dtype=np.int32) * width, lengths)
        pair = cell_of + columns
        asked = np.flatnonzero(good.ravel()[pair])
        token = np.searchsorted(part.indptr, asked, side="right") - 1
        token %= n_tokens
        of_patch = token > 0
        asked, token = asked[of_patch], token[of_patch]
        # The larger value wins, then the smaller token: both in one whole number. Half precision
        # above 0 sorts as its bits do.
        bits = part.values[asked].astype(np.float16).view(np.uint16).astype(np.int32)
        largest = np.zeros(good.size, np.int32)
        np.maximum.at(largest, pair[asked], (bits << 15) + (n_tokens - token).astype(np.int32))
        patches = n_tokens - 1 - (largest & 0x7FFF)
        return np.where(largest > 0, patches, NO_PATCH).astype(np.int16).reshape(good.shape)

    def _drawn(self, block: TokenBlock) -> NDArray[np.bool_]:
        """Tell which cells come into the sample, as far as it is known."""
        if self._sample.size == 0:
            return np.zeros(len(block), bool)
        drawn = np.ones(len(block), bool)
        if self._sample.full:
            drawn &= priorities(block.keys, block.cells) <= self._sample.priorities[-1]
        return drawn

    def _strongest(
        self,
        part: TokenBlock,
        row: int,
        sums: NDArray[np.float64],
        present: NDArray[np.int64],
    ) -> CellSample:
        """Keep a cell's strongest concepts; of equals those with the smaller ids."""
        active = np.flatnonzero(sums)
        if len(active) > CONCEPTS_PER_CELL:
            least = np.partition(sums[active], -CONCEPTS_PER_CELL)[-CONCEPTS_PER_CELL]
            above = active[sums[active] > least]
            equal = active[sums[active] == least][: CONCEPTS_PER_CELL - len(above)]
            active = np.sort(np.concatenate([above, equal]))
        return CellSample(
            priorities(part.keys[row : row + 1], part.cells[row : row + 1]),
            part.sources[row : row + 1],
            part.cells[row : row + 1],
            np.array([0, len(active)], np.int64),
            present[active].astype(np.uint32),
            (sums[active] / self.n_tokens).astype(np.float32),
            self._sample.size,
        )

    def _add_mass(self, units: NDArray[np.int64]) -> None:
        if (self.mass_units.astype(np.float64) + units > _LARGEST_TOTAL).any():
            raise AtlasError(
                "There is more activation than can be added up exactly "
                f"({_LARGEST_TOTAL * UNIT:.0e} for one concept). Build atlases of parts instead."
            )
        self.mass_units += units


def source_key(identity: str) -> np.uint64:
    """Turn a source's identity, hex digits, into the number that ties are broken by."""
    return np.uint64(int(identity[:16], 16))
