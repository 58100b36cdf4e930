"""Tiles of a computed level, kept in one file of the user's cache."""

import logging
import os
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

TILE_PX = 256

# All kept levels together take at most so much; those used longest ago make room.
MOST_BYTES = 20 << 30

# A tile counts as kept once its bytes have been flushed. That is done for so many bytes at a time.
_FLUSHED_BYTES = 64 << 20

# Without a file to keep tiles in, the last ones up to so many bytes stay in memory.
_MEMORY_BYTES = 256 << 20

_HEADER_BYTES = 64
_MARK_BYTES = 4


class TileStore:
    """A grid of tiles that are filled one by one, in any order, and outlive the program.

    The file begins with one mark per tile, the checksum of its bytes; a tile without one was never
    finished, and one that does not match it is damaged: both are made anew. Tiles that have not
    been written take no room on the disk. Where the folder cannot be written, or the disk is full,
    the tiles made last are kept in memory.

    Parameters
    ----------
    path : Path
        Made where it is not there. Its name stands for all that the tiles are made from.
    grid : (int, int)
        Rows and columns of tiles.
    samples : tuple of int
        Shape of a pixel: () for grey.
    dtype : numpy.dtype
    """

    def __init__(
        self, path: Path, grid: tuple[int, int], samples: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._path = path
        self._grid = grid
        self._shape = (TILE_PX, TILE_PX, *samples)
        self._dtype = dtype
        self._tile_bytes = int(np.prod(self._shape)) * dtype.itemsize
        self._marks = np.zeros(grid[0] * grid[1], "<u4")
        self._flushed = self._marks.copy()
        self._first_tile = _HEADER_BYTES + -(-_MARK_BYTES * self._marks.size // 4096) * 4096
        self._lock = threading.Lock()
        self._unflushed: list[int] = []
        self._memory: OrderedDict[int, bytes] = OrderedDict()
        self._handle: int | None = None
        self._open()

    def _open(self) -> None:
        header = f"napari-cytosae tiles 1 {self._shape} {self._dtype.str} {self._grid}".encode()
        header = header[:_HEADER_BYTES].ljust(_HEADER_BYTES)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            make_room(self._path.parent, self._tile_bytes * self._marks.size, keep=self._path)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._handle = os.open(self._path, flags, 0o644)
            if self._read(0, _HEADER_BYTES) == header:
                marks = np.frombuffer(self._read(_HEADER_BYTES, self._marks.nbytes), np.uint8)
                self._marks.view(np.uint8)[: marks.size] = marks
                self._flushed = self._marks.copy()
            else:
                os.ftruncate(self._handle, 0)
                self._write(0, header)
                self._write(_HEADER_BYTES, self._marks.tobytes())
            os.utime(self._path)
        except OSError as error:
            self._give_up(error)

    def __del__(self) -> None:
        self.close()

    def has(self, row: int, column: int) -> bool:
        """Tell whether a tile is kept."""
        return bool(self._marks[row * self._grid[1] + column])

    @property
    def kept(self) -> int:
        """Number of tiles that are kept."""
        return int(np.count_nonzero(self._marks))

    def get(self, row: int, column: int) -> NDArray[Any] | None:
        """Return a tile, or None where it is not kept, or its bytes are not what they were."""
        number = row * self._grid[1] + column
        with self._lock:
            mark = int(self._marks[number])
            if not mark:
                return None
            content = self._content(number)
            if _mark(content) != mark:
                self._marks[number] = self._flushed[number] = 0
                return None
        return np.frombuffer(content, self._dtype).reshape(self._shape)

    def _content(self, number: int) -> bytes:
        if self._handle is None:
            return self._memory.get(number, b"")
        try:
            return self._read(self._first_tile + number * self._tile_bytes, self._tile_bytes)
        except OSError:
            return b""

    def put(self, row: int, column: int, tile: NDArray[Any]) -> None:
        """Keep a tile; one at the edge may be smaller than the others."""
        whole = np.zeros(self._shape, self._dtype)
        whole[: tile.shape[0], : tile.shape[1]] = tile
        content = whole.tobytes()
        number = row * self._grid[1] + column
        with self._lock:
            if self._handle is None:
                self._remember(number, content)
                return
            try:
                self._write(self._first_tile + number * self._tile_bytes, content)
                self._marks[number] = _mark(content)
                self._unflushed.append(number)
                if len(self._unflushed) * self._tile_bytes >= _FLUSHED_BYTES:
                    self._flush()
            except OSError as error:
                self._give_up(error)
                self._remember(number, content)

    def _remember(self, number: int, content: bytes) -> None:
        self._memory[number] = content
        self._marks[number] = _mark(content)
        while len(self._memory) * self._tile_bytes > _MEMORY_BYTES:
            forgotten, _ = self._memory.popitem(last=False)
            self._marks[forgotten] = 0

    def flush(self) -> None:
        """See that what was put outlives a crash of the machine."""
        with self._lock:
            try:
                self._flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Flush what was put, and close the file."""
        self.flush()
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _flush(self) -> None:
        """Let the marks follow once the tiles are safe."""
        if not self._unflushed or self._handle is None:
            return
        os.fsync(self._handle)
        self._flushed[self._unflushed] = self._marks[self._unflushed]
        self._write(_HEADER_BYTES, self._flushed.tobytes())
        self._unflushed.clear()

    def _give_up(self, error: OSError) -> None:
        """Go on without the file."""
        logger.warning(
            "The reduced image is not kept: %s cannot be written (%s).", self._path, error
        )
        self._marks[:] = 0
        self._unflushed.clear()
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def _read(self, offset: int, count: int) -> bytes:
        assert self._handle is not None
        os.lseek(self._handle, offset, os.SEEK_SET)
        return os.read(self._handle, count)

    def _write(self, offset: int, content: bytes) -> None:
        assert self._handle is not None
        os.lseek(self._handle, offset, os.SEEK_SET)
        left = memoryview(content)
        while left:
            left = left[os.write(self._handle, left) :]


# Two slides of one file fill one store: the window's and the analysis', say.
_open_stores: WeakValueDictionary[Path, TileStore] = WeakValueDictionary()
_opening = threading.Lock()


def shared_store(
    path: Path, grid: tuple[int, int], samples: tuple[int, ...], dtype: np.dtype[Any]
) -> TileStore:
    """Return the store of a file, the same one for all who have it open in this program.

    It is closed when nobody holds it any more.
    """
    with _opening:
        store = _open_stores.get(path)
        if store is None:
            store = _open_stores[path] = TileStore(path, grid, samples, dtype)
        return store


def make_room(folder: Path, needed: int, *, keep: Path | None = None) -> None:
    """Delete the files of a cache that were used longest ago, until another one fits.

    Parameters
    ----------
    folder : Path
    needed : int
        Bytes that the other one will take.
    keep : Path, optional
        A file that is not deleted.
    """
    files = []
    for path in folder.iterdir():
        if path.is_file() and path != keep:
            facts = path.stat()
            # Of a file with holes, what it really takes.
            taken = getattr(facts, "st_blocks", -(-facts.st_size // 512)) * 512
            files.append((facts.st_mtime, taken, path))
    total = sum(taken for _, taken, _ in files) + needed
    for _, taken, path in sorted(files):
        if total <= MOST_BYTES:
            return
        try:
            path.unlink()
        except OSError:
            continue  # another program has it open, on Windows
        total -= taken


def _mark(content: bytes) -> int:
    """Checksum of a tile's bytes, never 0."""
    return zlib.crc32(content) or 1
