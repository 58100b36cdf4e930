"""Shrink images for measurements that need no fixed grid."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def reduced(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Shrink an image by area averaging; one that is not to shrink comes back as it is."""
    if factor <= 1.0:
        return rgb
    height, width = (max(1, round(size / factor)) for size in rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))
