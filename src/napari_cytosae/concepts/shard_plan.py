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
analysed. Where a slide has so many tiles that labels would not fit 32 bits, the step is a tenth.
"""

_LARGEST_LABEL = 2**31 - 1


def label_step(shape: tuple[int, int], tile_px: int) -> int:
    """Give the difference between the labels of one tile and of the next.

    Parameters
    ----------
    shape
        Height and width of the slide at level 0, in px.
    tile_px
        Side of a tile in px.
    """
    n_tiles = -(-shape[0] // tile_px) * -(-shape[1] // tile_px)
    step = LABEL_STEP
    while step > 1 and n_tiles * step > _LARGEST_LABEL:
        step //= 10
    return step


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
        step = label_step(manifest.slide_shape, manifest.tile_px)
        firsts = [
            first
            for begin, end in _runs_of(labels // step)
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
