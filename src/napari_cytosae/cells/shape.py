"""Sizes and outlines of a mask, in numbers that do not depend on how finely it was photographed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from skimage.measure import find_contours, regionprops_table

# Outlines are measured on pixels of this size: a finer one would follow the noise of the camera
# around the cell and call it rough.
OUTLINE_UM = 0.2
_PROPERTIES = ("area", "area_convex", "axis_major_length", "axis_minor_length", "centroid")


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of one mask.

    Attributes
    ----------
    area_px : float
        Pixels of the mask as it was given.
    centre : (float, float)
        y and x in px of the mask as it was given.
    roundness : float
        4πA / P², 1 for a disc.
    solidity : float
        Share of its convex hull that it fills.
    elongation : float
        Longer over shorter axis of the ellipse with the same moments.
    """

    area_px: float
    centre: tuple[float, float]
    roundness: float
    solidity: float
    elongation: float


def measure_shape(mask: NDArray[np.bool_], microns_per_pixel: float) -> Shape | None:
    """Measure a mask, whose parts count as one; None where it is empty.

    Parameters
    ----------
    mask : (H, W) bool
    microns_per_pixel : float
    """
    area_px = int(np.count_nonzero(mask))
    if not area_px:
        return None
    coarse, zoom = coarsened(mask, OUTLINE_UM / microns_per_pixel)
    if not coarse.any():  # a speck
        coarse, zoom = mask, (1.0, 1.0)
    found = regionprops_table(coarse.astype(np.uint8), properties=_PROPERTIES)
    area, perimeter = float(found["area"][0]), _perimeter(coarse)
    minor = float(found["axis_minor_length"][0])
    return Shape(
        float(area_px),
        (
            (float(found["centroid-0"][0]) + 0.5) * zoom[0] - 0.5,
            (float(found["centroid-1"][0]) + 0.5) * zoom[1] - 0.5,
        ),
        min(4 * np.pi * area / perimeter**2, 1.0) if perimeter else np.nan,
        area / float(found["area_convex"][0]),
        float(found["axis_major_length"][0]) / minor if minor else np.nan,
    )


def _perimeter(mask: NDArray[np.bool_]) -> float:
    """Measure the outline in px, the steps of the pixels smoothed away: within 1 % for discs."""
    smooth = ndi.gaussian_filter(np.pad(mask, 3).astype(np.float32), 1.0)
    contours = find_contours(smooth, 0.5)
    return float(sum(np.hypot(*np.diff(contour, axis=0).T).sum() for contour in contours))


def coarsened(
    mask: NDArray[np.bool_], factor: float
) -> tuple[NDArray[np.bool_], tuple[float, float]]:
    """Shrink a mask by area averaging; also give the old pixels per new one along y and x."""
    if factor <= 1.0:
        return mask, (1.0, 1.0)
    height, width = (max(1, round(size / factor)) for size in mask.shape)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    small = np.asarray(image.resize((width, height), Image.Resampling.BOX)) > 127
    return small, (mask.shape[0] / height, mask.shape[1] / width)
