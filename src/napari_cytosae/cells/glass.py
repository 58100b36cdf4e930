"""Bare glass, seen at low resolution, where no cell need be looked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.nuclei import azure_density
from napari_cytosae.cells.stain import StainReference, relative_density
from napari_cytosae.errors import DamagedImageError
from napari_cytosae.slides import Slide

# At this pixel size the smallest nucleus (16 µm², 4.5 µm across) still fills most of a pixel.
COARSEST_UM = 2.5
# Squares of about this side are glass or are not.
SQUARE_UM = 20.0
# Nuclei have an azure density of 1.8 and more; a pixel that one fills by a third shows this.
_LEAST_AZURE = 0.5
_BAND_SQUARES = 16


@dataclass(frozen=True, slots=True, eq=False)
class OccupiedMap:
    """Squares of a slide on which there is more than glass.

    Attributes
    ----------
    squares : (m, n) bool
    side_px : (float, float)
        Height and width of a square in level-0 px.
    """

    squares: NDArray[np.bool_]
    side_px: tuple[float, float]

    def holds(self, y: float, x: float) -> bool:
        """Tell whether there is anything at a point of level 0."""
        row = min(int(y / self.side_px[0]), self.squares.shape[0] - 1)
        column = min(int(x / self.side_px[1]), self.squares.shape[1] - 1)
        return bool(self.squares[row, column])

    def meets(self, box: tuple[int, int, int, int]) -> bool:
        """Tell whether there is anything in a box of level 0."""
        rows = slice(int(box[0] / self.side_px[0]), int(np.ceil(box[2] / self.side_px[0])))
        columns = slice(int(box[1] / self.side_px[1]), int(np.ceil(box[3] / self.side_px[1])))
        return bool(self.squares[rows, columns].any())


def map_occupied(
    slide: Slide, reference: StainReference, microns_per_pixel: float
) -> OccupiedMap | None:
    """Look for bare glass on the smallest level that would still show a nucleus.

    Returns
    -------
    OccupiedMap or None
        None where there is no such level: reading all of level 0 would save nothing.
    """
    level = _level(slide, microns_per_pixel)
    if level is None:
        return None
    height, width = slide.level_shapes[level]
    zoom = slide.shape[0] / height, slide.shape[1] / width
    side = max(1, round(SQUARE_UM / (microns_per_pixel * zoom[0])))
    squares = np.zeros((-(-height // side), -(-width // side)), bool)
    for row in range(0, len(squares), _BAND_SQUARES):
        top = row * side
        rows = min(_BAND_SQUARES * side, height - top)
        try:
            band = slide.read_region(top, 0, rows, width, level)
        except DamagedImageError:
            # Somewhere in it is a damaged tile: it is looked at in full resolution.
            squares[row : row + _BAND_SQUARES] = True
            continue
        stained = azure_density(relative_density(band, reference)) > _LEAST_AZURE
        part = squares[row : row + _BAND_SQUARES]
        padded = np.zeros((len(part) * side, squares.shape[1] * side), bool)
        padded[:rows, :width] = stained
        part |= padded.reshape(len(part), side, -1, side).any(axis=(1, 3))
    # A cell on the edge of a square may lie mostly on the next one.
    squares = ndi.binary_dilation(squares, np.ones((3, 3)))
    return OccupiedMap(squares, (side * zoom[0], side * zoom[1]))


def _level(slide: Slide, microns_per_pixel: float) -> int | None:
    heights = np.array([shape[0] for shape in slide.level_shapes], np.float64)
    fit = np.flatnonzero(heights[0] / heights * microns_per_pixel <= COARSEST_UM)
    return int(fit[-1]) if fit.size and fit[-1] > 0 else None
