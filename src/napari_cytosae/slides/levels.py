"""The levels of a slide: regions of them as values or 8-bit RGB, and arrays read where sliced."""

import operator
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import DamagedImageError, ImageError
from napari_cytosae.slides.axes import Axes, PixelSource, plane_shape, read_window
from napari_cytosae.slides.damage import Box, chunk_shape, reachable, read_around
from napari_cytosae.slides.level_array import LevelArray
from napari_cytosae.slides.rgb import Tones
from napari_cytosae.slides.virtual import TileMaker

_TONE_BAND_ROWS = 1024

# A first guess at the tones looks at so many windows along each side, of so many px.
_GLANCES, _GLANCE_PX = 5, 256


class Levels:
    """What a slide reads from.

    Parameters
    ----------
    sources : sequence of PixelSource
        The largest first.
    axes : Axes
        Of all of them.
    name : str
        What to call the slide in errors.
    is_open : callable
        Tells whether the file has not been closed.
    maker : TileMaker or None
        Makes the last levels, where the file does not have them.
    stored : int or None
        How many of the levels the file has; all where None.
    """

    def __init__(
        self,
        sources: Sequence[PixelSource],
        axes: Axes,
        *,
        name: str,
        is_open: Callable[[], bool],
        maker: TileMaker | None,
        stored: int | None,
    ) -> None:
        self.shapes = tuple(plane_shape(source.shape, axes) for source in sources)
        self.axes = axes
        self.stored = len(sources) if stored is None else stored
        self.maker = maker
        self._sources = tuple(sources)
        self._name = name
        self._is_open = is_open

    @cached_property
    def tones(self) -> Tones:
        """Which values become black and white, measured over the whole of the coarsest level."""
        coarsest = self._sources[-1]
        height, width = self.shapes[-1]
        if coarsest.dtype in (np.uint8, np.bool_):  # their tones do not depend on the values
            return Tones.measured([np.zeros((1, 1, *self._samples(True)), coarsest.dtype)])
        return Tones.measured(
            read_window(coarsest, self.axes, top, 0, min(_TONE_BAND_ROWS, height - top), width)
            for top in range(0, height, _TONE_BAND_ROWS)
        )

    @cached_property
    def rough_tones(self) -> Tones:
        """What a few windows of the smallest stored level suggest, before smaller ones are made."""
        source = self._sources[self.stored - 1]
        if self.maker is None or self.maker.complete or source.dtype in (np.uint8, np.bool_):
            return self.tones
        height, width = self.shapes[self.stored - 1]
        side = min(_GLANCE_PX, height, width)
        tops, lefts = (
            np.linspace(0, length - side, _GLANCES).astype(int).tolist()
            for length in (height, width)
        )
        windows = [(top, left, top + side, left + side) for top in tops for left in lefts]
        return Tones.measured(self.values(window, self.stored - 1)[0] for window in windows)

    def checked(self, y: int, x: int, height: int, width: int, level: int) -> tuple[Box, int]:
        """Return the window that is meant, and its level.

        Raises
        ------
        ImageError
            If there is no such level, or the window is empty or reaches outside it.
        """
        y, x, height, width, level = map(operator.index, (y, x, height, width, level))
        if not 0 <= level < len(self.shapes):
            raise ImageError(
                f"{self._name} has {len(self.shapes)} level(s), numbered from 0; "
                f"there is no level {level}."
            )
        rows, columns = self.shapes[level]
        inside = 0 <= y < y + height <= rows and 0 <= x < x + width <= columns
        if not inside:
            raise ImageError(
                f"{self._name}: the region y {y}..{y + height}, x {x}..{x + width} is not inside "
                f"level {level} ({rows} × {columns} px)."
            )
        return (y, x, y + height, x + width), level

    def values(self, window: Box, level: int) -> tuple[NDArray[Any], list[Box], Exception | None]:
        """Read a window as it is stored, channels last; see `read_around`."""
        self._check_open()
        with reachable(self._name):
            return read_around(self._sources[level], self.axes, window)

    def rgb(
        self, window: Box, level: int, tones: Tones | None = None
    ) -> tuple[NDArray[np.uint8], list[Box], Exception | None]:
        """Read a window as (H, W, 3) uint8, white where it is damaged; see `read_around`."""
        block, gaps, error = self.values(window, level)
        pixels = (tones or self.tones).apply(block)
        for y0, x0, y1, x1 in gaps:
            pixels[y0 - window[0] : y1 - window[0], x0 - window[1] : x1 - window[1]] = 255
        return pixels, gaps, error

    def undamaged_rgb(self, window: Box, level: int) -> NDArray[np.uint8]:
        """Read a window as (H, W, 3) uint8.

        Raises
        ------
        DamagedImageError
            If a tile under it cannot be decoded; it says where.
        """
        pixels, gaps, error = self.rgb(window, level)
        if gaps:
            more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
            raise DamagedImageError(
                f"{self._name} cannot be read at y {gaps[0][0]}, x {gaps[0][1]}{more} of level "
                f"{level} ({type(error).__name__}: {error}); the file is damaged there."
            ) from error
        return pixels

    def arrays(self, *, values: bool, wait: bool) -> list[LevelArray]:
        """Give the levels as arrays that are read where they are sliced; see `Slide.pyramid`."""
        return [
            LevelArray(
                (*shape, *self._samples(values)),
                self._sources[level].dtype if values else np.dtype(np.uint8),
                chunk_shape(self._sources[level], self.axes),
                partial(self._show, level=level, values=values, wait=wait),
            )
            for level, shape in enumerate(self.shapes)
        ]

    def _samples(self, values: bool) -> tuple[int, ...]:
        if not values:
            return (3,)
        source = self._sources[0]
        return () if self.axes == "YX" else (int(source.shape[self.axes.index("S")]),)

    def _show(self, box: Box, level: int, values: bool, wait: bool) -> NDArray[Any]:
        y0, x0, y1, x1 = box
        if y0 == y1 or x0 == x1:
            dtype = self._sources[level].dtype if values else np.dtype(np.uint8)
            return np.empty((y1 - y0, x1 - x0, *self._samples(values)), dtype)
        if self.maker is not None and not wait and level >= self.stored:
            self._check_open()
            made = self.maker.read_made(level - self.stored, box, 0 if values else 255)
            return made if values else self._shown_tones.apply(made)
        if values:
            return self.values(box, level)[0]
        return self.rgb(box, level, tones=None if wait else self._shown_tones)[0]

    @property
    def _shown_tones(self) -> Tones:
        return self.tones if self.maker is None or self.maker.complete else self.rough_tones

    def _check_open(self) -> None:
        if not self._is_open():
            raise ImageError(f"{self._name} has been closed; open it again to read from it.")
