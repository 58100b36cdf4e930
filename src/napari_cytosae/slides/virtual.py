"""Levels that a file does not have: reduced from the one above, tile by tile, when looked at."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.slides.axes import Axes, PixelSource, plane_shape
from napari_cytosae.slides.chunks import ChunkCache, ChunkedLevel
from napari_cytosae.slides.damage import Box, chunk_shape, read_around
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.tile_store import TILE_PX, TileStore, shared_store

# Where the smallest level of a file is larger than this, smaller ones are made …
_TOO_LARGE_PX = 1 << 24
# … each this many times as coarse as the one above it, until one is no larger than this. Steps of
# 4 take 1/15 of the room of the image, steps of 2 a third of it.
STEP = 4
_SMALL_PX = 1 << 22

# A source whose pieces are at least this wide is reduced by whole rows of tiles, so that each of its
# strips is decoded once; in bands of so many values.
_WIDE_PX = 4096
_BAND_VALUES = 1 << 24


def with_virtual_levels(opened: OpenedImage, folder: Callable[[], Path]) -> OpenedImage:
    """Add small levels to an image whose smallest is too large to be looked at as a whole.

    Parameters
    ----------
    opened : OpenedImage
    folder : callable
        Gives the folder in which the levels are kept.

    Returns
    -------
    OpenedImage
        With the levels, which are made when they are looked at, at the end of the others.
    """
    height, width = plane_shape(opened.levels[-1].shape, opened.axes)
    if height * width <= _TOO_LARGE_PX:
        return opened
    cache = ChunkCache()
    levels = list(opened.levels)
    virtual: list[VirtualLevel] = []

    def file_of(number: int) -> Path:
        facts = [opened.digest(), STEP, TILE_PX, number, opened.backend]
        return folder() / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.level"

    while height * width > _SMALL_PX:
        level = VirtualLevel(levels[-1], opened.axes, partial(file_of, len(levels)))
        virtual.append(level)
        levels.append(ChunkedLevel(level, cache, threads=False))
        height, width = plane_shape(level.shape, opened.axes)

    def close() -> None:
        for level in virtual:
            level.close()
        if opened.close is not None:
            opened.close()
        cache.clear()

    stored = len(opened.levels)
    maker = TileMaker(levels[stored:], virtual)
    return replace(opened, levels=levels, close=close, maker=maker, stored=stored)


class TileMaker:
    """Makes the tiles of an image's virtual levels one after another, those in view first.

    Parameters
    ----------
    levels : sequence of ChunkedLevel
        The virtual levels, the finest first.
    virtual : sequence of VirtualLevel
        What is behind them.
    """

    def __init__(self, levels: Sequence[PixelSource], virtual: Sequence["VirtualLevel"]) -> None:
        self._levels = levels
        self._virtual = virtual
        self._wanted: deque[tuple[int, int, int]] = deque(maxlen=256)
        self.tiles = sum(level.grid[0] * level.grid[1] for level in virtual)

    @property
    def complete(self) -> bool:
        """Whether all tiles have been made."""
        return self.tiles_made == self.tiles

    @property
    def tiles_made(self) -> int:
        """Number of tiles that have been made."""
        return sum(level.tiles_made for level in self._virtual)

    def steps(self) -> Iterator[float]:
        """Make what is missing; yields the share that is done after every tile or row of tiles."""
        last = len(self._virtual) - 1
        rows, columns = self._virtual[last].grid
        for row in range(rows):
            for column in range(columns):
                yield from self._make(last, row, column)

    def _make(self, number: int, row: int, column: int) -> Iterator[float]:
        level = self._virtual[number]
        if level.has(row, column):
            return
        if number:  # what it is made from first, so that there is something to see soon
            rows, columns = self._virtual[number - 1].grid
            for below in range(row * STEP, min((row + 1) * STEP, rows)):
                for beside in range(column * STEP, min((column + 1) * STEP, columns)):
                    yield from self._make(number - 1, below, beside)
        level.read_chunk(row, column)
        yield self.tiles_made / self.tiles
        while self._wanted:
            wanted = self._wanted.popleft()
            if not self._virtual[wanted[0]].has(*wanted[1:]):
                self._virtual[wanted[0]].read_chunk(*wanted[1:])
                yield self.tiles_made / self.tiles

    def read_made(self, number: int, box: Box, blank: int) -> NDArray[Any]:
        """Read what has been made of a box of a virtual level; ask for the rest to be made next.

        Parameters
        ----------
        number : int
            0 is the finest virtual level.
        box : Box
            In px of that level.
        blank : int
            Value of what has not been made yet.
        """
        level, source = self._virtual[number], self._levels[number]
        y0, x0, y1, x1 = box
        block = np.full((y1 - y0, x1 - x0, *level.shape[2:]), blank, level.dtype)
        for row in range(y0 // TILE_PX, -(-y1 // TILE_PX)):
            for column in range(x0 // TILE_PX, -(-x1 // TILE_PX)):
                if not level.has(row, column):
                    self._wanted.append((number, row, column))
                    continue
                top, left = max(y0, row * TILE_PX), max(x0, column * TILE_PX)
                bottom, right = min(y1, (row + 1) * TILE_PX), min(x1, (column + 1) * TILE_PX)
                block[top - y0 : bottom - y0, left - x0 : right - x0] = source[
                    top:bottom, left:right
                ]
        return block


class VirtualLevel:
    """A level that is reduced from a finer one, each of its tiles when it is first needed.

    What is damaged in the finer level is white here.

    Parameters
    ----------
    source : PixelSource
        The finer level.
    axes : Axes
        Of it.
    path : callable
        Gives the file that keeps the tiles.
    """

    def __init__(self, source: PixelSource, axes: Axes, path: Callable[[], Path]) -> None:
        self._source = source
        self._axes = axes
        self._path = path
        self._height, self._width = plane_shape(source.shape, axes)
        samples = () if axes == "YX" else (int(source.shape[axes.index("S")]),)
        self.shape: tuple[int, ...] = (-(-self._height // STEP), -(-self._width // STEP), *samples)
        self.dtype: np.dtype[Any] = source.dtype
        self.chunk_shape = (min(TILE_PX, self.shape[0]), min(TILE_PX, self.shape[1]))
        self.grid = (-(-self.shape[0] // TILE_PX), -(-self.shape[1] // TILE_PX))
        self._by_rows = min(chunk_shape(source, axes)[1], self._width) >= _WIDE_PX
        self._making = threading.Lock()
        self._opening = threading.Lock()
        self._opened: TileStore | None = None

    @property
    def _store(self) -> TileStore:
        with self._opening:
            if self._opened is None:
                self._opened = shared_store(self._path(), self.grid, self.shape[2:], self.dtype)
            return self._opened

    def read_chunk(self, row: int, column: int) -> NDArray[Any]:
        """Return one tile; it is made, and kept, where it was not there."""
        tile = self._kept(row, column)
        if tile is not None:
            return tile
        with self._making:
            tile = self._kept(row, column)  # another thread may just have made it
            if tile is not None:
                return tile
            if not self._by_rows:
                tile = self._reduced_tile(row, column)
                self._store.put(row, column, tile)
                return tile
            made = dict(self._reduced_row(row))
            for at, each in made.items():
                self._store.put(row, at, each)
            return made[column]

    def has(self, row: int, column: int) -> bool:
        """Tell whether a tile has been made."""
        return self._store.has(row, column)

    @property
    def tiles_made(self) -> int:
        """Number of tiles that have been made."""
        return self._store.kept

    def _kept(self, row: int, column: int) -> NDArray[Any] | None:
        tile = self._store.get(row, column)
        if tile is None:
            return None
        height = min(TILE_PX, self.shape[0] - row * TILE_PX)
        width = min(TILE_PX, self.shape[1] - column * TILE_PX)
        return tile[:height, :width]

    def _reduced_tile(self, row: int, column: int) -> NDArray[Any]:
        side = TILE_PX * STEP
        top, left = row * side, column * side
        bottom, right = min(top + side, self._height), min(left + side, self._width)
        return reduce(self._read(top, left, bottom, right))

    def _reduced_row(self, row: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Reduce a whole row of tiles, band by band."""
        side = TILE_PX * STEP
        top, bottom = row * side, min((row + 1) * side, self._height)
        values = self._width * int(np.prod(self.shape[2:], initial=1))
        rows = max(1, _BAND_VALUES // values // STEP) * STEP
        bands = [
            reduce(self._read(first, 0, min(first + rows, bottom), self._width))
            for first in range(top, bottom, rows)
        ]
        whole = np.concatenate(bands)
        for column in range(self.grid[1]):
            yield column, whole[:, column * TILE_PX : (column + 1) * TILE_PX]

    def _read(self, top: int, left: int, bottom: int, right: int) -> NDArray[Any]:
        block, gaps, _ = read_around(self._source, self._axes, (top, left, bottom, right))
        for y0, x0, y1, x1 in gaps:
            block[y0 - top : y1 - top, x0 - left : x1 - left] = 255 if self.dtype == np.uint8 else 0
        return block

    def close(self) -> None:
        """Let go of the file that keeps the tiles."""
        with self._opening:
            if self._opened is not None:
                self._opened.flush()
                self._opened = None


def reduce(block: NDArray[Any]) -> NDArray[Any]:
    """Make a block 4 times as coarse by averaging, rounded; its last row and column may be partial.

    Parameters
    ----------
    block : (H, W) or (H, W, samples) array

    Returns
    -------
    (ceil(H / 4), ceil(W / 4)) or (…, samples) array
        Of the same type. A mean over NaN is NaN.
    """
    if block.dtype == np.uint8 and (block.ndim == 2 or block.shape[2] in (3, 4)):
        return np.asarray(Image.fromarray(np.ascontiguousarray(block)).reduce(STEP))
    height, width = block.shape[:2]
    rows, columns = np.arange(0, height, STEP), np.arange(0, width, STEP)
    total = np.add.reduceat(block, rows, axis=0, dtype=np.float64)
    total = np.add.reduceat(total, columns, axis=1)
    counts = np.diff([*rows, height])[:, np.newaxis] * np.diff([*columns, width])
    mean: NDArray[Any] = total / counts.reshape(counts.shape + (1,) * (block.ndim - 2))
    if block.dtype.kind in "uib":
        mean = np.floor(mean + 0.5)
    return mean.astype(block.dtype)
