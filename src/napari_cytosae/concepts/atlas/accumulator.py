"""Count concepts while cells stream by: one pass, bounded memory, the same bits in any order."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.best_cells import BestCells
from napari_cytosae.concepts.atlas.data_set import Counts
from napari_cytosae.concepts.atlas.partners import (
    CONCEPTS_PER_CELL,
    SAMPLE_CELLS,
    CellSample,
    priorities,
)
from napari_cytosae.concepts.atlas.references import References
from napari_cytosae.concepts.atlas.token_counts import TokenBlock, TokenCounts, count_tokens
from napari_cytosae.concepts.atlas.token_kernel import ABOVE, IMAGES, PATCHES, UNITS
from napari_cytosae.concepts.atlas.units import UNIT
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.errors import AtlasError

_LARGEST_TOTAL = 2.0**62


@dataclass(frozen=True, slots=True, eq=False)
class CellIds:
    """Whose activations are counted.

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
    """

    sources: NDArray[np.int32]
    keys: NDArray[np.uint64]
    cells: NDArray[np.int64]
    labels: NDArray[np.int32]

    @classmethod
    def of_source(
        cls, row: int, key: np.uint64, cells: NDArray[np.int64], labels: NDArray[np.int32]
    ) -> "CellIds":
        """Name cells that are all of one source."""
        return cls(np.full(len(cells), row, np.int32), np.full(len(cells), key), cells, labels)


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
        self._bound = np.uint64(2**64 - 1)
        self._settled_at = 0

    def expect(self, n_cells: int) -> None:
        """Say how many cells will come: then fewer of them are looked at for the sample.

        The lowest of n priorities are known to lie below a bound, but for one time in 10¹⁵.
        """
        size = self._sample.size
        share = (size + 8 * np.sqrt(size) + 32) / max(1, n_cells)
        self._bound = np.uint64(min(share, 1 - 2**-53) * 2.0**64)

    def wanted(self, keys: NDArray[np.uint64], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which cells may come into the sample; may be asked from any thread."""
        sample = self._sample
        if not sample.size:
            return np.zeros(len(cells), bool)
        highest = min(self._bound, sample.priorities[-1]) if sample.full else self._bound
        return np.asarray(priorities(keys, cells) <= highest)

    def no_totals(self) -> NDArray[np.int64]:
        """Give totals of no cell, which `count` adds to."""
        return np.zeros((self.d_sae, 4), np.int64)

    def count(
        self,
        block: TokenBlock,
        keys: NDArray[np.uint64],
        cells: NDArray[np.int64],
        totals: NDArray[np.int64],
        also: NDArray[np.bool_] | None = None,
    ) -> TokenCounts:
        """Count some cells apart, for `add`; may be done in any thread.

        Parameters
        ----------
        block
            The cells' activations.
        keys, cells
            Key of each cell's source, and its label there.
        totals
            What they are added to.
        also
            (n,) cells that are kept with all their concepts for another purpose.
        """
        wanted = self.wanted(keys, cells)
        if also is not None:
            wanted |= also
        return count_tokens(block, self.n_tokens, self.threshold, self.best.limit, wanted, totals)

    def add(self, totals: NDArray[np.int64], parts: Iterable[tuple[TokenCounts, CellIds]]) -> None:
        """Add cells that were counted apart.

        Parameters
        ----------
        totals
            What `count` added to.
        parts
            What it gave for each of some blocks, and whose cells those are.

        Raises
        ------
        AtlasError
            Where sums leave what 64 bits hold, after some 3 · 10¹¹ in all.
        """
        self.images += totals[:, IMAGES]
        self._add_mass(totals[:, UNITS])
        self.patches += totals[:, PATCHES]
        self.tokens_above += totals[:, ABOVE]
        for counted, ids in parts:
            self.n_images += counted.n_cells
            rows = counted.cells
            self.best.offer(
                counted.concepts,
                counted.units,
                ids.keys[rows],
                ids.sources[rows],
                ids.cells[rows],
                counted.peaks,
                ids.labels[rows],
            )
            self._draw(counted, ids)
        if self.n_images >= 2 * self._settled_at:
            self.best.settle()  # so that later cells offer less
            self._settled_at = self.n_images

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

    def _draw(self, counted: TokenCounts, ids: CellIds) -> None:
        """Take those cells into the sample that were kept with all their concepts."""
        if not self._sample.size:
            return
        lengths = np.diff(counted.kept_indptr)
        for row in np.flatnonzero(lengths):
            entries = slice(counted.kept_indptr[row], counted.kept_indptr[row + 1])
            concepts, units = _strongest(
                counted.kept_concepts[entries], counted.kept_units[entries]
            )
            one = slice(row, row + 1)
            self._sampled.append(
                CellSample(
                    priorities(ids.keys[one], ids.cells[one]),
                    ids.sources[one],
                    ids.cells[one],
                    np.array([0, len(concepts)], np.int64),
                    concepts.astype(np.uint32),
                    (units * (UNIT / self.n_tokens)).astype(np.float32),
                    self._sample.size,
                )
            )
        if len(self._sampled) > self._sample.size:
            self._sample = self.sample

    def _add_mass(self, units: NDArray[np.int64]) -> None:
        if (self.mass_units.astype(np.float64) + units > _LARGEST_TOTAL).any():
            raise AtlasError(
                "There is more activation than can be added up exactly "
                f"({_LARGEST_TOTAL * UNIT:.0e} for one concept). Build atlases of parts instead."
            )
        self.mass_units += units


def _strongest(
    concepts: NDArray[np.int32], units: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Pick a cell's strongest concepts, of equals those with the smaller ids; in order of id."""
    if len(units) > CONCEPTS_PER_CELL:
        least = np.partition(units, -CONCEPTS_PER_CELL)[-CONCEPTS_PER_CELL]
        above, equal = np.flatnonzero(units > least), np.flatnonzero(units == least)
        equal = equal[np.argsort(concepts[equal])][: CONCEPTS_PER_CELL - len(above)]
        chosen = np.concatenate([above, equal])
        concepts, units = concepts[chosen], units[chosen]
    order = np.argsort(concepts)
    return concepts[order], units[order]


def source_key(identity: str) -> np.uint64:
    """Turn a source's identity, hex digits, into the number that ties are broken by."""
    return np.uint64(int(identity[:16], 16))
