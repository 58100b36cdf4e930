"""A slide: one image a person opens, read as 8-bit RGB region by region."""

import operator
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import Axes, PixelSource, find_axes, plane_shape, read_window
from napari_cytosae.slides.digest import digest_array, digest_levels
from napari_cytosae.slides.files import open_image
from napari_cytosae.slides.pixel_size import check_microns_per_pixel
from napari_cytosae.slides.rgb import Tones

_TONE_BAND_ROWS = 1024


class Slide:
    """A camera field, a single-cell crop or a whole-slide image, at one or more resolutions.

    Make one with `Slide.open`, `Slide.from_array` or `Slide.from_levels`. Whatever the image is,
    regions come back as 8-bit RGB by the rules of `to_rgb8`; the tones of other than 8-bit images
    are measured once, over the whole of the coarsest level, so that neighbouring regions match.

    Attributes
    ----------
    name : str
        The file's name, or the name the caller gave.
    path : Path or None
        The file, where there is one.
    level_shapes : tuple of (int, int)
        Height and width of each level in px, the largest (level 0) first.
    microns_per_pixel : float or None
        Pixel size at level 0; None where neither the file nor the caller says.
    """

    def __init__(
        self,
        levels: Sequence[PixelSource],
        axes: Axes,
        *,
        name: str,
        path: Path | None,
        microns_per_pixel: float | None,
        digest: Callable[[], str],
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.level_shapes = tuple(plane_shape(level.shape, axes) for level in levels)
        self.microns_per_pixel = check_microns_per_pixel(microns_per_pixel, name)
        self._levels = tuple(levels)
        self._axes = axes
        self._make_digest = digest
        # Closes the file when the slide is collected, if nobody did before.
        self._close = None if close is None else weakref.finalize(self, close)

    @classmethod
    def open(cls, path: str | Path, microns_per_pixel: float | None = None) -> Self:
        """Open an image file.

        PNG, JPEG, BMP and small TIFF files are decoded at once, turned as their EXIF orientation
        says. Tiled TIFF, BigTIFF, OME-TIFF, SVS and NDPI files stay on disk and are read tile by
        tile; only the levels of the main image are offered, never label or overview pictures.

        Parameters
        ----------
        path : str or Path
            The file. What it is, is told from its content, not from its extension.
        microns_per_pixel : float, optional
            Pixel size, where it is known better than from the file.

        Raises
        ------
        ImageError
            If the file is missing, damaged, or no single RGB or grey image.
        """
        path = Path(path)
        given = check_microns_per_pixel(microns_per_pixel, path.name)
        opened = open_image(path)
        return cls(
            opened.levels,
            opened.axes,
            name=path.name,
            path=path,
            microns_per_pixel=opened.microns_per_pixel if given is None else given,
            digest=opened.digest,
            close=opened.close,
        )

    @classmethod
    def from_array(
        cls,
        array: ArrayLike,
        *,
        name: str = "image",
        microns_per_pixel: float | None = None,
        path: str | Path | None = None,
    ) -> Self:
        """Take an image that is in memory: (H, W), (H, W, 3 or 4) or (3, H, W), of any dtype.

        The array is not copied; do not write to it while the slide is in use.
        """
        pixels = np.asarray(array)
        return cls(
            [pixels],
            find_axes(pixels.shape, pixels.dtype, name),
            name=name,
            path=None if path is None else Path(path),
            microns_per_pixel=microns_per_pixel,
            digest=lambda: digest_array(pixels),
        )

    @classmethod
    def from_levels(
        cls,
        levels: Iterable[PixelSource],
        *,
        name: str = "image",
        microns_per_pixel: float | None = None,
        path: str | Path | None = None,
    ) -> Self:
        """Take a multiscale image, as napari's layers hold it: numpy, dask or zarr arrays.

        Only the regions that are asked for are ever read.

        Parameters
        ----------
        levels : iterable of arrays
            The largest first, each (H, W), (H, W, 3) or (H, W, 4).
        name, microns_per_pixel, path
            As in `from_array`; the pixel size is that of the largest level.

        Raises
        ------
        ImageError
            If there is no level, a level is larger than the one before it, or their channels or
            types differ.
        """
        sources = list(levels)
        if not sources:
            raise ImageError(f"{name} has no levels: there is no pixel to look at.")
        axes = find_axes(sources[0].shape, sources[0].dtype, name)
        previous = plane_shape(sources[0].shape, axes)
        channels = _channels(sources[0].shape, axes)
        for number, level in enumerate(sources[1:], start=1):
            same_kind = len(level.shape) == len(axes) and _channels(level.shape, axes) == channels
            if not same_kind or level.dtype != sources[0].dtype:
                raise ImageError(
                    f"{name}: level {number} is {level.dtype} {tuple(level.shape)}, which does not "
                    f"go with level 0, {sources[0].dtype} {tuple(sources[0].shape)}."
                )
            shape = plane_shape(level.shape, axes)
            if 0 in shape or shape[0] > previous[0] or shape[1] > previous[1]:
                raise ImageError(
                    f"{name}: level {number} ({shape[0]} × {shape[1]}) does not fit below "
                    f"level {number - 1} ({previous[0]} × {previous[1]}); give the largest first."
                )
            previous = shape
        return cls(
            sources,
            axes,
            name=name,
            path=None if path is None else Path(path),
            microns_per_pixel=microns_per_pixel,
            digest=lambda: digest_levels(sources, axes),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of level 0 in px."""
        return self.level_shapes[0]

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the content: it knows nothing of the file's name, place or date.

        A field is known by the bytes of its file, an array by its values, shape and type. A
        pyramid is known by the shapes and compression of its levels, the size of every tile on
        disk and the bytes of a fixed sample of tiles.
        """
        return self._make_digest()

    @cached_property
    def _tones(self) -> Tones:
        coarsest = self._levels[-1]
        height, width = self.level_shapes[-1]
        if coarsest.dtype in (np.uint8, np.bool_):
            height = 1  # their tones do not depend on the values
        return Tones.measured(
            read_window(coarsest, self._axes, top, 0, min(_TONE_BAND_ROWS, height - top), width)
            for top in range(0, height, _TONE_BAND_ROWS)
        )

    def read_region(
        self, y: int, x: int, height: int, width: int, level: int = 0
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level.

        Parameters
        ----------
        y, x : int
            Top left corner in px of that level.
        height, width : int
            Size in px of that level, at least 1.
        level : int
            0 is the largest.

        Returns
        -------
        NDArray[np.uint8]
            (height, width, 3), a new array.

        Raises
        ------
        ImageError
            If there is no such level, the region is empty or reaches outside the level, or the
            file is damaged there.
        """
        y, x, height, width, level = map(operator.index, (y, x, height, width, level))
        if not 0 <= level < len(self.level_shapes):
            raise ImageError(
                f"{self.name} has {len(self.level_shapes)} level(s), numbered from 0; "
                f"there is no level {level}."
            )
        rows, columns = self.level_shapes[level]
        inside = 0 <= y < y + height <= rows and 0 <= x < x + width <= columns
        if not inside:
            raise ImageError(
                f"{self.name}: the region y {y}..{y + height}, x {x}..{x + width} is not inside "
                f"level {level} ({rows} × {columns} px)."
            )
        if self._close is not None and not self._close.alive:
            raise ImageError(f"{self.name} has been closed; open it again to read from it.")
        try:
            block = read_window(self._levels[level], self._axes, y, x, height, width)
            return self._tones.apply(block)
        except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
            raise ImageError(
                f"{self.name} cannot be read at y {y}, x {x} of level {level} "
                f"({type(error).__name__}: {error}); the file may be damaged."
            ) from error

    def read(self) -> NDArray[np.uint8]:
        """Read the whole of level 0: (H, W, 3) uint8. For a whole-slide image that is large."""
        return self.read_region(0, 0, *self.shape)

    def close(self) -> None:
        """Close the file, where one is open; regions can no longer be read from it."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{height} × {width}" for height, width in self.level_shapes)
        return f"<Slide {self.name}: {shapes} px, {self.microns_per_pixel} µm/px>"


def _channels(shape: Sequence[int], axes: Axes) -> Any:
    return shape[axes.index("S")] if "S" in axes else None
