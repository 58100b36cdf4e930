"""What each patch of a cell's crop shows: nucleus, cytoplasm, border, other cells, red cells, glass."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi

from napari_cytosae.cells.nuclei import azure_density
from napari_cytosae.cells.stain import StainReference, relative_density
from napari_cytosae.cells.views import CellView

COMPARTMENTS: Final = (
    "nucleus",
    "cytoplasm",
    "cell border",
    "red cells",
    "other cells",
    "background",
)
"""What a patch is counted as, in the order of the counts. "Other cells" are platelets, too."""

POINTS_PER_PATCH: Final = 16
"""Points of a patch that are looked at, four along each side."""

NUCLEUS, CYTOPLASM, BORDER, RED_CELLS, OTHER_CELLS, BACKGROUND = range(len(COMPARTMENTS))

# Half the width of the band along the outline that counts as the cell's border. A patch of the
# usual crop is 1.6 µm wide, so that a narrower band could not be seen.
BORDER_UM = 0.6
# Colours are looked at on pixels of this size.
WORKING_UM = 0.25
# Stained matter, in units of the red cells' density in green.
STAINED = 0.35
# Haemoglobin absorbs this much of blue for its green at least; azure, what red cells never reach.
RED_CELL_BLUE = 0.3
RED_CELL_AZURE = 1.5
# Pale centres of red cells are holes up to this size.
LARGEST_CENTRE_UM2 = 20.0
SPECK_UM2 = 1.5

_STEPS: Final = 4


def count_compartments(
    view: CellView | None,
    box: NDArray[np.float64],
    reference: StainReference | None,
    pixel_um: float,
    grid: int = 16,
) -> NDArray[np.uint8]:
    """Count for each patch of a crop how many of its 16 points lie in which compartment.

    Parameters
    ----------
    view : CellView or None
        The cell with a window that holds the crop, as far as the slide goes.
    box : (4,) float64
        The crop's y0, x0, y1, x1 in level-0 px.
    reference : StainReference or None
        Without it (grey or fluorescent images) what is no cell is background.
    pixel_um : float
        Pixel size, known or estimated.
    grid : int
        Patches along each side.

    Returns
    -------
    (6, grid, grid) uint8
        In the order of `COMPARTMENTS`. Points beyond the slide, where a crop is its own mirror
        image, are counted nowhere, nor is anything of a cell whose outline or nucleus is unknown.
    """
    counts = np.zeros((len(COMPARTMENTS), grid, grid), np.uint8)
    if view is None or view.nucleus is None or not view.cell.any():
        return counts
    classes = _classes(view, reference, pixel_um)
    steps = (np.arange(grid * _STEPS) + 0.5) / (grid * _STEPS)
    y = np.floor(box[0] + steps * (box[2] - box[0])).astype(int) - view.y
    x = np.floor(box[1] + steps * (box[3] - box[1])).astype(int) - view.x
    height, width = classes.shape
    inside = ((y >= 0) & (y < height))[:, np.newaxis] & ((x >= 0) & (x < width))
    at = classes[np.clip(y, 0, height - 1)[:, np.newaxis], np.clip(x, 0, width - 1)]
    for compartment in range(len(COMPARTMENTS)):
        hits = (at == compartment) & inside
        counts[compartment] = hits.reshape(grid, _STEPS, grid, _STEPS).sum(axis=(1, 3))
    return counts


def _classes(
    view: CellView, reference: StainReference | None, pixel_um: float
) -> NDArray[np.uint8]:
    """Tell the compartment of every pixel of a view."""
    classes = np.full(view.cell.shape, BACKGROUND, np.uint8)
    if reference is not None:
        classes[:] = _around(view.rgb, reference, pixel_um)
    others = (view.labels > 0) & ~view.cell
    classes[others] = OTHER_CELLS
    band_px = BORDER_UM / pixel_um
    # Beyond the window the cell goes on, if it does; its cut is no border.
    padded = np.pad(view.cell, 1, mode="edge")
    inwards = ndi.distance_transform_edt(padded)[1:-1, 1:-1]
    outwards = ndi.distance_transform_edt(~padded)[1:-1, 1:-1]
    classes[view.cell] = CYTOPLASM
    classes[(inwards <= band_px) & (outwards <= band_px) & ~others] = BORDER
    if view.nucleus is not None:
        classes[view.nucleus & view.cell] = NUCLEUS
    return classes


def _around(
    rgb: NDArray[np.uint8],
    reference: StainReference,
    pixel_um: float,
) -> NDArray[np.uint8]:
    """Tell red cells, other stained things and glass apart, outside the cells that are known."""
    height, width = rgb.shape[:2]
    factor = max(1.0, WORKING_UM / pixel_um)
    small_height, small_width = max(1, round(height / factor)), max(1, round(width / factor))
    small = Image.fromarray(rgb).resize((small_width, small_height), Image.Resampling.BOX)
    relative = relative_density(np.asarray(small), reference)
    relative = ndi.gaussian_filter(relative, (0.7, 0.7, 0))
    green, blue = relative[..., 1], relative[..., 2]
    stained = green > STAINED
    red = stained & (blue > RED_CELL_BLUE * green) & (azure_density(relative) < RED_CELL_AZURE)
    um2 = (pixel_um * height / small_height) * (pixel_um * width / small_width)
    red = _without_specks(red, SPECK_UM2 / um2)
    holes, _ = ndi.label(~red & ~stained)
    sizes = np.bincount(holes.ravel())
    edge = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    centre = sizes * um2 < LARGEST_CENTRE_UM2
    centre[0] = False
    centre[edge] = False
    red |= centre[holes] & ndi.binary_fill_holes(red)
    other = _without_specks(stained & ~red, SPECK_UM2 / um2)
    classes = np.full(red.shape, BACKGROUND, np.uint8)
    classes[other] = OTHER_CELLS
    classes[red] = RED_CELLS
    if (small_height, small_width) == (height, width):
        return classes
    enlarged = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(enlarged)


def _without_specks(mask: NDArray[np.bool_], smallest_px: float) -> NDArray[np.bool_]:
    parts, _ = ndi.label(mask)
    large = np.bincount(parts.ravel()) >= smallest_px
    large[0] = False
    return np.asarray(large[parts])
