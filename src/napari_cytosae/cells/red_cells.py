"""Find the red cells of a stained smear: dense in green, not azure, cut apart where they overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import disk
from skimage.segmentation import watershed

from napari_cytosae.cells.detect import (
    STAIN_PX,
    _check_colour,
    _enlarged,
    _reduced,
    check_microns_per_pixel,
    estimate_microns_per_pixel,
)
from napari_cytosae.cells.found import Cells, measure_cells
from napari_cytosae.cells.nuclei import azure_density
from napari_cytosae.cells.scale import RED_CELL_UM
from napari_cytosae.cells.stain import StainReference, estimate_stain, relative_density
from napari_cytosae.slides import Slide, to_rgb8

# Cells are found where a red cell is so many pixels wide, and drawn at full size.
WORKING_DIAMETER_PX = 30.0
# Where red cells do not stand out, 7.5 µm are taken to be as wide as at 100× on most cameras.
FALLBACK_DIAMETER_PX = 75.0
# Pale centres cover at most this share of a cell; even of very pale cells.
LARGEST_CENTRE = 0.6
ROUND_SOLIDITY = 0.85
# Fewer than three cells, by area in units of the usual one's, enclose no glass.
LARGEST_WITHOUT_GLASS = 1.8
# Mean density of a pale centre where it is paler than the rim, but not glass.
STAINED_CENTRE = 0.2
# Two parts with more area than this, in units of the usual cell's, are more likely two cells.
LARGE_FOR_ONE = 1.25


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
    reference = estimate_stain(_reduced(rgb, max(1.0, max(rgb.shape[:2]) / STAIN_PX)))
    _check_colour(rgb, reference)
    estimated = estimate_microns_per_pixel(rgb, reference)
    pixel_um = estimated or microns_per_pixel
    diameter_px = FALLBACK_DIAMETER_PX if pixel_um is None else RED_CELL_UM / pixel_um
    labels = np.zeros(rgb.shape[:2], np.int32)
    if reference.red_cells_seen:
        small = _reduced(rgb, max(1.0, diameter_px / WORKING_DIAMETER_PX))
        working_px = diameter_px * small.shape[1] / rgb.shape[1]
        relative = relative_density(small, reference)
        found = find_red_cells(relative, working_px, rules)
        labels = _enlarged(found, rgb.shape[:2])
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
    smooth = smooth - _background(smooth[..., 1], diameter_px)[..., np.newaxis]
    matter = _matter(smooth[..., 1], diameter_px)
    parts = _cut_at_necks(matter, diameter_px, rules)
    return _red_cells_only(parts, smooth, diameter_px, rules)


def _background(green: NDArray[np.float32], diameter_px: float) -> NDArray[np.float32]:
    """Fit the density of the glass, which is not 0 everywhere where the lamp is off centre."""
    height, width = green.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y / height - 0.5, x / width - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    background = np.zeros_like(green)
    step = max(1, round(diameter_px / 6))
    sparse = (slice(None, None, step), slice(None, None, step))
    for _ in range(3):
        level = green - background
        # The rims of cells are no glass either.
        stained = ndi.binary_dilation(level > _threshold(level), iterations=step)
        glass = ~stained[sparse]
        if glass.mean() < 0.1:  # a field without glass tells nothing of it
            return background
        fitted = np.linalg.lstsq(terms[sparse][glass], green[sparse][glass], rcond=None)[0]
        background = (terms @ fitted).astype(np.float32)
    return background


def _threshold(green: NDArray[np.float32]) -> float:
    """Give the density that parts red cells from glass."""
    # Dense nuclei and stain would draw Otsu's threshold up; the unit keeps it near the usual half.
    return float(np.clip(threshold_otsu(np.clip(green, -0.5, 1.2)), 0.25, 0.42))


def _matter(green: NDArray[np.float32], diameter_px: float) -> NDArray[np.bool_]:
    """Mark whatever is stained, pale centres included."""
    mask = green > _threshold(green)
    radius = max(1, round(diameter_px / 30))
    # The ring of a pale cell may have a gap, through which its centre would run out.
    gap = 3 * radius
    closed = _closed(mask, gap)
    centres = _pale_centres(mask, green, diameter_px) | _pale_centres(closed, green, diameter_px)
    filled = mask | centres | (closed & ndi.binary_dilation(centres, iterations=gap))
    return np.asarray(ndi.binary_opening(filled, disk(radius)))


def _pale_centres(
    mask: NDArray[np.bool_], green: NDArray[np.float32], diameter_px: float
) -> NDArray[np.bool_]:
    """Mark the holes of cells; glass that several cells enclose is none.

    One cell or two enclose no glass. In a larger clump a hole is a cell's if it bulges, as pale
    centres do (between round cells glass has hollow sides), or is stained itself.
    """
    usual = np.pi / 4 * diameter_px**2
    clumps, _ = ndi.label(mask)
    clump_areas = np.bincount(clumps.ravel()) / usual
    centres = np.zeros_like(mask)
    for region in regionprops(label(~mask, connectivity=1), green):
        y0, x0, y1, x1 = region.bbox
        at_border = y0 == 0 or x0 == 0 or y1 == mask.shape[0] or x1 == mask.shape[1]
        if at_border or region.area_bbox > 1.3 * LARGEST_CENTRE * usual:
            continue
        above = region.coords[0] + (-1, 0)  # coordinates come from top to bottom
        alone = clump_areas[clumps[tuple(above)]] < LARGEST_WITHOUT_GLASS
        hole = ndi.binary_fill_holes(region.image)  # the dot in a target cell's centre is cell
        bulges = hole.sum() > ROUND_SOLIDITY * region.area_convex and hole.sum() > 0.02 * usual
        if alone or bulges or region.intensity_mean > STAINED_CENTRE:
            centres[y0:y1, x0:x1] |= hole
    return centres


def _closed(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, radius, mode="edge")
    closed = ndi.binary_closing(padded, disk(radius))
    return np.asarray(closed[radius:-radius, radius:-radius])


def _cut_at_necks(
    matter: NDArray[np.bool_], diameter_px: float, rules: RedCellRules
) -> NDArray[np.int32]:
    """Cut clumps into cells where they are thinnest.

    A watershed of the distance to the glass starts at every peak; pieces then join again where the
    saddle between two peaks is nearly as high as the lower one, as in a long cell.
    """
    # Beyond the border cells go on; without this, those cut off would be deepest at the border.
    margin = max(2, round(diameter_px / 2))
    padded = np.pad(matter, margin, mode="reflect" if min(matter.shape) > margin else "edge")
    depth = ndi.distance_transform_edt(padded)[margin:-margin, margin:-margin]
    depth = ndi.gaussian_filter(depth, diameter_px / 30)
    window = max(3, round(diameter_px / 6) | 1)
    peaks = (depth == ndi.maximum_filter(depth, window)) & matter
    markers, count = ndi.label(peaks, np.ones((3, 3)))
    if not count:
        return np.zeros(matter.shape, np.int32)
    pieces = np.asarray(watershed(-depth, markers, mask=matter), np.int32)
    return _joined(pieces, depth, diameter_px, rules)


def _joined(
    pieces: NDArray[np.int32],
    depth: NDArray[np.float64],
    diameter_px: float,
    rules: RedCellRules,
) -> NDArray[np.int32]:
    """Join neighbouring pieces with no neck between them, the highest saddle first."""
    count = int(pieces.max())
    height = np.zeros(count + 1)
    np.maximum.at(height, pieces.ravel(), depth.ravel())
    saddles: dict[tuple[int, int], float] = {}
    # Diagonal steps too: a border of one pixel may lie between diagonal neighbours only.
    for one, other in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        a, b = pieces[one], pieces[other]
        differ = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
        level = np.minimum(depth[one], depth[other])[differ]
        for i, j, d in zip(low.tolist(), high.tolist(), level.tolist(), strict=True):
            saddles[i, j] = max(saddles.get((i, j), 0.0), d)
    owner = np.arange(count + 1)
    area = np.bincount(pieces.ravel(), minlength=count + 1) / (np.pi / 4 * diameter_px**2)

    def find(index: int) -> int:
        while owner[index] != index:
            index = int(owner[index])
        return index

    for (i, j), saddle in sorted(saddles.items(), key=lambda item: (-item[1], item[0])):
        a, b = find(i), find(j)
        neck = rules.neck_of_two if area[a] + area[b] > LARGE_FOR_ONE else rules.neck
        if a == b or saddle < neck * min(height[a], height[b]):
            continue
        low, high = min(a, b), max(a, b)
        owner[high] = low
        height[low] = max(height[a], height[b])
        area[low] = area[a] + area[b]
    return np.array([find(index) for index in range(count + 1)], np.int32)[pieces]


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
    stained = mean((relative[..., 1] > _threshold(relative[..., 1])).astype(np.float32))
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
    """Number labels by the first row in which they appear."""
    ids, first = np.unique(labels, return_index=True)
    order = np.argsort(first[ids > 0])
    renumbered = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    renumbered[ids[ids > 0][order]] = np.arange(1, order.size + 1)
    return renumbered[labels]
