"""One level of a TIFF image, tile by tile or strip by strip, or row by row where it is not packed.

Tiles are decoded by tifffile directly. Read through its zarr store, each takes two to five times
as long, and threads wait for one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import Axes
from napari_cytosae.slides.file_bytes import FileBytes
from napari_cytosae.slides.tiff_colour import ColourConversion

# Kinds of JPEG, whose tables lie apart from the tiles.
_JPEG = (6, 7, 34892, 33007)

# A strip that is larger than this when decoded cannot be read a part at a time.
_LARGEST_PIECE_BYTES = 1 << 30

# Rows of raw pixels are read in one go up to this many bytes, where most of a row is wanted.
_RAW_BAND_BYTES = 1 << 24
_MOST_OF_A_ROW = 0.25


class TiffTiles:
    """The tiles or strips of one level, with their colours converted.

    Parameters
    ----------
    file : FileBytes
        Where their bytes are read from.
    pages : sequence of tifffile.TiffPage
        The page of the level, or one page for each of its channels.
    channels : sequence of int or None
        Samples or separate planes to read, in this order; all where None.
    convert : callable or None
        What `colour_conversion` returned.
    blank : bool
        Whether a tile that the scanner left out is white; otherwise it is black.
    name : str
        What to call the file in errors.
    """

    def __init__(
        self,
        file: FileBytes,
        pages: Sequence[Any],
        *,
        channels: Sequence[int] | None,
        convert: ColourConversion | None,
        blank: bool,
        name: str,
    ) -> None:
        page = pages[0].keyframe
        self._file = file
        self._page = page
        self._convert = convert
        self._blank = blank
        # tifffile prepares these on first use, and not for two threads at once.
        self._decode = page.decode
        self._separate = len(pages) > 1 or page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        self._planes = _planes(pages) if self._separate else [_Plane.of(pages[0], 0)]
        self._samples = None
        if channels is not None and self._separate:
            self._planes = [self._planes[each] for each in channels]
        elif channels is not None:
            self._samples = list(channels)
        height, width = page.imagelength, page.imagewidth
        if page.is_tiled:
            self.chunk_shape = (page.tilelength, page.tilewidth)
        else:
            self.chunk_shape = (min(page.rowsperstrip, height), width)
        self._columns = -(-width // self.chunk_shape[1])
        self._per_plane = self._columns * -(-height // self.chunk_shape[0])
        samples = len(self._planes) if self._separate else page.samplesperpixel
        high, wide = self.chunk_shape
        if high * wide * samples * page.dtype.itemsize > _LARGEST_PIECE_BYTES:
            raise ImageError(
                f"{name} stores its pixels in pieces of {high} × {wide} px, too large to read one "
                "at a time; save it as a tiled TIFF."
            )
        probe = np.zeros((1, 1, samples) if samples > 1 else (1, 1), page.dtype)
        probe = self._finished(probe)
        self.shape: tuple[int, ...] = (height, width, *probe.shape[2:])
        self.dtype: np.dtype[Any] = probe.dtype

    def read_chunk(self, row: int, column: int) -> NDArray[Any]:
        """Read and decode one tile or strip, cut to the image's edge."""
        index = row * self._columns + column
        height = min(self.chunk_shape[0], self.shape[0] - row * self.chunk_shape[0])
        width = min(self.chunk_shape[1], self.shape[1] - column * self.chunk_shape[1])
        planes = [
            self._decoded(plane, index + plane.number * self._per_plane) for plane in self._planes
        ]
        if any(plane is None for plane in planes):
            return np.full((height, width, *self.shape[2:]), self._blank_value(), self.dtype)
        cut = [plane[:height, :width] for plane in planes if plane is not None]
        if not self._separate:
            tile = cut[0] if cut[0].shape[2] > 1 else cut[0][..., 0]
        elif len(cut) == 1:
            tile = cut[0][..., 0]
        else:
            tile = np.concatenate(cut, axis=-1)
        return self._finished(tile)

    def _decoded(self, plane: "_Plane", index: int) -> NDArray[Any] | None:
        """Decode a tile to (h, w, samples); None where the scanner left it out."""
        count = plane.counts[index] if index < len(plane.counts) else 0
        if not count:
            return None
        content = self._file.read(plane.path, plane.offsets[index], count)
        segment, _, _ = self._decode(content, index, **plane.options)
        if segment is None:
            return None
        decoded: NDArray[Any] = segment[0]  # tiles have a depth, which is 1
        return decoded

    def _finished(self, tile: NDArray[Any]) -> NDArray[Any]:
        if self._convert is not None:
            tile = self._convert(tile)
        if self._samples is not None:
            tile = tile[..., self._samples]
            tile = tile[..., 0] if tile.shape[2] == 1 else tile
        return tile

    def _blank_value(self) -> int:
        if not self._blank or self.dtype.kind != "u":
            return 0
        bits = self._page.bitspersample if self._convert is None else 8 * self.dtype.itemsize
        return int(2 ** min(bits, 8 * self.dtype.itemsize) - 1)


class RawRows:
    """One level whose pixels lie unpacked in one piece of the file, read by rows.

    Memory mapping would do the same, but ends the process where the file is cut short or its
    drive goes away.

    Parameters
    ----------
    file : FileBytes
    path : Path
        Of the file.
    offset : int
        Where the pixels begin in the file.
    shape : tuple of int
        (H, W), (H, W, samples) or (planes, H, W).
    dtype : numpy.dtype
    channels : sequence of int or None
        Samples or planes to read; all where None.
    convert : callable or None
        What `colour_conversion` returned.
    """

    def __init__(
        self,
        file: FileBytes,
        path: Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        axes: Axes,
        channels: Sequence[int] | None,
        convert: ColourConversion | None,
    ) -> None:
        self._file = file
        self._path = path
        self._offset = offset
        self._dtype = dtype
        self._convert = convert
        self._first = axes == "SYX"
        self._height, self._width = shape[1:] if self._first else shape[:2]
        self._packed = 1 if len(shape) == 2 or self._first else shape[2]
        planes = range(shape[0] if self._first else 1)
        self._planes = list(planes if channels is None or not self._first else channels)
        self._samples = None if channels is None or self._first else list(channels)
        probe = self._finished([np.zeros((1, 1, self._packed), dtype)] * len(self._planes))
        self.shape: tuple[int, ...] = (self._height, self._width, *probe.shape[2:])
        self.dtype: np.dtype[Any] = probe.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        top, bottom, _ = window[0].indices(self._height)
        left, right, _ = window[1].indices(self._width)
        return self._finished([self._read(p, top, bottom, left, right) for p in self._planes])

    def _read(self, plane: int, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        pixel = self._packed * self._dtype.itemsize
        row_bytes = self._width * pixel
        start = self._offset + plane * self._height * row_bytes
        block = np.empty((bottom - top, right - left, self._packed), self._dtype)
        if right - left >= _MOST_OF_A_ROW * self._width:
            rows = max(1, _RAW_BAND_BYTES // row_bytes)
            for first in range(top, bottom, rows):
                last = min(first + rows, bottom)
                content = self._file.read(
                    self._path, start + first * row_bytes, (last - first) * row_bytes
                )
                band = np.frombuffer(content, self._dtype).reshape(last - first, self._width, -1)
                block[first - top : last - top] = band[:, left:right]
        else:
            for row in range(top, bottom):
                at = start + row * row_bytes + left * pixel
                content = self._file.read(self._path, at, (right - left) * pixel)
                block[row - top] = np.frombuffer(content, self._dtype).reshape(right - left, -1)
        return block

    def _finished(self, planes: list[NDArray[Any]]) -> NDArray[Any]:
        block = np.concatenate(planes, axis=-1) if len(planes) > 1 else planes[0]
        block = block.astype(block.dtype.newbyteorder("="), copy=False)
        block = block[..., 0] if block.shape[2] == 1 else block
        if self._convert is not None:
            block = self._convert(block)
        if self._samples is not None:
            block = block[..., self._samples]
            block = block[..., 0] if block.shape[2] == 1 else block
        return block


@dataclass(frozen=True, slots=True)
class _Plane:
    """The tiles of a page, or of one of the separate planes on a page."""

    number: int
    path: Path
    offsets: Sequence[int]
    counts: Sequence[int]
    options: dict[str, Any]

    @classmethod
    def of(cls, page: Any, number: int) -> "_Plane":
        options: dict[str, Any] = {}
        if page.keyframe.compression in _JPEG:
            options = {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}
        return cls(number, path_of(page), page.dataoffsets, page.databytecounts, options)


def path_of(page: Any) -> Path:
    """Return the file that a page lies in; an OME-TIFF may be spread over several."""
    return Path(page.parent.filehandle.path)


def _planes(pages: Sequence[Any]) -> list[_Plane]:
    separate = tifffile.PLANARCONFIG.SEPARATE
    return [
        _Plane.of(page, number)
        for page in pages
        for number in range(
            page.keyframe.samplesperpixel if page.keyframe.planarconfig == separate else 1
        )
    ]
