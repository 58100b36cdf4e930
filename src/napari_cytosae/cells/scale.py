"""The size of a pixel, read off the red cells: the ruler that every blood smear brings along."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

# Usual diameter of red cells on a dried smear, measured at the steepest part of their rim.
RED_CELL_UM = 7.5
# Images are reduced to at most so many pixels a side before red cells are looked for.
SIDE = 320
# The smallest radius that is looked for, in pixels of the image that is searched.
SMALLEST_RADIUS_PX = 5.0
# Share of a circle that must be seen; overlapping red cells show about half of theirs.
MINIMUM_ARC = 0.4
# Just inside its rim a red cell is never paler than this, in units of the usual density; bays of
# a clump, which bend like a circle too, are.
FILLED = 0.35
FILLED_SHARE = 0.9


def red_cell_diameter(green: NDArray[np.float32], elsewhere: NDArray[np.bool_]) -> float | None:
    """Measure the usual diameter of red cells by a gradient-directed circle transform.

    Every edge pixel votes for the centres that lie along its gradient on the darker side, so the
    inner rim of a pale centre finds no partner. Radii are weighed by the arcs that were seen.

    Parameters
    ----------
    green : (H, W) float32
        Density in green in units of the red cells', from an image of some 320 pixels a side.
    elsewhere : (H, W) bool
        True where no red cell is looked for: nuclei and their surroundings.

    Returns
    -------
    float or None
        Diameter in pixels; None where no red cell stands out.
    """
    height, width = green.shape
    if min(height, width) < 6 * SMALLEST_RADIUS_PX:
        return None
    smooth = ndi.gaussian_filter(np.clip(green, 0.0, 1.2), 1.0)
    gy, gx = ndi.sobel(smooth, 0) / 8, ndi.sobel(smooth, 1) / 8
    slope = np.hypot(gy, gx)
    edge = (slope > 0.06) & (slope >= 0.9 * ndi.maximum_filter(slope, 3)) & ~elsewhere
    y, x = np.nonzero(edge)
    uy, ux = gy[edge] / slope[edge], gx[edge] / slope[edge]
    radii = np.geomspace(SMALLEST_RADIUS_PX, 0.35 * min(height, width), 28)
    circles = np.concatenate(
        [_circles(y + uy * r, x + ux * r, float(r), (height, width)) for r in radii]
    )
    solid = (smooth > FILLED) & ~elsewhere
    circles = _without_overlaps(circles[_filled(circles, solid) >= FILLED_SHARE])
    arc, radius = circles[:, 0], circles[:, 1]
    # One whole circle or a few half ones; less is chance.
    weight = np.minimum(arc, 1.0) ** 2 * radius
    if weight.size == 0:
        return None
    # The mode, not the mean: a clump now and then passes for one large circle.
    spread = np.log(radii[1] / radii[0]) * 1.3
    votes = np.exp(-0.5 * (np.log(radii[:, None] / radius) / spread) ** 2) @ weight
    best = radii[int(np.argmax(votes))]
    near = np.abs(np.log(radius / best)) < 2 * spread
    if np.minimum(arc[near], 1.0).sum() < 1.2:
        return None
    diameter = 2.0 * float(np.exp(np.average(np.log(radius[near]), weights=weight[near])))
    # The ends of elliptocytes are circles too, narrower than the cells.
    return max(diameter, _diameter_of_lone_cells(solid) or 0.0)


def _diameter_of_lone_cells(solid: NDArray[np.bool_]) -> float | None:
    """Give the median diameter, by area, of ellipses that stand alone; None below eight."""
    parts, count = ndi.label(ndi.binary_fill_holes(solid))
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    y, x = np.nonzero(parts)
    part = parts[y, x]
    area = np.maximum(np.bincount(part, minlength=count + 1), 1).astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(part, values, minlength=count + 1) / area

    dy, dx = y - mean(y.astype(np.float64))[part], x - mean(x.astype(np.float64))[part]
    determinant = mean(dy * dy) * mean(dx * dx) - mean(dy * dx) ** 2
    # An ellipse fills the ellipse of its own moments; clumps and crescents do not.
    filling = area / (4 * np.pi * np.sqrt(np.maximum(determinant, 1e-9)))
    lone = (filling > 0.96) & (area > np.pi * SMALLEST_RADIUS_PX**2)
    lone[0] = False
    lone[edge] = False
    if np.count_nonzero(lone) < 8:
        return None
    return float(np.sqrt(4 / np.pi * np.median(area[lone])))


def _circles(
    cy: NDArray[np.float64], cx: NDArray[np.float64], radius: float, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Collect votes for centres on a grid as coarse as the radius allows: arc, radius, y, x."""
    bin_px = max(1.0, 0.14 * radius)
    margin = radius / 2  # of a cell cut by the border, the centre may lie outside
    rows = int((shape[0] + 2 * margin) / bin_px) + 3
    columns = int((shape[1] + 2 * margin) / bin_px) + 3
    iy = ((cy + margin) / bin_px).astype(np.int64) + 1
    ix = ((cx + margin) / bin_px).astype(np.int64) + 1
    inside = (iy > 0) & (iy < rows - 1) & (ix > 0) & (ix < columns - 1)
    votes = np.bincount(iy[inside] * columns + ix[inside], minlength=rows * columns)
    votes = votes.reshape(rows, columns).astype(np.float64)
    arc = ndi.uniform_filter(votes, 3, mode="constant") * 9 / (2 * np.pi * radius)
    r, c = np.nonzero((arc >= MINIMUM_ARC) & (arc == ndi.maximum_filter(arc, 3)))
    centres = [(r - 0.5) * bin_px - margin, (c - 0.5) * bin_px - margin]
    return np.stack([arc[r, c], np.full(r.size, radius), *centres], axis=1)


def _filled(circles: NDArray[np.float64], solid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the share of each circle's ring, just inside the rim, that is red cell."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    y = np.rint(circles[:, 2:3] + 0.85 * circles[:, 1:2] * np.sin(angle)).astype(np.int64)
    x = np.rint(circles[:, 3:4] + 0.85 * circles[:, 1:2] * np.cos(angle)).astype(np.int64)
    inside = (y >= 0) & (y < solid.shape[0]) & (x >= 0) & (x < solid.shape[1])
    hits = solid[np.where(inside, y, 0), np.where(inside, x, 0)] & inside
    return np.asarray(hits.sum(axis=1) / np.maximum(inside.sum(axis=1), 1))


def _without_overlaps(circles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep of circles with nearly the same place the one that is seen best."""
    order = np.argsort(-circles[:, 0] * np.sqrt(circles[:, 1]))
    left = circles[order]
    kept = []
    while len(left):
        best = left[0]
        kept.append(best)
        distance = np.hypot(left[:, 2] - best[2], left[:, 3] - best[3])
        left = left[distance > 0.9 * np.maximum(left[:, 1], best[1])]
    return np.array(kept).reshape(-1, 4)
