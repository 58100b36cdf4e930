"""OME-Zarr (NGFF) images and plain Zarr arrays, read chunk by chunk."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_cytosae.errors import ChannelsError, ImageError, UnreachableImageError
from napari_cytosae.slides.axes import Axes, PixelSource, check_levels
from napari_cytosae.slides.chunks import ChunkCache, ChunkedLevel
from napari_cytosae.slides.damage import DAMAGE
from napari_cytosae.slides.digest import digest_levels
from napari_cytosae.slides.opened import OpenedImage, ReadPicture
from napari_cytosae.slides.rgb import to_rgb8
from napari_cytosae.slides.tiff_series import check_channels
from napari_cytosae.slides.zarr_metadata import (
    Multiscale,
    picture_kind,
    read_multiscale,
    series_names,
    stains,
)

# Files that make a folder a Zarr group or array, of format 2 and 3.
_MARKS = (".zattrs", ".zgroup", ".zarray", "zarr.json")


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr group or array."""
    return any((path / mark).is_file() for mark in _MARKS)


def open_zarr(path: Path, channels: Sequence[int] | None = None) -> OpenedImage:
    """Open the image of an OME-Zarr folder, or a plain Zarr array.

    Parameters
    ----------
    path : Path
    channels : sequence of int, optional
        The channels that are red, green and blue, or a single one, of an image with more.

    Raises
    ------
    ImageError
        If the folder is damaged, or holds something else than one grey or RGB image.
    """
    try:
        return _open(path, channels)
    except (OSError, AttributeError, *DAMAGE) as error:
        raise ImageError(
            f"{path.name} is damaged or incomplete ({error}); copy it again from its source."
        ) from error


class ZarrChunks:
    """The chunks of one array, with all axes but rows, columns and channels taken off.

    Parameters
    ----------
    array : zarr.Array
    axes : str
        One letter per axis.
    channels : sequence of int or None
        The channels to read; all where None.
    marks : sequence of Path
        The files of which one must be there, else the array is gone.
    name : str
        What to call the image in errors.
    """

    def __init__(
        self,
        array: Any,
        axes: str,
        channels: Sequence[int] | None,
        marks: Sequence[Path],
        name: str,
    ) -> None:
        self._array = array
        self._axes = axes
        self._channels = None if channels is None else list(channels)
        self._marks = marks
        self._name = name
        height, width = (array.shape[axes.index(letter)] for letter in "yx")
        samples = array.shape[axes.index("c")] if "c" in axes else 1
        samples = samples if channels is None else len(channels)
        self.shape: tuple[int, ...] = (height, width, samples) if samples > 1 else (height, width)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype).newbyteorder("=")
        high, wide = (array.chunks[axes.index(letter)] for letter in "yx")
        self.chunk_shape = (min(high, height), min(wide, width))

    def read_chunk(self, row: int, column: int) -> NDArray[Any]:
        """Read and decode one chunk, all channels of it."""
        starts = {"y": row * self.chunk_shape[0], "x": column * self.chunk_shape[1]}
        sides = {"y": self.chunk_shape[0], "x": self.chunk_shape[1]}
        key = tuple(
            slice(starts[letter], starts[letter] + sides[letter])
            if letter in starts
            else (slice(None) if letter == "c" else 0)
            for letter in self._axes
        )
        block = np.asarray(self._array[key])
        # A chunk that is not there is filled in silently; so is one of an array that is not there.
        if (block == (self._array.fill_value or 0)).all() and not any(
            mark.is_file() for mark in self._marks
        ):
            raise UnreachableImageError(
                f"{self._name} can no longer be read (its folder is gone); see that its disk or "
                "network drive is there."
            )
        kept = [letter for letter in self._axes if letter in "cyx"]
        block = np.transpose(block, [kept.index(letter) for letter in "yxc" if letter in kept])
        if self._channels is not None and "c" in kept:
            block = block[..., self._channels]
        if block.ndim == 3 and block.shape[2] == 1:
            block = block[..., 0]
        return block.astype(self.dtype, copy=False)


def _open(path: Path, chosen: Sequence[int] | None) -> OpenedImage:
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return _plain_array(path, node)
    ome = _ome(node)
    group = path
    associated: dict[str, ReadPicture] = {}
    if "bioformats2raw.layout" in ome and "multiscales" not in ome:
        group, associated = _main_series(path)
        ome = _ome(zarr.open_group(group, mode="r"))
    image = read_multiscale(ome, path.name)
    levels = _levels(group, image, chosen, ome, path.name)
    axes = check_levels(levels, path.name)
    return OpenedImage(
        levels,
        axes,
        image.pixel_size_um,
        partial(_digest, group, image.paths, levels, axes),
        backend="zarr",
        associated=associated,
    )


def _ome(group: Any) -> dict[str, Any]:
    """Attributes that OME defines; up to version 0.4 they lie among all others."""
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def _levels(
    group: Path, image: Multiscale, chosen: Sequence[int] | None, ome: Any, name: str
) -> list[PixelSource]:
    arrays = [zarr.open_array(group / level, mode="r") for level in image.paths]
    for array in arrays:
        if array.ndim != len(image.axes):
            raise ValueError(f"{array.ndim} axes where {image.axes} are named")
    sizes = dict(zip(image.axes, arrays[0].shape, strict=True))
    for letter, words in (("z", "a z-stack of {} planes"), ("t", "a time series of {} images")):
        if sizes.get(letter, 1) > 1:
            raise ImageError(
                f"{name} is {words.format(sizes[letter])} (axis {letter}); choose one of them."
            )
    count = sizes.get("c", 1)
    check_channels(count, chosen, name)
    if chosen is None and count == 3 and stains(ome):
        raise ChannelsError(
            f"{name} has 3 channels that are stains, not red, green and blue; choose one "
            "(channels=…), or give all three in the order of red, green and blue.",
            count,
        )
    cache = ChunkCache()
    return [
        ChunkedLevel(
            ZarrChunks(
                array,
                image.axes,
                chosen if count > 1 else None,
                [group / level / mark for mark in (".zarray", "zarr.json")],
                name,
            ),
            cache,
        )
        for level, array in zip(image.paths, arrays, strict=True)
    ]


def _plain_array(path: Path, array: Any) -> OpenedImage:
    axes = check_levels([array], path.name)
    letters = {"YX": "yx", "YXS": "yxc", "SYX": "cyx"}[axes]
    marks = [path / mark for mark in (".zarray", "zarr.json")]
    level = ChunkedLevel(ZarrChunks(array, letters, None, marks, path.name), ChunkCache())
    axes = "YXS" if len(level.shape) == 3 else "YX"
    return OpenedImage(
        [level], axes, None, partial(_digest, path, ("",), [level], axes), backend="zarr"
    )


def _main_series(root: Path) -> tuple[Path, dict[str, ReadPicture]]:
    """Tell the scan from label and macro in what bioformats2raw wrote; the scan is the largest."""
    names = series_names(root)
    areas: dict[Path, int] = {}
    associated: dict[str, ReadPicture] = {}
    children = sorted((c for c in root.iterdir() if c.name.isdigit()), key=lambda c: int(c.name))
    for number, child in enumerate(children):
        kind = picture_kind(names[number]) if number < len(names) else ""
        if kind:
            associated[kind] = partial(_read_picture, child)
            continue
        image = read_multiscale(_ome(zarr.open_group(child, mode="r")), root.name)
        shape = zarr.open_array(child / image.paths[0], mode="r").shape
        areas[child] = shape[image.axes.index("y")] * shape[image.axes.index("x")]
    if not areas:
        raise ImageError(f"{root.name} holds no image; copy it again from its source.")
    largest = [child for child, area in areas.items() if area == max(areas.values())]
    if len(largest) > 1:
        raise ImageError(
            f"{root.name} holds {len(largest)} images of the same size; open one of its folders "
            f"({', '.join(child.name for child in largest)})."
        )
    return largest[0], associated


def _read_picture(path: Path) -> NDArray[np.uint8]:
    opened = open_zarr(path)
    level = opened.levels[0]
    return to_rgb8(level[: level.shape[0], : level.shape[1]], name=path.name)


def _digest(group: Path, paths: Sequence[str], levels: Sequence[PixelSource], axes: Axes) -> str:
    """Hash names and sizes of all chunk files, and what `digest_levels` samples."""
    sha = hashlib.sha256(b"zarr")
    for level in paths:
        files = []
        for folder, folders, names in os.walk(group / level):
            folders.sort()
            for file in sorted(names):
                if not file.startswith((".z", "zarr.json")):
                    where = Path(folder, file)
                    size = where.stat().st_size
                    files.append(f"{where.relative_to(group / level).as_posix()} {size}")
        sha.update("\n".join(files).encode())
    sha.update(digest_levels(levels, axes).encode())
    return sha.hexdigest()
