"""Find the red cells of a stained smear: dense in green, sharp, neither azure nor grey."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.found import Cells, measure_cells
from napari_cytosae.cells.grid import enlarge_labels
from napari_cytosae.cells.nuclei import azure_density
from napari_cytosae.cells.red_matter import (
    cut_at_necks,
    glass_density,
    red_cell_matter,
    stain_threshold,
)
from napari_cytosae.cells.reduced import reduced
from napari_cytosae.cells.scale import RED_CELL_UM
from napari_cytosae.cells.stain import estimate_stain, relative_density
from napari_cytosae.cells.survey import (
    STAIN_PX,
    check_colour,
    check_microns_per_pixel,
    estimate_microns_per_pixel,
)
from napari_cytosae.slides import Slide, to_rgb8

# Cells are found where a red cell is so many pixels wide, and drawn at full size.
WORKING_DIAMETER_PX = 30.0
# Where red cells do not stand out, 7.5 µm are taken to be as wide as at 100× on most cameras.
FALLBACK_DIAMETER_PX = 75.0


@dataclass(frozen=True, slots=True)
class RedCellRules:
    """What counts as a red cell; lengths and areas in units of the image's usual red cell.

    Attributes
    ----------
    smallest, largest : float
        Area. Fragments reach down to an eighth, macrocytes up to two and a half.
    smallest_at_border : float
        Area of a cell that the image's border cuts off; less of it shows no shape.
    neck, neck_of_two : float
        Two parts are two cells where the neck between them is narrower than this share of the
        narrower part; `neck_of_two` where they are together larger than one cell usually is.
    azure, azure_of_small : float
        Azure density for its density in green, in units of the image's red cells, above which a
        part is a nucleus or precipitated stain; `azure_of_small` where it is no larger than
        `small`, and may be a platelet.
    dense, dense_of_small : float
        The same for the density in green; two cells on top of each other reach 2.
    small : float
        Area of the largest platelets.
    grey : float
        Least density in red and blue, for that in green, of the pointer's shadow.
    rim : float
        Least slope of the outline, in red-cell densities per tenth of a diameter: out-of-focus
        shadows lie below it.
    stained : float
        Least share of a cell's area that is denser than glass.
    """

    smallest: float = 0.12
    largest: float = 3.5
    smallest_at_border: float = 0.25
    neck: float = 0.95
    neck_of_two: float = 0.98
    azure: float = 1.5
    azure_of_small: float = 1.2
    dense: float = 2.4
    dense_of_small: float = 1.7
    small: float = 0.4
    grey: float = 0.85
    rim: float = 0.1
    stained: float = 0.4


def detect_red_cells(
    image: ArrayLike | Slide,
    microns_per_pixel: float | None = None,
    rules: RedCellRules | None = None,
) -> Cells:
    """Find the red cells of a Romanowsky-stained smear.

    Parameters
    ----------
    image : (H, W, 3 or 4) array or Slide
        Bright field, in colour; any type that `to_rgb8` takes.
    microns_per_pixel : float, optional
        Pixel size. Without it (and where the slide does not know) the red cells themselves are
        measured: what is large or small is told by the image's own cells either way.
    rules : RedCellRules, optional
        What counts as a red cell.

    Returns
    -------
    Cells
        Ids 1 … n from top to bottom, without nuclei; empty where the image shows no red cell.

    Raises
    ------
    CellsError
        If the image has no colour, is dark (fluorescence), or the pixel size is not positive.
    """
    if isinstance(image, Slide):
        rgb = image.read()
        microns_per_pixel = microns_per_pixel or image.microns_per_pixel
    else:
        rgb = to_rgb8(image)
    check_microns_per_pixel(microns_per_pixel)
    reference = estimate_stain(reduced(rgb, max(1.0, max(rgb.shape[:2]) / STAIN_PX)))
    check_colour(rgb, reference)
    estimated = estimate_microns_per_pixel(rgb, reference)
    pixel_um = estimated or microns_per_pixel
    diameter_px = FALLBACK_DIAMETER_PX if pixel_um is None else RED_CELL_UM / pixel_um
    labels = np.zeros(rgb.shape[:2], np.int32)
    if reference.red_cells_seen:
        small = reduced(rgb, max(1.0, diameter_px / WORKING_DIAMETER_PX))
        working_px = diameter_px * small.shape[1] / rgb.shape[1]
        relative = relative_density(small, reference)
        found = find_red_cells(relative, working_px, rules)
        labels = enlarge_labels(found, rgb.shape[:2])
    return Cells(
        labels,
        None,
        measure_cells(labels, None, "red"),
        microns_per_pixel,
        None if microns_per_pixel else estimated,
    )


def find_red_cells(
    relative: NDArray[np.float32], diameter_px: float, rules: RedCellRules | None = None
) -> NDArray[np.int32]:
    """Label the red cells of a field.

    Parameters
    ----------
    relative : (H, W, 3) float32
        Relative densities, see :func:`napari_cytosae.cells.stain.relative_density`.
    diameter_px : float
        Usual diameter of a red cell; some 30 px are best.
    rules : RedCellRules, optional

    Returns
    -------
    (H, W) int32
        1 … n from top to bottom, 0 elsewhere.
    """
    rules = rules or RedCellRules()
    blur_px = diameter_px / 30
    smooth = ndi.gaussian_filter(relative, (blur_px, blur_px, 0))
    smooth = smooth - glass_density(smooth[..., 1], diameter_px)[..., np.newaxis]
    matter = red_cell_matter(smooth[..., 1], diameter_px)
    parts = cut_at_necks(matter, diameter_px, (rules.neck, rules.neck_of_two))
    return _red_cells_only(parts, smooth, diameter_px, rules)


def _red_cells_only(
    parts: NDArray[np.int32],
    relative: NDArray[np.float32],
    diameter_px: float,
    rules: RedCellRules,
) -> NDArray[np.int32]:
    """Leave out nuclei, platelets, stain, shadows and scale bars; number the rest anew."""
    if not parts.any():
        return parts
    usual = np.pi / 4 * diameter_px**2
    slope = ndi.gaussian_gradient_magnitude(relative[..., 1], diameter_px / 30) * diameter_px / 10
    height, width = parts.shape
    n_px = np.maximum(np.bincount(parts.ravel()), 1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(parts.ravel(), values.ravel()) / n_px

    red, green, blue = (mean(relative[..., channel]) for channel in range(3))
    stained = mean((relative[..., 1] > stain_threshold(relative[..., 1])).astype(np.float32))
    area = n_px / usual
    hue = mean(azure_density(relative)) / np.maximum(green, 0.1)
    cells = (area > 0.5) & (area < 1.5)
    cells[0] = False
    if not cells.any():
        cells[1:] = True
    azure = hue / max(float(np.median(hue[cells])), 0.3)
    dense = green / max(float(np.median(green[cells])), 0.3)
    smallest = np.full(area.size, rules.smallest)
    sharp = np.zeros(area.size, bool)
    for index, window in enumerate(ndi.find_objects(parts), start=1):
        if window is None:
            continue
        mask = parts[window] == index
        outline = mask & ~ndi.binary_erosion(np.pad(mask, 1), iterations=2)[1:-1, 1:-1]
        sharp[index] = np.median(slope[window][outline]) >= rules.rim
        (top, bottom), (left, right) = ((s.start, s.stop) for s in window)
        if top == 0 or left == 0 or bottom == height or right == width:
            smallest[index] = rules.smallest_at_border
    # A cell under the pointer is grey too, but less so.
    shadow = np.minimum(red, blue) > np.where(green > 1.2, rules.grey - 0.1, rules.grey) * green
    large = area > rules.small
    kept = (area >= smallest) & (area <= rules.largest) & sharp & ~shadow
    kept &= stained >= rules.stained
    kept &= azure <= np.where(large, rules.azure, rules.azure_of_small)
    kept &= dense <= np.where(large, rules.dense, rules.dense_of_small)
    kept[0] = False
    ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return _from_top(ids[parts])


def _from_top(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give labels new numbers by the first row in which they appear."""
    ids, first = np.unique(labels, return_index=True)
    order = np.argsort(first[ids > 0])
    renumbered = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    renumbered[ids[ids > 0][order]] = np.arange(1, order.size + 1)
    return renumbered[labels]
