"""TIFF in all its kinds: camera fields decoded at once, pyramids read tile by tile."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import PixelSource
from napari_cytosae.slides.chunks import ChunkCache, ChunkedLevel
from napari_cytosae.slides.damage import DAMAGE
from napari_cytosae.slides.file_bytes import FileBytes
from napari_cytosae.slides.opened import OpenedImage, ReadPicture
from napari_cytosae.slides.pixel_size import tiff_pixel_size
from napari_cytosae.slides.rgb import to_rgb8
from napari_cytosae.slides.tiff_colour import ColourConversion, colour_conversion
from napari_cytosae.slides.tiff_digest import digest_tiff, level_pages
from napari_cytosae.slides.tiff_series import (
    Channels,
    find_channels,
    find_images,
    level_axes,
    named_sizes,
)
from napari_cytosae.slides.tiff_tiles import RawRows, TiffTiles, path_of
from napari_cytosae.slides.turned import Turned, upright

# An image of one level and up to this many px is decoded at once; of others, only the tiles that
# are needed.
FIELD_PX = 1 << 26

# What tifffile and the codecs raise on damaged files.
_DAMAGE = (OSError, AssertionError, *DAMAGE)


def open_tiff(path: Path, channels: Sequence[int] | None = None) -> OpenedImage:
    """Open the main image of a TIFF, OME-TIFF, BigTIFF, SVS, SCN or NDPI file.

    Parameters
    ----------
    path : Path
    channels : sequence of int, optional
        The channels that are red, green and blue, or a single one, of an image with more.

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
        opened = _open_main_image(tif, path, channels)
    except NotImplementedError as error:
        tif.close()
        raise ImageError(f"{path.name} is of a kind that cannot be read ({error}).") from error
    except _DAMAGE as error:
        tif.close()
        raise _damaged(path, error) from error
    except BaseException:
        tif.close()
        raise
    if opened.close is None:
        tif.close()
    return opened


def _open_main_image(
    tif: tifffile.TiffFile, path: Path, chosen: Sequence[int] | None
) -> OpenedImage:
    images = find_images(tif, path.name)
    series = images.scan
    _check_complete(tif, series, path)
    channels = find_channels(series, chosen, path.name)
    page = series.keyframe
    convert = colour_conversion(page, path.name, keep_extra=channels.chosen is not None)
    size = tiff_pixel_size(tif, series)
    associated: dict[str, ReadPicture] = {
        kind: partial(_read_picture, path, tif.series.index(each))
        for kind, each in images.associated.items()
    }
    if len(series.levels) == 1 and page.imagewidth * page.imagelength <= FIELD_PX:
        with closing(FileBytes(path.name)) as file:
            level = _level(file, series, channels, convert, path.name, ChunkCache(0))
            pixels = upright(level[:, :], _orientation(page))
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return OpenedImage(
            [pixels], level_axes(pixels.shape), size, lambda: digest, associated=associated
        )
    file, cache = FileBytes(path.name), ChunkCache()
    levels = [_level(file, level, channels, convert, path.name, cache) for level in series.levels]

    if len(levels) == 1 and _orientation(page) in range(2, 9):
        levels = [Turned(levels[0], _orientation(page))]
    file.read(path_of(page), 0, 1)  # so that a file that is renamed can still be read

    def close() -> None:
        file.close()
        cache.clear()
        tif.close()

    return OpenedImage(
        levels,
        level_axes(levels[0].shape),
        size,
        lambda: digest_tiff(series, file),
        close,
        associated=associated,
    )


def _level(
    file: FileBytes,
    level: tifffile.TiffPageSeries,
    channels: Channels,
    convert: ColourConversion | None,
    name: str,
    cache: ChunkCache,
) -> PixelSource:
    if level.dataoffset is not None and not level.keyframe.is_tiled:
        return RawRows(
            file,
            path_of(level.keyframe),
            level.dataoffset,
            tuple(named_sizes(level).values()),
            level.dtype.newbyteorder(level.keyframe.parent.byteorder),
            axes=channels.axes,
            channels=channels.chosen,
            convert=convert,
        )
    pages = [page for page in level.pages if page is not None]
    tiles = TiffTiles(
        file,
        pages,
        channels=channels.chosen,
        convert=convert,
        # A tile that the scanner left out is bare glass, not black; among stains it is nothing.
        blank=not channels.multiple,
        name=name,
    )
    return ChunkedLevel(tiles, cache)


def _read_picture(path: Path, index: int) -> NDArray[np.uint8]:
    """Read a picture of the glass that lies beside the scan."""
    try:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[index]
            pixels = series.asarray(squeeze=True)
            channels = find_channels(series, None, path.name)
            if channels.axes == "SYX":
                pixels = np.moveaxis(pixels, 0, -1)
            convert = colour_conversion(series.keyframe, path.name)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return to_rgb8(pixels if convert is None else convert(pixels), name=path.name)


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get("Orientation")
    return 1 if tag is None else int(tag.value)


def _check_complete(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    end = tif.filehandle.size
    for page in level_pages(series):
        count = min(len(page.dataoffsets), len(page.databytecounts))
        ends = np.asarray(page.dataoffsets[:count], np.uint64) + np.asarray(
            page.databytecounts[:count], np.uint64
        )
        if count and int(ends.max()) > end:
            raise ImageError(
                f"{path.name} is incomplete: pixels are missing at its end; "
                "copy it again from its source."
            )


def _damaged(path: Path, error: Exception) -> ImageError:
    return ImageError(
        f"{path.name} is damaged or incomplete ({error}); copy it again from its source."
    )
