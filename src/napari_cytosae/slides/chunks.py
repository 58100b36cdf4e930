"""Levels that are stored in pieces: which pieces a window needs, and those read last kept decoded."""

import os
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Neighbouring cells lie on the same tiles, and every strip of a striped file is as wide as the
# slide: without a cache each would be decoded many times over.
CACHE_BYTES = 128 << 20

# From this many pieces on, a window is decoded by several threads; the codecs let go of the GIL.
_PIECES_FOR_THREADS = 4
_MOST_THREADS = 8

Window = tuple[slice, slice]
Edges = tuple[Sequence[int], Sequence[int]]


class ChunkReader(Protocol):
    """One level of a file, read piece by piece.

    Attributes
    ----------
    shape : tuple of int
        (H, W) or (H, W, samples).
    dtype : numpy.dtype
    chunk_shape : (int, int)
        Height and width of a piece; those at the lower and right edge may be smaller. A reader
        whose pieces differ in size has `edges` too: see `piece_edges`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns, and samples where there are several."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Height and width of a piece."""

    def read_chunk(self, row: int, column: int) -> NDArray[Any]:
        """Read and decode the piece in this row and column of pieces, cut to the level's edge."""


class ChunkCache:
    """The pieces that were used last, up to a number of bytes; safe to share between threads."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self.most_bytes = most_bytes
        self._pieces: OrderedDict[tuple[int, int, int], NDArray[Any]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> NDArray[Any] | None:
        """Return a piece, which then counts as the one used last; None where it is not here."""
        with self._lock:
            piece = self._pieces.get(key)
            if piece is not None:
                self._pieces.move_to_end(key)
            return piece

    def keep(self, key: tuple[int, int, int], piece: NDArray[Any]) -> None:
        """Keep a piece; those that were not used for longest make room."""
        # A piece is often a view of a larger tile or of a read-only buffer.
        piece = np.ascontiguousarray(piece)
        if piece.nbytes > self.most_bytes // 2:
            return
        piece.flags.writeable = False
        with self._lock:
            old = self._pieces.pop(key, None)
            self._bytes += piece.nbytes - (0 if old is None else old.nbytes)
            self._pieces[key] = piece
            while self._bytes > self.most_bytes:
                _, dropped = self._pieces.popitem(last=False)
                self._bytes -= dropped.nbytes

    def clear(self) -> None:
        """Forget all pieces."""
        with self._lock:
            self._pieces.clear()
            self._bytes = 0


_numbers = count()


def piece_edges(source: Any, shape: tuple[int, ...]) -> Edges:
    """Say where the pieces of a level begin, and where the last one ends, in rows and in columns.

    A source says so by its ``edges``, or by its ``chunk_shape`` where all are of one size.
    """
    known: Edges | None = getattr(source, "edges", None)
    if known is not None:
        return known
    rows, columns = (
        [*range(0, side, step), side] for side, step in zip(shape, source.chunk_shape, strict=True)
    )
    return rows, columns


def pieces_within(edges: Sequence[int], start: int, stop: int) -> range:
    """Return the numbers of the pieces that rows (or columns) `start` to `stop` lie on."""
    return range(bisect_right(edges, start) - 1, bisect_left(edges, stop))


class ChunkedLevel:
    """One level, sliced by rows and columns; only the pieces under a window are read.

    Parameters
    ----------
    reader : ChunkReader
    cache : ChunkCache
        Shared by the levels of a file.
    threads : bool
        Whether several threads may read pieces of one window.
    """

    def __init__(self, reader: ChunkReader, cache: ChunkCache, *, threads: bool = True) -> None:
        self._reader = reader
        self._cache = cache
        self._threads = threads
        self._number = next(_numbers)
        self.shape: tuple[int, ...] = tuple(reader.shape)
        self.dtype: np.dtype[Any] = reader.dtype
        self.chunk_shape = reader.chunk_shape
        self.edges = piece_edges(reader, self.shape[:2])

    def __getitem__(self, window: Window) -> NDArray[Any]:
        rows, columns = (
            slice(*each.indices(side)[:2])
            for each, side in zip(window, self.shape[:2], strict=True)
        )
        height, width = max(0, rows.stop - rows.start), max(0, columns.stop - columns.start)
        block = np.empty((height, width, *self.shape[2:]), self.dtype)
        if not block.size:
            return block
        # A window that alone would fill the cache must not push all else out of it.
        keep = block.nbytes <= self._cache.most_bytes // 2
        places = list(self._places(rows, columns))

        def fill(place: tuple[int, int]) -> None:
            top, left = self.edges[0][place[0]], self.edges[1][place[1]]
            _paste(block, self._piece(*place, keep), rows, columns, top, left)

        threads = _threads() if self._threads and len(places) >= _PIECES_FOR_THREADS else None
        for _ in map(fill, places) if threads is None else threads.map(fill, places):
            pass
        return block

    def _places(self, rows: slice, columns: slice) -> Iterator[tuple[int, int]]:
        for row in pieces_within(self.edges[0], rows.start, rows.stop):
            for column in pieces_within(self.edges[1], columns.start, columns.stop):
                yield row, column

    def _piece(self, row: int, column: int, keep: bool) -> NDArray[Any]:
        key = (self._number, row, column)
        piece = self._cache.get(key)
        if piece is None:
            piece = self._reader.read_chunk(row, column)
            expected = self._extent(row, column)
            if piece.shape[:2] != expected:
                raise ValueError(f"a piece is {piece.shape[:2]} px, not {expected}")
            if keep:
                self._cache.keep(key, piece)
        return piece

    def _extent(self, row: int, column: int) -> tuple[int, int]:
        rows, columns = self.edges
        return rows[row + 1] - rows[row], columns[column + 1] - columns[column]


def _paste(
    block: NDArray[Any], piece: NDArray[Any], rows: slice, columns: slice, top: int, left: int
) -> None:
    """Put the part of a piece that lies in the window where it belongs in the block."""
    y0, y1 = max(top, rows.start), min(top + piece.shape[0], rows.stop)
    x0, x1 = max(left, columns.start), min(left + piece.shape[1], columns.stop)
    block[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = piece[
        y0 - top : y1 - top, x0 - left : x1 - left
    ]


@cache
def _threads() -> ThreadPoolExecutor | None:
    """Threads that decode pieces, the same ones for all slides; None where there is one processor."""
    number = min(_MOST_THREADS, os.cpu_count() or 1)
    return ThreadPoolExecutor(number, thread_name_prefix="slide") if number > 1 else None


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
