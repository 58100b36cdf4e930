"""Find the nucleated cells of a stained smear; no weights, no training."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.cells.found import Cells, cell_table
from napari_cytosae.cells.label_image import LabelImage, PaintedLabels
from napari_cytosae.cells.nuclei import NucleusRules
from napari_cytosae.cells.outline import Outline
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cells.stain import StainReference
from napari_cytosae.cells.survey import Survey, is_field, survey_image, survey_slide
from napari_cytosae.cells.tiles import FoundCell, cells_of_tile, tile_boxes
from napari_cytosae.errors import Cancelled
from napari_cytosae.slides import Slide, to_rgb8

TILE_UM = 500.0
"""Side of the tiles that a slide is gone through in; cells do not depend on it."""
_LEAST_TILE_PX, _MOST_TILE_PX, _TILE_STEP_PX = 1024, 4096, 256


def detect_cells(
    image: ArrayLike | Slide,
    microns_per_pixel: float | None = None,
    rules: NucleusRules | None = None,
    *,
    tile_px: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Cells:
    """Find the nucleated cells of a Romanowsky-stained smear or marrow.

    Parameters
    ----------
    image : (H, W, 3 or 4) array or Slide
        Bright field, in colour; any type that `to_rgb8` takes. A slide is read tile by tile.
    microns_per_pixel : float, optional
        Pixel size. Without it (and where the slide does not know) it is estimated from the red
        cells, or the nuclei where there are none.
    rules : NucleusRules, optional
        What counts as a nucleus.
    tile_px : int, optional
        Side of the tiles that a large slide is gone through in. Cells do not depend on it.
    cancelled : callable
        Asked before each tile.

    Returns
    -------
    Cells
        Ids 1 … n from top to bottom; empty where the image has no nucleated cell. The label images
        of a large slide are `PaintedLabels`.

    Raises
    ------
    CellsError
        If the image has no colour, is dark (fluorescence), or the pixel size is not positive.
    Cancelled
        When `cancelled` says so.
    """
    if not isinstance(image, Slide):
        rgb = to_rgb8(image)
        survey = survey_image(rgb, microns_per_pixel)
        return _detect(Slide.from_array(rgb), survey, tile_px, rules, cancelled)
    survey = survey_slide(image, microns_per_pixel)
    return _detect(image, survey, tile_px, rules, cancelled)


def detect_with(
    rgb: NDArray[np.uint8],
    reference: StainReference,
    microns_per_pixel: float | None,
    estimated_microns_per_pixel: float | None = None,
    rules: NucleusRules | None = None,
) -> Cells:
    """Find cells where stain and pixel size are known: in a window of a slide, say.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    reference : StainReference
        From :func:`estimate_stain` on the whole slide.
    microns_per_pixel, estimated_microns_per_pixel : float or None
        The first that is known is used; without both no cell is found, as nothing tells a
        lymphocyte from a platelet.
    rules : NucleusRules, optional

    Returns
    -------
    Cells
    """
    survey = Survey(reference, microns_per_pixel, estimated_microns_per_pixel)
    return _detect(Slide.from_array(rgb), survey, None, rules, lambda: False)


def tile_side(survey: Survey) -> int:
    """Give the usual side of a tile in level-0 px: some 500 µm."""
    side = TILE_UM / (survey.pixel_um or 0.25)
    steps = round(side / _TILE_STEP_PX) * _TILE_STEP_PX
    return int(np.clip(steps, _LEAST_TILE_PX, _MOST_TILE_PX))


def cells_of(
    found: Iterable[FoundCell], shape: tuple[int, int], survey: Survey, *, dense: bool
) -> Cells:
    """Give cells their numbers from top to bottom, and their table.

    Parameters
    ----------
    found : iterable of FoundCell
    shape : (int, int)
    survey : Survey
    dense : bool
        Give label images as arrays; as `PaintedLabels` otherwise.
    """
    ordered = sorted(found, key=lambda cell: (cell.y, cell.x))
    ids = np.arange(1, len(ordered) + 1)
    labels: LabelImage = PaintedLabels(shape, ids, [cell.extent for cell in ordered])
    nuclei: LabelImage = PaintedLabels(shape, ids, [cell.nucleus for cell in ordered])
    if dense:
        labels, nuclei = np.asarray(labels), np.asarray(nuclei)
    table = cell_table([row_of(cell, label) for label, cell in enumerate(ordered, start=1)])
    return Cells(
        labels, nuclei, table, survey.microns_per_pixel, survey.estimated_microns_per_pixel
    )


def row_of(cell: FoundCell, label: int) -> tuple[object, ...]:
    """Measure one cell: a row of `Cells.table`."""
    extent: Outline = cell.extent
    y, x = np.nonzero(extent.mask)
    nucleus_px = 0 if cell.nucleus is None else np.count_nonzero(cell.nucleus.mask)
    return (
        label,
        float(y.mean() + extent.y),
        float(x.mean() + extent.x),
        extent.y,
        extent.x,
        extent.y + extent.mask.shape[0],
        extent.x + extent.mask.shape[1],
        int(y.size),
        float(nucleus_px),
        "detect",
    )


def _detect(
    slide: Slide,
    survey: Survey,
    tile_px: int | None,
    rules: NucleusRules | None,
    cancelled: Callable[[], bool],
) -> Cells:
    small = is_field(slide.shape)
    side = tile_px or (max(slide.shape) if small else tile_side(survey))
    patched = PatchedSlide(slide, survey.reference.glass)
    found: list[FoundCell] = []
    for tile in tile_boxes(slide.shape, side):
        if cancelled():
            raise Cancelled("Looking for cells was cancelled.")
        found += cells_of_tile(patched, survey, tile, rules)
    whole = [cell for cell in found if not patched.damaged_in(*_box(cell))]
    return cells_of(whole, slide.shape, survey, dense=small)


def _box(cell: FoundCell) -> tuple[int, int, int, int]:
    extent = cell.extent
    height, width = extent.mask.shape
    return extent.y, extent.x, extent.y + height, extent.x + width
