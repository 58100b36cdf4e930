"""The grid that cells are found on: pixels of one physical size, laid over a slide once for all.

Whichever part of a slide is reduced, a pixel of the grid comes out with the same bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi

from napari_cytosae.cells.outline import Outline, tight

# Cells are found at this pixel size (or the slide's own, if coarser) and drawn at full size.
WORKING_UM = 0.2
# Outlines are smoothed at this scale when they are drawn larger, in px of the grid.
_SMOOTH_PX = 0.7
_BAND_ROWS = 256

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1, half-open."""


@dataclass(frozen=True, slots=True)
class WorkingGrid:
    """Where the grid's pixels lie on a slide.

    Parameters
    ----------
    slide_shape : (int, int)
        Height and width of level 0.
    shape : (int, int)
        Height and width of the grid.
    microns_per_pixel : float
        Side of a pixel of the grid.
    """

    slide_shape: tuple[int, int]
    shape: tuple[int, int]
    microns_per_pixel: float

    @classmethod
    def over(cls, slide_shape: tuple[int, int], microns_per_pixel: float) -> "WorkingGrid":
        """Lay a grid over a slide whose pixel size is given."""
        factor = max(1.0, WORKING_UM / microns_per_pixel)
        height, width = (max(1, round(size / factor)) for size in slide_shape)
        return cls(slide_shape, (height, width), microns_per_pixel * slide_shape[1] / width)

    @property
    def zoom(self) -> tuple[float, float]:
        """Height and width of a pixel of the grid in level-0 px, at least 1."""
        return (
            self.slide_shape[0] / self.shape[0],
            self.slide_shape[1] / self.shape[1],
        )

    def window_around(self, box: Box, margin_px: int) -> Box:
        """Give the window of the grid that covers a box of level 0 and a margin around it."""
        (zoom_y, zoom_x), (height, width) = self.zoom, self.shape
        return (
            max(int(box[0] / zoom_y) - margin_px, 0),
            max(int(box[1] / zoom_x) - margin_px, 0),
            min(int(np.ceil(box[2] / zoom_y)) + margin_px, height),
            min(int(np.ceil(box[3] / zoom_x)) + margin_px, width),
        )

    def source_of(self, window: Box) -> Box:
        """Give the box of level 0 that a window of the grid is made from."""
        zoom_y, zoom_x = self.zoom
        y1, x1 = int(np.ceil(window[2] * zoom_y)), int(np.ceil(window[3] * zoom_x))
        return (
            int(window[0] * zoom_y),
            int(window[1] * zoom_x),
            min(y1, self.slide_shape[0]),
            min(x1, self.slide_shape[1]),
        )

    def point_on_slide(self, y: int, x: int) -> tuple[int, int]:
        """Give the level-0 px in the middle of a pixel of the grid."""
        zoom_y, zoom_x = self.zoom
        return int((y + 0.5) * zoom_y), int((x + 0.5) * zoom_x)

    def reduce(self, rgb: NDArray[np.uint8], window: Box) -> NDArray[np.uint8]:
        """Average the pixels of `source_of(window)` over the pixels of the grid.

        Parameters
        ----------
        rgb : (H, W, 3) uint8
            The pixels of ``source_of(window)``.
        window : (int, int, int, int)

        Returns
        -------
        (h, w, 3) uint8
        """
        if self.shape == self.slide_shape:
            return rgb
        y0, x0, y1, x1 = window
        source = self.source_of(window)
        rows = _taps(y0, y1, self.zoom[0], source[0], source[2])
        columns = _taps(x0, x1, self.zoom[1], source[1], source[3])
        reduced = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for top in range(0, y1 - y0, _BAND_ROWS):
            band = slice(top, top + _BAND_ROWS)
            # Element by element, not by a matrix product: its sums depend on what lies beside.
            tall = _averaged(rgb, rows[0][:, band], rows[1][:, band], axis=0)
            both = _averaged(tall, *columns, axis=1)
            reduced[band] = np.rint(np.clip(both, 0, 255))
        return reduced

    def enlarge(self, mask: NDArray[np.bool_], y: int, x: int) -> Outline | None:
        """Draw an object of the grid at full size, with a smooth outline.

        Parameters
        ----------
        mask : (h, w) bool
            The object in its box.
        y, x : int
            Where the box begins on the grid.

        Returns
        -------
        Outline or None
            In level-0 px, in its tightest box; None where nothing is left of it.
        """
        if self.shape == self.slide_shape:
            return tight(mask, y, x)
        height, width = self.shape
        y0, x0 = max(y - 2, 0), max(x - 2, 0)
        y1, x1 = min(y + mask.shape[0] + 2, height), min(x + mask.shape[1] + 2, width)
        soft = np.zeros((y1 - y0, x1 - x0), np.float32)
        soft[y - y0 : y - y0 + mask.shape[0], x - x0 : x - x0 + mask.shape[1]] = mask
        soft = ndi.gaussian_filter(soft, _SMOOTH_PX, mode="nearest")
        zoom_y, zoom_x = self.zoom
        top, bottom = round(y0 * zoom_y), round(y1 * zoom_y)
        left, right = round(x0 * zoom_x), round(x1 * zoom_x)
        # Whole pixels of the slide map to fractions of the grid's.
        part = (
            max(left / zoom_x - x0, 0.0),
            max(top / zoom_y - y0, 0.0),
            min(right / zoom_x - x0, x1 - x0),
            min(bottom / zoom_y - y0, y1 - y0),
        )
        large = Image.fromarray(soft).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=part
        )
        return tight(np.asarray(large) > 0.5, top, left)


def enlarge_labels(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Draw a whole label image at full size, with smooth outlines.

    Where outlines cross, the lower label keeps the pixels.
    """
    if labels.shape == shape:
        return labels
    full = np.zeros(shape, np.int32)
    grid = WorkingGrid(shape, (labels.shape[0], labels.shape[1]), 1.0)
    for label, window in enumerate(ndi.find_objects(labels), start=1):
        if window is None:
            continue
        top, left = window[0].start, window[1].start
        outline = grid.enlarge(labels[window] == label, top, left)
        if outline is not None:
            height, width = outline.mask.shape
            region = full[outline.y : outline.y + height, outline.x : outline.x + width]
            region[outline.mask & (region == 0)] = label
    return full


def _taps(
    first: int, last: int, zoom: float, source_first: int, source_last: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """List the source pixels under each pixel of the grid, and the share of each; (taps, n)."""
    index = np.arange(first, last, dtype=np.float64)
    start, stop = index * zoom, (index + 1) * zoom
    below = np.floor(start)
    taps = below + np.arange(int(np.ceil(zoom)) + 1)[:, np.newaxis]
    shares = np.minimum(taps + 1, stop) - np.maximum(taps, start)
    shares = np.clip(shares, 0.0, None)
    shares[taps >= source_last] = 0.0
    shares /= shares.sum(axis=0)
    where = np.minimum(taps, source_last - 1) - source_first
    return where.astype(np.intp), shares.astype(np.float32)


def _averaged(
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    where: NDArray[np.intp],
    shares: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    total: NDArray[np.float32] | None = None
    for indices, share in zip(where, shares, strict=True):
        weight = share[:, np.newaxis, np.newaxis] if axis == 0 else share[:, np.newaxis]
        part = np.take(pixels, indices, axis=axis) * weight
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total
