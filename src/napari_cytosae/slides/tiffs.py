"""TIFF in all its kinds: camera fields decoded at once, pyramids read tile by tile."""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import Axes, PixelSource
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.pixel_size import microns_per_pixel
from napari_cytosae.slides.tiff_colour import ColourConversion, colour_conversion

# An image of one level and up to this many px is decoded at once; of others, only the tiles that
# are needed.
_FIELD_PX = 1 << 26

# Pictures of the glass that scanners store beside the scan. A label can carry a patient's name.
_NOT_THE_SCAN = ("label", "macro", "map", "overview", "thumbnail")

_PLANES = {"Z": "a z-stack of {} planes", "T": "a time series of {} images"}

# This many tiles of the largest and of the smallest level identify a pyramid, beside its metadata.
_SAMPLED_TILES = 256

# What tifffile and the codecs raise on damaged files.
_DAMAGE = (OSError, ValueError, RuntimeError, IndexError, KeyError, TypeError, struct.error)


def open_tiff(path: Path) -> OpenedImage:
    """Open the main image of a TIFF, OME-TIFF, BigTIFF, SVS or NDPI file.

    Raises
    ------
    ImageError
        If the file is damaged, or its main image is a stack or has too many channels.
    """
    try:
        tif = tifffile.TiffFile(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    try:
        opened = _open_main_image(tif, path)
    except _DAMAGE as error:
        tif.close()
        raise _damaged(path, error) from error
    except BaseException:
        tif.close()
        raise
    if opened.close is None:
        tif.close()
    return opened


class TiffLevel:
    """One level of a TIFF image, sliced by rows and columns, with its colours converted.

    Its axes are YX, or YXS with the channels last, however the file stores them.
    """

    def __init__(self, stored: Any, channels_first: bool, convert: ColourConversion | None) -> None:
        self._stored = stored
        self._channels_first = channels_first
        self._convert = convert
        shape = tuple(stored.shape)
        plane = shape[1:] if channels_first else shape[:2]
        probe = self._finish(
            np.zeros((*shape[:1], 1, 1) if channels_first else (1, 1, *shape[2:]), stored.dtype)
        )
        self.shape: tuple[int, ...] = (*plane, *probe.shape[2:])
        self.dtype: np.dtype[Any] = probe.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        key = (slice(None), *window) if self._channels_first else window
        return self._finish(np.asarray(self._stored[key]))

    def _finish(self, block: NDArray[Any]) -> NDArray[Any]:
        if self._channels_first:
            block = np.moveaxis(block, 0, -1)
        return block if self._convert is None else self._convert(block)


def _open_main_image(tif: tifffile.TiffFile, path: Path) -> OpenedImage:
    series = _main_series(tif, path.name)
    _check_complete(tif, series, path)
    channels_first = _channels_first(series, path.name)
    page = series.keyframe
    convert = colour_conversion(page, path.name)
    size = microns_per_pixel(tif, series)
    if len(series.levels) == 1 and page.imagewidth * page.imagelength <= _FIELD_PX:
        level = TiffLevel(series.asarray(squeeze=True), channels_first, convert)
        pixels = _upright(level[:, :], page)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return OpenedImage([pixels], _axes(pixels), size, lambda: digest)
    # A tile that the scanner left out is bare glass, not black.
    blank = 255 if page.dtype == np.uint8 else None
    levels = [
        TiffLevel(
            zarr.open_array(series.aszarr(level=number, fillvalue=blank), mode="r", zarr_format=2),
            channels_first,
            convert,
        )
        for number in range(len(series.levels))
    ]
    return OpenedImage(
        levels, _axes(levels[0]), size, lambda: _digest(tif, series, path.name), tif.close
    )


def _main_series(tif: tifffile.TiffFile, name: str) -> tifffile.TiffPageSeries:
    """Return the scan itself: the largest image that is no picture of the glass."""
    scans = [s for s in tif.series if s.name.strip().lower() not in _NOT_THE_SCAN]
    if not scans:
        raise ImageError(f"{name} holds no image; copy it again from its source.")
    areas = [s.keyframe.imagewidth * s.keyframe.imagelength for s in scans]
    largest = [s for s, area in zip(scans, areas, strict=True) if area == max(areas)]
    if len(largest) > 1:
        raise ImageError(
            f"{name} holds {len(largest)} images of the same size; save the one to analyse."
        )
    return largest[0]


def _channels_first(series: tifffile.TiffPageSeries, name: str) -> bool:
    """Check that a series is one grey or colour image; tell whether its channels come first."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not sizes or 0 in sizes.values():
        raise ImageError(f"{name} holds no image; copy it again from its source.")
    for axis, size in sizes.items():
        if axis not in "YXSC" and size > 1:
            words = _PLANES.get(axis, "a stack of {} images").format(size)
            raise ImageError(f"{name} is {words} (axis {axis}); choose one of them.")
    channels = sizes.get("S", 1) * sizes.get("C", 1)
    # Four separate channels are four stains; four samples of a pixel are RGB and alpha.
    if channels not in ((1, 3) if "C" in sizes else (1, 3, 4)):
        raise ImageError(
            f"{name} has {channels} channels; choose the three that are red, green and blue."
        )
    if series.axes not in ("YX", "YXS", "SYX", "CYX"):
        raise ImageError(f"{name} has axes {series.axes}, which cannot be read as one image.")
    return series.axes in ("SYX", "CYX")


def _axes(level: PixelSource) -> Axes:
    return "YXS" if len(level.shape) == 3 else "YX"


def _upright(pixels: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    """Turn a field as its orientation tag says (1 to 8, TIFF 6.0 section 8)."""
    tag = page.tags.get("Orientation")
    orientation = 1 if tag is None else int(tag.value)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _pages(series: tifffile.TiffPageSeries) -> Iterator[Any]:
    """Go over the pages of all levels, the largest level first."""
    for level in series.levels:
        yield from (page for page in level.pages if page is not None)


def _check_complete(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    end = tif.filehandle.size
    for page in _pages(series):
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if offset + count > end:
                raise ImageError(
                    f"{path.name} is incomplete: pixels are missing at its end; "
                    "copy it again from its source."
                )


def _digest(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, name: str) -> str:
    """Hash shapes, tile sizes, compression, every tile's length, and a sample of tiles."""
    if tif.filehandle.closed:
        raise ImageError(f"{name} has been closed; open it again to read from it.")
    sha = hashlib.sha256(b"pyramid")
    pages = list(_pages(series))
    for page in pages:
        facts = [page.shape, page.chunks, int(page.compression), int(page.photometric)]
        sha.update(json.dumps([*facts, str(page.dtype)]).encode())
        sha.update(page.jpegtables or b"")
        sha.update(np.asarray(page.databytecounts, "<u8").tobytes())
    rng = np.random.default_rng(0)
    for page in (pages[0], pages[-1]):
        count = len(page.dataoffsets)
        chosen = rng.choice(count, min(count, _SAMPLED_TILES), replace=False)
        for tile in sorted(chosen.tolist()):
            with tif.filehandle.lock:
                tif.filehandle.seek(page.dataoffsets[tile])
                sha.update(tif.filehandle.read(page.databytecounts[tile]))
    return sha.hexdigest()


def _damaged(path: Path, error: Exception) -> ImageError:
    return ImageError(
        f"{path.name} is damaged or incomplete ({error}); copy it again from its source."
    )
