"""What a patch shows, from colour and BCCD's boxes: nucleus, red cell, background."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import gaussian
from skimage.morphology import remove_small_holes, remove_small_objects

from .fields import Field

NUCLEUS, RED_CELL, BACKGROUND = "nucleus", "red cell", "background"
KINDS = (NUCLEUS, RED_CELL, BACKGROUND)

MOSTLY = 0.5
"""A patch shows what covers more than this share of it."""

HARDLY = 0.05
"""A patch counts among the rest where less than this share is covered; between: not scored."""


def truth_maps(field: Field) -> dict[str, NDArray[np.int8]]:
    """Label the pixels of a BCCD field: 1 is the kind, 0 is the rest, −1 is not known.

    Colours are optical densities against the field's own background. Purple (dense in red light)
    inside a white cell's box is nucleus; purple outside every box of a white cell or platelet may
    be a cell that BCCD leaves unlabelled, and is not known. Of what is stained and not purple,
    nothing is known inside white cells' boxes (cytoplasm or a neighbour), the rest is red cells.
    """
    image = field.read().astype(float)
    smooth = gaussian(image, 1.0, channel_axis=-1, preserve_range=True)
    bright = smooth.sum(-1) > np.quantile(smooth.sum(-1), 0.8)
    background = np.median(smooth[bright], axis=0)
    density = -np.log(np.clip(smooth, 1, None) / background)
    purple = (density[..., 0] > 0.2) & (density[..., 1] > 0.45)
    purple = remove_small_objects(purple, max_size=60)
    stained = remove_small_holes(density[..., 1] > 0.13, max_size=3000)
    white = _inside(field.boxes["WBC"], image.shape[:2], margin=6)
    platelet = _inside(field.boxes["Platelets"], image.shape[:2], margin=6)
    near_stain = ndimage.binary_dilation(stained, iterations=3)
    nucleus = np.where(purple & white, 1, np.where(purple & ~platelet, -1, 0))
    red = np.where(
        stained & ~purple & ~platelet & ~white, 1, np.where(stained & ~purple & white, -1, 0)
    )
    plain = np.where(~near_stain, 1, np.where(near_stain & ~stained, -1, 0))
    return {
        NUCLEUS: nucleus.astype(np.int8),
        RED_CELL: red.astype(np.int8),
        BACKGROUND: plain.astype(np.int8),
    }


def _inside(boxes: NDArray[np.float64], shape: tuple[int, int], margin: int) -> NDArray[np.bool_]:
    """Return the pixels inside any of the boxes."""
    mask = np.zeros(shape, dtype=bool)
    for y0, x0, y1, x1 in boxes.astype(int):
        mask[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
    return mask
