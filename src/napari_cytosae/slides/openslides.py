"""MRXS, DICOM and whatever else OpenSlide reads, where the ``openslide`` extra is installed."""

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError, UnreachableImageError
from napari_cytosae.slides.chunks import ChunkCache, ChunkedLevel
from napari_cytosae.slides.digest import digest_levels
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.pixel_size import PixelSize, plausible

EXTRA = 'pip install "napari-cytosae[openslide]"'

# Regions are read tile by tile where tiles are of a middling size, else in pieces of this side.
_PIECE_PX = 512
_MIDDLING_PX = (128, 1024)

# OpenSlide addresses every level in whole pixels of level 0. Where a level is 4.0003 times as
# coarse, most of its pixels begin between two of those, and come back interpolated. A piece
# therefore begins where both agree to this part of a pixel, which is less than one grey value,
_ALIGNED_PX = 1 / 512
# as long as it does not become larger than this.
_LARGEST_PIECE_PX = 4096


def openslide_module() -> Any:
    """Return the module `openslide`, or None where the extra is not installed."""
    try:
        import openslide
    except (ImportError, OSError):  # the library itself may be missing
        return None
    return openslide


def detect_vendor(path: Path) -> str | None:
    """Say which scanner's format OpenSlide takes a file for; None where none, or no OpenSlide."""
    module = openslide_module()
    if module is None:
        return None
    vendor: str | None = module.OpenSlide.detect_format(path)
    return vendor


def open_openslide(path: Path, channels: Sequence[int] | None = None) -> OpenedImage:
    """Open a scanner's file through OpenSlide.

    Raises
    ------
    ImageError
        If the extra is not installed, or the file is damaged or of no format that it knows.
    """
    module = openslide_module()
    if module is None:
        raise ImageError(f"Reading {path.name} needs OpenSlide: {EXTRA}")
    if channels is not None and tuple(channels) != (0, 1, 2):
        raise ImageError(f"{path.name} is read as red, green and blue; it has no other channels.")
    try:
        handle = _Handle(module, path)
    except module.OpenSlideUnsupportedFormatError as error:
        raise ImageError(f"{path.name} is of no format that OpenSlide knows.") from error
    except (module.OpenSlideError, OSError) as error:
        raise ImageError(
            f"{path.name} is damaged or incomplete ({error}); copy it again from its source."
        ) from error
    slide = handle.slide
    cache = ChunkCache()
    levels = [
        ChunkedLevel(OpenSlideLevel(handle, number), cache) for number in range(slide.level_count)
    ]
    properties = dict(slide.properties)

    def digest() -> str:
        sha = hashlib.sha256(b"openslide")
        facts = [properties.get("openslide.vendor"), properties.get("openslide.quickhash-1")]
        sha.update(json.dumps([*facts, slide.level_dimensions]).encode())
        sha.update(digest_levels(levels, "YXS").encode())
        return sha.hexdigest()

    def close() -> None:
        cache.clear()
        handle.close()

    return OpenedImage(
        levels,
        "YXS",
        _pixel_size(properties),
        digest,
        close,
        backend="openslide",
        associated={
            name: partial(handle.read_picture, name) for name in sorted(slide.associated_images)
        },
    )


class _Handle:
    """An open file. OpenSlide answers nothing more after an error, so it is opened anew then."""

    def __init__(self, module: Any, path: Path) -> None:
        self._module = module
        self._path = path
        self._lock = threading.Lock()
        self._closed = False
        self.slide = module.OpenSlide(path)

    def read(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> NDArray[Any]:
        """Read a region of a level: (H, W, 3) uint8, white where nothing was scanned."""
        slide = self.slide
        try:
            return _on_white(np.asarray(slide.read_region(location, level, size)))
        except self._module.OpenSlideError as error:
            self._reopen(slide)
            raise RuntimeError(str(error)) from error

    def read_picture(self, name: str) -> NDArray[np.uint8]:
        """Read a picture of the glass."""
        slide = self.slide
        if self._closed:
            raise ImageError(f"{self._path.name} has been closed; open it again to read from it.")
        try:
            return _on_white(np.asarray(slide.associated_images[name]))
        except self._module.OpenSlideError as error:
            self._reopen(slide)
            raise ImageError(
                f"The {name} picture of {self._path.name} is damaged ({error})."
            ) from error

    def _reopen(self, failed: Any) -> None:
        with self._lock:
            if self.slide is not failed or self._closed:
                return  # another thread has done so
            try:
                self.slide = self._module.OpenSlide(self._path)
            except (self._module.OpenSlideError, OSError) as error:
                raise UnreachableImageError(
                    f"{self._path.name} can no longer be read ({error}); see that its disk or "
                    "network drive is there."
                ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self.slide.close()


class OpenSlideLevel:
    """One level, cut into pieces that begin on a pixel both of the level and of level 0."""

    def __init__(self, handle: _Handle, number: int) -> None:
        self._handle = handle
        self._number = number
        slide = handle.slide
        width, height = slide.level_dimensions[number]
        self._downsample = float(slide.level_downsamples[number])
        self.shape: tuple[int, ...] = (height, width, 3)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        steps = [
            _step(slide.properties.get(f"openslide.level[{number}].tile-{side}"))
            for side in ("height", "width")
        ]
        self.chunk_shape = (min(steps[0], height), min(steps[1], width))
        self.edges = (
            aligned_edges(height, self._downsample, steps[0]),
            aligned_edges(width, self._downsample, steps[1]),
        )

    def read_chunk(self, row: int, column: int) -> NDArray[Any]:
        """Read one piece."""
        (top, bottom), (left, right) = (
            edges[at : at + 2] for edges, at in zip(self.edges, (row, column), strict=True)
        )
        location = (round(left * self._downsample), round(top * self._downsample))
        return self._handle.read(location, self._number, (right - left, bottom - top))


def _step(tile: str | None) -> int:
    px = int(tile) if tile is not None and tile.isdigit() else 0
    return px if _MIDDLING_PX[0] <= px <= _MIDDLING_PX[1] else _PIECE_PX


def aligned_edges(side: int, downsample: float, step: int) -> list[int]:
    """Cut a side of a level every `step` px or later, where its pixels begin on one of level 0."""
    places = np.arange(side, dtype=np.float64)
    off = np.abs(np.rint(places * downsample) / downsample - places)
    edges = [0]
    while side - edges[-1] > step:
        first, last = edges[-1] + step, edges[-1] + _LARGEST_PIECE_PX
        aligned = np.flatnonzero(off[first : last + 1] <= _ALIGNED_PX)
        if aligned.size:
            edges.append(first + int(aligned[0]))
        elif last < side:
            edges.append(first + int(np.argmin(off[first : last + 1])))
        else:
            break
    return [*edges, side]


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an image with alpha over white: what was not scanned is bare glass."""
    if rgba.shape[2] == 3:
        return rgba
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opaque = alpha.astype(np.float32) / 255
    laid: NDArray[np.uint8] = np.rint(rgba[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return laid


def _pixel_size(properties: dict[str, str]) -> PixelSize | None:
    try:
        return plausible(float(properties["openslide.mpp-y"]), float(properties["openslide.mpp-x"]))
    except (KeyError, ValueError):
        return None
