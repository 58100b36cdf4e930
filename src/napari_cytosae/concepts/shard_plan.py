"""Which cells lie in which shard of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.manifest import RunManifest

LABEL_STEP = 100_000
"""On a slide that is gone through in tiles, cell n of tile k has the label ``k * LABEL_STEP + n``.

So a cell's label depends neither on the order of the tiles nor on what else of the slide is
analysed.
"""


def tile_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the number of the tile that cells belong to."""
    return np.asarray(labels) // LABEL_STEP


@dataclass(frozen=True, slots=True, eq=False)
class ShardPlan:
    """Shards hold consecutive rows of the table of cells.

    Attributes
    ----------
    names
        File name of each shard.
    starts
        (shards + 1,) first row of each; the last is the number of cells.
    """

    names: tuple[str, ...]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, manifest: RunManifest, labels: NDArray[np.int64]) -> "ShardPlan":
        """Lay out the shards of a run.

        Where cells were known from the start, each shard has as many. On a slide that is gone
        through in tiles, shards end with their tile, and are named by their first cell: both are
        known before all of the slide has been looked at.
        """
        if manifest.tile_px is None:
            starts = np.arange(0, len(labels) + manifest.shard_cells, manifest.shard_cells)
            starts = np.minimum(starts[: -(-len(labels) // manifest.shard_cells) + 1], len(labels))
            names = tuple(f"shard-{index:06d}.safetensors" for index in range(len(starts) - 1))
            return cls(names, starts.astype(np.int64))
        firsts = [
            first
            for begin, end in _runs_of(tile_of(labels))
            for first in range(begin, end, manifest.shard_cells)
        ]
        starts = np.array([*firsts, len(labels)], np.int64)
        return cls(tuple(tiled_name(int(labels[row])) for row in starts[:-1]), starts)

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, index: int) -> slice:
        """Rows of the table that one shard holds."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def place_of(self, row: int) -> tuple[int, int]:
        """Give the shard that holds a row of the table, and the cell's place in it."""
        index = int(np.searchsorted(self.starts, row, side="right")) - 1
        return index, row - int(self.starts[index])


def tiled_name(first_label: int) -> str:
    """Name a shard by its first cell."""
    return f"shard-{first_label:010d}.safetensors"


def _runs_of(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Go over the runs of equal values: first place, and the place behind the last."""
    if not len(values):
        return
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(edges)
