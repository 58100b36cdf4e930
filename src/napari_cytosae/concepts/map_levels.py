"""One concept's maps over a large slide, as a pyramid that is painted where it is looked at."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.maps import paint_maps

Rows = NDArray[np.int64]
Ask = Callable[[Rows], NDArray[np.float32]]

# Canvas pixels per side of a patch at the finest level, as for a canvas of the whole slide.
_PIXELS_PER_PATCH = 4
# The coarsest level is held in memory by viewers, so it is small.
_LARGEST_COARSEST_PX = 2048


class MapLevel:
    """One level of a concept's maps; slices like an array, and paints what is asked for.

    Parameters
    ----------
    boxes
        Gives the (n, 4) crops of the cells, y0, x0, y1, x1 in level-0 px.
    maps
        Gives the (k, 16, 16) activations of some rows of them.
    means
        Gives the (k,) mean activations of some rows of them.
    shape
        Height and width of the slide at level 0, in px.
    step
        Side of a canvas pixel in level-0 px.
    smooth
        As in `paint_maps`.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        boxes: Callable[[], NDArray[np.float64]],
        maps: Ask,
        means: Ask,
        shape: tuple[int, int],
        step: int,
        *,
        smooth: bool,
    ) -> None:
        self._boxes, self._maps, self._means = boxes, maps, means
        self.step, self.smooth = step, smooth
        self.shape: tuple[int, int] = (-(-shape[0] // step), -(-shape[1] // step))

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        parts = key if isinstance(key, tuple) else (key,)
        slices = [part if isinstance(part, slice) else slice(part, part + 1) for part in parts]
        slices += [slice(None)] * (2 - len(slices))
        (y0, y1, down), (x0, x1, right) = (
            part.indices(size) for part, size in zip(slices, self.shape, strict=True)
        )
        return self._paint(y0, x0, max(y1, y0), max(x1, x0))[::down, ::right]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)

    def _paint(self, y0: int, x0: int, y1: int, x1: int) -> NDArray[np.float32]:
        """Paint a window, given in pixels of this level."""
        boxes = self._boxes()
        top, left, bottom, right = (float(edge * self.step) for edge in (y0, x0, y1, x1))
        rows = np.flatnonzero(
            (boxes[:, 0] < bottom)
            & (boxes[:, 2] > top)
            & (boxes[:, 1] < right)
            & (boxes[:, 3] > left)
        )
        inside = boxes[rows] - (top, left, top, left)
        shape = (y1 - y0, x1 - x0)
        if not len(rows) or not min(shape):
            return np.zeros(shape, np.float32)
        if np.median(inside[:, 2] - inside[:, 0]) < GRID * self.step:
            return _flat(self._means(rows), inside / self.step, shape)
        size = (shape[0] * self.step, shape[1] * self.step)
        maps = self._maps(rows)
        return paint_maps(maps, inside, size, downsample=self.step, smooth=self.smooth).values


def map_levels(
    boxes: Callable[[], NDArray[np.float64]],
    maps: Ask,
    means: Ask,
    shape: tuple[int, int],
    *,
    smooth: bool,
) -> list[MapLevel]:
    """Give one concept's maps of a slide at several sizes, each half of the one before.

    Only the cells of the window that is asked for are read. Where a patch is smaller than a pixel,
    a cell is filled with the mean over its patches, as a picture made smaller would show it.

    Parameters
    ----------
    boxes, maps, means, shape, smooth
        As in `MapLevel`.
    """
    crops = boxes()
    side = float(np.median(crops[:, 2] - crops[:, 0])) if len(crops) else float(GRID)
    step = max(1, int(side / GRID / _PIXELS_PER_PATCH))
    levels = [MapLevel(boxes, maps, means, shape, step, smooth=smooth)]
    while max(levels[-1].shape) > _LARGEST_COARSEST_PX:
        step *= 2
        levels.append(MapLevel(boxes, maps, means, shape, step, smooth=smooth))
    return levels


def _flat(
    values: NDArray[np.float32], boxes: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Fill boxes, given in canvas pixels, each with one value; the larger shows where they overlap.

    Goes over the pixels of a box, of which there are few, instead of over the boxes.
    """
    canvas = np.zeros(shape, np.float32)
    shows = values > 0
    values, boxes = values[shows], boxes[shows]
    first = np.ceil(boxes[:, :2] - 0.5).astype(np.int64)
    # A crop that holds no pixel's centre shows as one pixel all the same.
    extent = np.maximum(np.ceil(boxes[:, 2:] - 0.5).astype(np.int64) - first, 1)
    for down in range(extent[:, 0].max(initial=0)):
        for right in range(extent[:, 1].max(initial=0)):
            y, x = first[:, 0] + down, first[:, 1] + right
            here = (down < extent[:, 0]) & (right < extent[:, 1])
            here &= (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            np.maximum.at(canvas, (y[here], x[here]), values[here])
    return canvas
