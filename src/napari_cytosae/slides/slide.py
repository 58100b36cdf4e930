"""A slide: one image a person opens, read as 8-bit RGB region by region."""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.slides.axes import Axes, PixelSource, check_levels, find_axes
from napari_cytosae.slides.damage import Box, reachable
from napari_cytosae.slides.digest import digest_array, digest_levels
from napari_cytosae.slides.files import Backend, open_image
from napari_cytosae.slides.glass_pictures import GlassPictures
from napari_cytosae.slides.level_array import LevelArray
from napari_cytosae.slides.levels import Levels
from napari_cytosae.slides.opened import ReadPicture
from napari_cytosae.slides.pixel_size import (
    PixelSize,
    check_microns_per_pixel,
    check_pixel_size,
    in_words,
    side_of_square,
)
from napari_cytosae.slides.virtual import TileMaker


class Slide:
    """A camera field, a single-cell crop or a whole-slide image, at one or more resolutions.

    Make one with `Slide.open`, `Slide.from_array` or `Slide.from_levels`. Whatever the image is,
    regions come back as 8-bit RGB by the rules of `to_rgb8`; the tones of other than 8-bit images
    are measured once, over the whole of the coarsest level, so that neighbouring regions match.
    Threads may read from one slide at the same time.

    Attributes
    ----------
    name : str
        The file's name, or the name the caller gave.
    path : Path or None
        The file, where there is one.
    level_shapes : tuple of (int, int)
        Height and width of each level in px, the largest (level 0) first.
    stored_levels : int
        How many of the levels the file has. Where its smallest is larger than 16.8 million px,
        smaller ones follow, which are made when they are looked at and kept in the user's cache.
    pixel_size_um : (float, float) or None
        Height and width of a pixel at level 0; None where neither the file nor the caller says.
    backend : str
        What reads the pixels: ``"tifffile"``, ``"zarr"``, ``"openslide"``, ``"picture"``, or
        ``"array"`` for pixels that the caller gave.
    """

    def __init__(
        self,
        levels: Sequence[PixelSource],
        axes: Axes,
        *,
        name: str,
        path: Path | None,
        microns_per_pixel: float | PixelSize | None,
        digest: Callable[[], str],
        close: Callable[[], None] | None = None,
        backend: str = "array",
        associated: Mapping[str, ReadPicture] | None = None,
        maker: TileMaker | None = None,
        stored_levels: int | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.backend = backend
        self.pixel_size_um = check_pixel_size(microns_per_pixel, name)
        self._make_digest = digest
        self._glass = GlassPictures(name, associated or {})
        # Closes the file when the slide is collected, if nobody did before.
        self._close = None if close is None else weakref.finalize(self, close)
        finalizer = self._close  # no reference to self, which it waits for
        self._levels = Levels(
            levels,
            axes,
            name=name,
            is_open=lambda: finalizer is None or finalizer.alive,
            maker=maker,
            stored=stored_levels,
        )
        self.level_shapes = self._levels.shapes
        self.stored_levels = self._levels.stored

    @classmethod
    def open(
        cls,
        path: str | Path,
        microns_per_pixel: float | None = None,
        *,
        channels: Sequence[int] | None = None,
        backend: Backend = "auto",
        associated: bool = True,
    ) -> Self:
        """Open an image file.

        PNG, JPEG, BMP and small TIFF files are decoded at once, turned as their EXIF orientation
        says. Scanners' files stay on disk and are read tile by tile; only the levels of the main
        image are offered, label and overview pictures when they are asked for by name.

        Parameters
        ----------
        path : str or Path
            The file, or the folder of an OME-Zarr image. What it is, is told from its content, not
            from its extension.
        microns_per_pixel : float, optional
            Pixel size, where it is known better than from the file.
        channels : sequence of int, optional
            Of an image with other than one, three or four channels: the three that are red, green
            and blue, or a single one.
        backend : {"auto", "tifffile", "openslide"}
            What reads a scanner's file, where both can.
        associated : bool
            Whether pictures of the glass, which can show a patient's name, are to be had.

        Raises
        ------
        ImageError
            If the file is missing, damaged, or no single RGB or grey image.
        """
        path = Path(path)
        given = check_microns_per_pixel(microns_per_pixel, path.name)
        opened = open_image(path, channels=channels, backend=backend)
        return cls(
            opened.levels,
            opened.axes,
            name=path.name,
            path=path,
            microns_per_pixel=opened.pixel_size_um if given is None else given,
            digest=opened.digest,
            close=opened.close,
            backend=opened.backend,
            associated=opened.associated if associated else None,
            maker=opened.maker,
            stored_levels=opened.stored,
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
        axes = check_levels(sources, name)
        return cls(
            sources,
            axes,
            name=name,
            path=None if path is None else Path(path),
            microns_per_pixel=microns_per_pixel,
            digest=lambda: digest_levels(sources, axes),
        )

    def with_pixel_size(self, microns_per_pixel: float | None) -> Self:
        """Return the same slide with another pixel size; both read from the same open file."""
        twin = copy.copy(self)
        twin.pixel_size_um = check_pixel_size(microns_per_pixel, self.name)
        # The file is closed when the slide that opened it is collected; so it has to live on.
        twin.__dict__["_opened_by"] = self
        return twin

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of level 0 in px."""
        return self.level_shapes[0]

    @property
    def microns_per_pixel(self) -> float | None:
        """Pixel size at level 0; None where neither the file nor the caller says.

        Raises
        ------
        ImageError
            If pixels are not square, so that no single number says how large they are.
        """
        return side_of_square(self.pixel_size_um, self.name)

    @property
    def is_grey(self) -> bool:
        """Whether the image has no colours."""
        return self._levels.axes == "YX"

    @property
    def value_range(self) -> tuple[float, float]:
        """Stored values that become black and white."""
        return self._levels.tones.black, self._levels.tones.white

    @property
    def rough_value_range(self) -> tuple[float, float]:
        """The same as a few windows suggest, where levels have still to be made."""
        return self._levels.rough_tones.black, self._levels.rough_tones.white

    @property
    def associated(self) -> tuple[str, ...]:
        """Names of the pictures of the glass beside the scan: ``"label"``, ``"macro"``, ….

        A label can show a patient's name: these pictures are read only by `read_associated`, and
        nothing in this package shows or exports them unasked. A slide that was opened with
        ``associated=False`` has none.
        """
        return self._glass.names

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the content: it knows nothing of the file's name, place or date.

        A field is known by the bytes of its file, an array by its values, shape and type. A
        pyramid is known by the shapes and compression of its levels, the size of every tile on
        disk and the bytes of a fixed sample of tiles.
        """
        with reachable(self.name):
            return self._make_digest()

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
            If there is no such level, or the region is empty or reaches outside the level.
        DamagedImageError
            If a tile under the region cannot be decoded; it says where.
        UnreachableImageError
            If the file, its disk or its network drive is gone.
        """
        window, level = self._levels.checked(y, x, height, width, level)
        return self._levels.undamaged_rgb(window, level)

    def read_around_damage(
        self, y: int, x: int, height: int, width: int, level: int = 0
    ) -> tuple[NDArray[np.uint8], list[Box]]:
        """Read a rectangle of one level, white where the file is damaged.

        Parameters
        ----------
        y, x, height, width, level : int
            As in `read_region`.

        Returns
        -------
        pixels : NDArray[np.uint8]
            (height, width, 3).
        bad_boxes : list of (int, int, int, int)
            y0, x0, y1, x1 of what could not be decoded, in px of that level, half-open: tiles of
            the file, cut to the rectangle. Empty where all is well.

        Raises
        ------
        ImageError, UnreachableImageError
            As in `read_region`: a file that is gone is not read as white.
        """
        window, level = self._levels.checked(y, x, height, width, level)
        pixels, gaps, _ = self._levels.rgb(window, level)
        return pixels, gaps

    def read(self) -> NDArray[np.uint8]:
        """Read the whole of level 0: (H, W, 3) uint8. For a whole-slide image that is large."""
        return self.read_region(0, 0, *self.shape)

    def read_associated(self, name: str) -> NDArray[np.uint8]:
        """Read a picture of the glass: (H, W, 3) uint8.

        Parameters
        ----------
        name : str
            One of `associated`.

        Raises
        ------
        ImageError
            If there is no such picture, or it is damaged.
        """
        return self._glass.read(name)

    def make_levels(self) -> Iterator[float]:
        """Make all levels that the file does not have; yields the share that is done.

        They are also made without this, tile by tile, where they are read. What has been made stays
        for the next time, so that this may be stopped at any point.
        """
        return iter(()) if self._levels.maker is None else self._levels.maker.steps()

    @property
    def levels_made(self) -> bool:
        """Whether nothing is left for `make_levels` to do."""
        return self._levels.maker is None or self._levels.maker.complete

    def pyramid(self, *, values: bool = False, wait: bool = True) -> list[LevelArray]:
        """Give the levels as arrays that are read where they are sliced, the largest first.

        Parameters
        ----------
        values : bool
            Whether to give the values as they are stored, rather than 8-bit RGB.
        wait : bool
            Whether a slice of a level that the file does not have waits until it is made. Otherwise
            it is blank where it is not made yet, and `make_levels` makes that part next.

        Returns
        -------
        list of LevelArray
            For napari's multiscale layers, dask and the like. Damaged tiles are white in RGB, and
            0 in values.
        """
        return self._levels.arrays(values=values, wait=wait)

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
        return f"<Slide {self.name}: {shapes} px, {in_words(self.pixel_size_um)} µm/px>"
