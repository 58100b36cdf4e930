"""Collect evidence while measured cells stream by: exact sums, and a sample drawn by identity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells.compartments import COMPARTMENTS, POINTS_PER_PATCH
from napari_cytosae.concepts.atlas.accumulator import CellIds
from napari_cytosae.concepts.atlas.evidence_sample import (
    MEASURED_CELLS,
    MeasuredCells,
    in_our_order,
)
from napari_cytosae.concepts.atlas.evidence_where import (
    Whereabouts,
    WhereTotals,
    add_totals,
)
from napari_cytosae.concepts.atlas.partners import priorities
from napari_cytosae.concepts.atlas.token_counts import TokenCounts
from napari_cytosae.concepts.atlas.units import UNIT
from napari_cytosae.concepts.cell import N_PATCHES, N_TOKENS
from napari_cytosae.concepts.folder import RunFolder
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import RunError


@dataclass(frozen=True, slots=True, eq=False)
class BlockMeasures:
    """What was measured of the cells of one block, in this version's order.

    Parameters
    ----------
    points
        (n, 6, 256) uint8 points of each patch in each compartment.
    measures
        (n, m) float64 in the order of `MEASURES`.
    """

    points: NDArray[np.uint8]
    measures: NDArray[np.float64]

    @classmethod
    def of(cls, shard: ShardMeasures) -> "BlockMeasures":
        """Take over what a run keeps; what other versions count besides is left out."""
        n = len(shard.labels)
        points = np.zeros((n, len(COMPARTMENTS), N_PATCHES), np.uint8)
        for place, name in enumerate(COMPARTMENTS):
            if name in shard.compartment_names:
                at = shard.compartment_names.index(name)
                points[:, place] = shard.compartments[:, at].reshape(n, -1)
        return cls(points, in_our_order(shard.morphology, shard.columns))

    @property
    def ranked(self) -> NDArray[np.bool_]:
        """(n,) which cells have any measure of their morphology."""
        return np.asarray(np.isfinite(self.measures).any(axis=1))

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(n,) of which cells anything is known."""
        return self.ranked | self.points.any(axis=(1, 2))


def read_measures(run: Run, index: int, cells: NDArray[np.int64]) -> BlockMeasures | None:
    """Read what was measured of one shard's cells; None where they were not measured.

    Raises
    ------
    RunError
        Where the file is damaged, or of other cells.
    """
    path = RunFolder(run.path).measures_path(run.plan.names[index])
    if not path.exists():
        return None
    shard = ShardMeasures.read(path)
    if not np.array_equal(shard.labels, cells):
        raise RunError(
            f"{path} is of other cells than the run. Delete it and start the same analysis again: "
            "it is measured anew without the model."
        )
    measured = BlockMeasures.of(shard)
    if measured.points.size and measured.points.sum(axis=1).max() > POINTS_PER_PATCH:
        raise RunError(
            f"{path} is damaged: a patch has {POINTS_PER_PATCH} points. Delete it and start the "
            "same analysis again: it is measured anew without the model."
        )
    return measured


def is_measured(run: Run) -> bool:
    """Tell whether all cells of a run were measured, without reading them."""
    return all(RunFolder(run.path).measures_path(name).exists() for name in run.plan.names)


class EvidenceAccumulator:
    """Evidence of the cells so far; its size goes with the number of concepts.

    Parameters
    ----------
    d_sae
        Number of concepts.
    n_tokens
        Tokens per cell.
    sample_cells
        Measured cells kept for rank correlations.
    """

    def __init__(
        self, d_sae: int, n_tokens: int = N_TOKENS, sample_cells: int = MEASURED_CELLS
    ) -> None:
        self.d_sae = d_sae
        self.n_tokens = n_tokens
        self.n_measured = 0
        self.where = Whereabouts.empty(d_sae)
        self._sample = MeasuredCells.empty(sample_cells)
        self._drawn: list[MeasuredCells] = []
        self._n_drawn = 0

    def wanted(
        self, measured: BlockMeasures, keys: NDArray[np.uint64], cells: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which cells may come into the sample; may be asked from any thread."""
        sample = self._sample
        if not sample.size:
            return np.zeros(len(cells), bool)
        return measured.ranked & (priorities(keys, cells) <= sample.limit)

    def no_totals(self) -> WhereTotals:
        """Give totals of no cell, which `count_where` adds to; that may be done in any thread."""
        return WhereTotals.zeros(self.d_sae)

    def add(self, totals: WhereTotals, n_cells: int) -> None:
        """Add what `count_where` counted of so many cells.

        Raises
        ------
        AtlasError
            Where sums leave what 64 bits hold.
        """
        self.where = add_totals(self.where, totals, n_cells)

    def draw(
        self,
        counted: TokenCounts,
        ids: CellIds,
        measured: BlockMeasures,
        wanted: NDArray[np.bool_] | None,
    ) -> None:
        """Take the wanted cells of a block, which were kept with all their concepts."""
        self.n_measured += int(measured.measured.sum())
        rows = np.flatnonzero(wanted) if wanted is not None else np.zeros(0, np.int64)
        if not len(rows):
            return
        lengths = np.diff(counted.kept_indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.repeat(counted.kept_indptr[rows] - indptr[:-1], lengths) + np.arange(
            indptr[-1]
        )
        concepts, units = counted.kept_concepts[entries], counted.kept_units[entries]
        order = np.lexsort((concepts, np.repeat(np.arange(len(rows)), lengths)))
        self._drawn.append(
            MeasuredCells(
                priorities(ids.keys[rows], ids.cells[rows]),
                ids.sources[rows],
                ids.cells[rows],
                indptr.astype(np.int64),
                concepts[order].astype(np.uint32),
                (units[order] * (UNIT / self.n_tokens)).astype(np.float32),
                measured.measures[rows],
                self._sample.size,
            )
        )
        self._n_drawn += len(rows)
        if 2 * self._n_drawn > self._sample.size:
            self._sample = self.sample  # so that later cells are wanted less

    def merge(self, where: Whereabouts, sample: MeasuredCells, n_measured: int) -> None:
        """Add what was collected elsewhere, with sources numbered as here."""
        self.n_measured += n_measured
        self.where = self.where + where
        self._sample = self.sample.joined([sample])

    @property
    def sample(self) -> MeasuredCells:
        """The sampled cells so far."""
        if self._drawn:
            self._sample = self._sample.joined(self._drawn)
            self._drawn.clear()
            self._n_drawn = 0
        return self._sample
