"""Images that a camera stored on their side."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides.axes import PixelSource

# What EXIF's and TIFF's orientation (TIFF 6.0, section 8) do to the stored rows and columns.
_SWAPPED = (5, 6, 7, 8)
_UPSIDE_DOWN = (3, 4, 7, 8)
_MIRRORED = (2, 3, 6, 7)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels as their orientation (1 to 8) says: a view."""
    if orientation in _SWAPPED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _UPSIDE_DOWN:
        pixels = pixels[::-1]
    if orientation in _MIRRORED:
        pixels = pixels[:, ::-1]
    return pixels


class Turned:
    """A level that is read upright, whichever way it is stored.

    Parameters
    ----------
    stored : PixelSource
        (H, W) or (H, W, samples).
    orientation : int
        1 to 8.
    """

    def __init__(self, stored: PixelSource, orientation: int) -> None:
        self._stored = stored
        self._orientation = orientation
        height, width = stored.shape[:2]
        if orientation in _SWAPPED:
            height, width = width, height
        self.shape: tuple[int, ...] = (height, width, *stored.shape[2:])
        self.dtype = stored.dtype

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = (
            range(*each.indices(side)) for each, side in zip(window, self.shape[:2], strict=True)
        )
        if self._orientation in _UPSIDE_DOWN:
            rows = range(self.shape[0] - rows.stop, self.shape[0] - rows.start)
        if self._orientation in _MIRRORED:
            columns = range(self.shape[1] - columns.stop, self.shape[1] - columns.start)
        if self._orientation in _SWAPPED:
            rows, columns = columns, rows
        block = self._stored[rows.start : rows.stop, columns.start : columns.stop]
        return upright(np.asarray(block), self._orientation)
