"""What of a field may be red cell, and where its clumps are cut into cells."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import disk
from skimage.segmentation import watershed

# Pale centres cover at most this share of a cell; even of very pale cells.
LARGEST_CENTRE = 0.6
ROUND_SOLIDITY = 0.85
# Fewer than three cells, by area in units of the usual one's, enclose no glass.
LARGEST_WITHOUT_GLASS = 1.8
# Mean density of a pale centre where it is paler than the rim, but not glass.
STAINED_CENTRE = 0.2
# Two parts with more area than this, in units of the usual cell's, are more likely two cells.
LARGE_FOR_ONE = 1.25


def glass_density(green: NDArray[np.float32], diameter_px: float) -> NDArray[np.float32]:
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
        stained = ndi.binary_dilation(level > stain_threshold(level), iterations=step)
        glass = ~stained[sparse]
        if glass.mean() < 0.1:  # a field without glass tells nothing of it
            return background
        fitted = np.linalg.lstsq(terms[sparse][glass], green[sparse][glass], rcond=None)[0]
        background = (terms @ fitted).astype(np.float32)
    return background


def stain_threshold(green: NDArray[np.float32]) -> float:
    """Give the density that parts red cells from glass."""
    # Dense nuclei and stain would draw Otsu's threshold up; the unit keeps it near the usual half.
    return float(np.clip(threshold_otsu(np.clip(green, -0.5, 1.2)), 0.25, 0.42))


def red_cell_matter(green: NDArray[np.float32], diameter_px: float) -> NDArray[np.bool_]:
    """Mark whatever is stained, pale centres included."""
    mask = green > stain_threshold(green)
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


def cut_at_necks(
    matter: NDArray[np.bool_], diameter_px: float, necks: tuple[float, float]
) -> NDArray[np.int32]:
    """Cut clumps into cells where they are thinnest.

    A watershed of the distance to the glass starts at every peak; pieces then join again where the
    saddle between two peaks is nearly as high as the lower one, as in a long cell.

    Parameters
    ----------
    matter : (H, W) bool
        From :func:`red_cell_matter`.
    diameter_px : float
        Usual diameter of a red cell.
    necks : (float, float)
        `RedCellRules.neck` and `RedCellRules.neck_of_two`.

    Returns
    -------
    (H, W) int32
        One id per cell, 0 for glass; ids have gaps.
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
    return _joined(pieces, depth, diameter_px, necks)


def _joined(
    pieces: NDArray[np.int32],
    depth: NDArray[np.float64],
    diameter_px: float,
    necks: tuple[float, float],
) -> NDArray[np.int32]:
    """Join neighbouring pieces with no neck between them, the highest saddle first."""
    count = int(pieces.max())
    height = np.zeros(count + 1)
    np.maximum.at(height, pieces.ravel(), depth.ravel())
    saddles: dict[tuple[int, int], float] = {}
    for one, other in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        here, there = pieces[one], pieces[other]
        differ = (here != there) & (here > 0) & (there > 0)
        lower, higher = np.minimum(here, there)[differ], np.maximum(here, there)[differ]
        level = np.minimum(depth[one], depth[other])[differ]
        for i, j, d in zip(lower.tolist(), higher.tolist(), level.tolist(), strict=True):
            saddles[i, j] = max(saddles.get((i, j), 0.0), d)
    owner = np.arange(count + 1)
    area = np.bincount(pieces.ravel(), minlength=count + 1) / (np.pi / 4 * diameter_px**2)

    def find(index: int) -> int:
        while owner[index] != index:
            index = int(owner[index])
        return index

    for (i, j), saddle in sorted(saddles.items(), key=lambda item: (-item[1], item[0])):
        a, b = find(i), find(j)
        neck = necks[int(area[a] + area[b] > LARGE_FOR_ONE)]
        if a == b or saddle < neck * min(height[a], height[b]):
            continue
        owner[b] = a
        height[a] = max(height[a], height[b])
        area[a] += area[b]
    return np.array([find(index) for index in range(count + 1)], np.int32)[pieces]
