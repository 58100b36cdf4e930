"""The lobes of a nucleus, counted at its necks."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction

# Nuclei are looked at with pixels of this size: threads between lobes are thicker.
LOBE_PIXEL_UM = 0.2
# Two parts are two lobes where the neck between them is narrower than this share of the narrower.
NECK = 0.75
# Half the width of the least lobe; what is narrower is a thread or a torn edge.
LEAST_LOBE_UM = 0.7


def count_lobes(nucleus: NDArray[np.bool_], microns_per_pixel: float) -> int:
    """Count the lobes of a nucleus, in one piece or several.

    The half width of a shape, its distance to the outline, has one peak per lobe. A peak is a lobe
    of its own where the way to a higher one leads through a neck.

    Parameters
    ----------
    nucleus : (H, W) bool
    microns_per_pixel : float

    Returns
    -------
    int
        1 or more, 0 for an empty mask.
    """
    if not nucleus.any():
        return 0
    factor = LOBE_PIXEL_UM / microns_per_pixel
    shape = np.pad(nucleus.astype(np.float32), 2)
    if factor > 1:
        height, width = (max(3, round(size / factor)) for size in shape.shape)
        image = Image.fromarray(shape).resize((width, height), Image.Resampling.BOX)
        shape = np.asarray(image)
    pixel_um = max(LOBE_PIXEL_UM, microns_per_pixel)
    mask = ndi.gaussian_filter(shape, 0.25 / pixel_um) > 0.5
    half_width = ndi.distance_transform_edt(mask) * pixel_um
    half_width = ndi.gaussian_filter(half_width, 0.2 / pixel_um)
    half_width[~mask] = 0
    # On a logarithmic scale, a neck's share of a lobe is a depth, which h-maxima ask for.
    height_of = np.log(np.maximum(half_width, 1e-3))
    flooded = reconstruction(height_of + np.log(NECK), height_of, method="dilation")
    peaks = label(local_maxima(flooded) & (half_width > LEAST_LOBE_UM), connectivity=2)
    return max(1, int(peaks.max()))
