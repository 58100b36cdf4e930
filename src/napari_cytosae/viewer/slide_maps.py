"""Maps of one concept on a slide of many cells: read for what is in view, and nowhere else."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.folder import RunFolder
from napari_cytosae.concepts.map_levels import MapLevel, map_levels
from napari_cytosae.concepts.shards import read_concept

if TYPE_CHECKING:
    from napari_cytosae.concepts import CellActivations, Run
    from napari_cytosae.viewer.results import Results

# Shards whose maps stay in memory, 64 kB each: some 16,000 cells.
_KEPT_SHARDS = 256


class SlideMaps:
    """Read what `MapLevel` asks for from a run, and from the cells that it is just writing.

    Parameters
    ----------
    results
        The cells and their run.
    concept_id
        The concept.
    """

    def __init__(self, results: Results, concept_id: int) -> None:
        self._results, self._concept_id = results, concept_id
        # A finished shard is never written again, so its name says what it holds.
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._shard_means: dict[str, NDArray[np.float32]] = {}
        self.renew()

    def renew(self) -> None:
        """Look which cells there are now."""
        run = self._results.run
        self._run: Run | None = run
        self._strengths: NDArray[np.float32] | None = None
        self._fresh: list[CellActivations] = [
            cell
            for label, cell in self._results.fresh.items()
            if run is None or not run.is_encoded(label)
        ]
        fresh = np.array([cell.box for cell in self._fresh], np.float64).reshape(-1, 4)
        self._rows = np.zeros(0, np.int64) if run is None else np.flatnonzero(run.encoded)
        stored = np.zeros((0, 4)) if run is None else run.boxes[self._rows]
        self._boxes = np.concatenate([stored, fresh])

    def levels(self, *, smooth: bool) -> list[MapLevel]:
        """Give the pyramid of the maps."""
        shape = self._results.slide.shape
        return map_levels(self.boxes, self.maps, self.means, shape, smooth=smooth)

    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) crops of the encoded cells, y0, x0, y1, x1 in level-0 px."""
        return self._boxes

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(k, 16, 16) activations of some of them."""
        stored = rows < len(self._rows)
        maps = np.zeros((len(rows), 16, 16), np.float32)
        for name, places, cells in self._by_shard(rows[stored]):
            maps[np.flatnonzero(stored)[places]] = self._of_shard(name)[cells]
        for place in np.flatnonzero(~stored):
            cell = self._fresh[rows[place] - len(self._rows)]
            maps[place] = cell.concept_map(self._concept_id)
        return maps

    def means(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(k,) mean activations of some of them."""
        stored = rows < len(self._rows)
        means = np.zeros(len(rows), np.float32)
        if self._run is not None and not self._run.unfinished:
            if self._strengths is None:
                self._strengths = self._run.strengths(self._concept_id)
            means[stored] = self._strengths[self._rows[rows[stored]]]
        else:  # profiles of a run at work would have to be built for this
            for name, places, cells in self._by_shard(rows[stored]):
                means[np.flatnonzero(stored)[places]] = self._means_of_shard(name)[cells]
        if not stored.all():
            means[~stored] = self.maps(rows[~stored]).mean(axis=(1, 2))
        return means

    def _by_shard(
        self, rows: NDArray[np.int64]
    ) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
        """Sort rows by shard: its name, which of the rows lie in it, and their places there."""
        if self._run is None or not len(rows):
            return []
        plan, of_table = self._run.plan, self._rows[rows]
        shards = np.searchsorted(plan.starts, of_table, side="right") - 1
        return [
            (plan.names[shard], places, of_table[places] - plan.starts[shard])
            for shard in np.unique(shards)
            for places in [np.flatnonzero(shards == shard)]
        ]

    def _of_shard(self, name: str) -> NDArray[np.float32]:
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        path = RunFolder(self._run.path).shard_path(name)
        maps = read_concept(path, self._concept_id)[:, 1:].reshape(-1, 16, 16)
        self._kept[name] = maps
        if len(self._kept) > _KEPT_SHARDS:
            self._kept.popitem(last=False)
        return maps

    def _means_of_shard(self, name: str) -> NDArray[np.float32]:
        if name not in self._shard_means:
            self._shard_means[name] = self._of_shard(name).mean(axis=(1, 2))
        return self._shard_means[name]
