"""Concept maps painted over crops, and slides brought to the size of a picture."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.export.palette import rgb
from napari_cytosae.slides import Slide

# Opacity where a concept is as strong as anywhere in the run; the cell stays visible beneath.
FULL_OPACITY = 0.85
# Lighter than the photograph, so that dark nuclei do not swallow the hues.
_GREY_CONTRAST = 0.75
# Source pixels that one strip of a large slide may hold while it is scaled down.
_STRIP_PIXELS = 20_000_000


def smooth_map(concept_map: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Bring a patch map to (side, side) px, bicubic between the patches' centres, never negative.

    Parameters
    ----------
    concept_map
        (16, 16) activations, one per patch.
    side
        Side of the result, in px.
    """
    image = Image.fromarray(np.ascontiguousarray(concept_map, np.float32))
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(resized, np.float32), np.float32(0))


def resize_crop(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Bring an (S, S, 3) crop to (side, side, 3) px."""
    resized = Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def heat_over(
    crop: NDArray[np.uint8], concept_map: NDArray[np.float32], top: float, hue: str
) -> NDArray[np.uint8]:
    """Paint a concept map over a crop in one hue.

    Zero is clear. The hue covers the crop, as light added to a bright field would vanish into its
    white, and the crop is shown in grey, so that no stain can be taken for heat.

    Parameters
    ----------
    crop
        (S, S, 3) RGB pixels.
    concept_map
        (16, 16) activations, one per patch of the crop.
    top
        Activation that is painted in full; the same for all cells of a run.
    hue
        Colour as ``#rrggbb``.

    Returns
    -------
    NDArray
        (S, S, 3) uint8.
    """
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    grey = 255 - _GREY_CONTRAST * (255 - grey)
    strength = np.clip(smooth_map(concept_map, len(crop)) / max(top, 1e-12), 0, 1)
    # The square root shows weak patches too: activations fall off steeply from the strongest one.
    alpha = FULL_OPACITY * np.sqrt(strength)[..., None]
    color = 255 * np.array(rgb(hue), np.float32)
    blended: NDArray[np.float32] = (1 - alpha) * grey[..., None] + alpha * color
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def picture_scale(shape: tuple[int, int], shortest: int = 1600, longest: int = 3072) -> float:
    """Factor that brings an image's longer side between `shortest` and `longest` px.

    Small fields grow at most three times: beyond that there is nothing more to see.
    """
    side = max(shape)
    if side > longest:
        return longest / side
    return min(max(shortest / side, 1.0), 3.0)


def scaled_slide(slide: Slide, scale: float) -> NDArray[np.uint8]:
    """Read a whole slide at `scale` picture pixels per level-0 pixel, (h, w, 3) uint8.

    Reads the coarsest level that is still finer than the picture, strip by strip, so that memory
    stays bounded whatever the slide's size.
    """
    height, width = (max(1, round(side * scale)) for side in slide.shape)
    level = max(
        (n for n, shape in enumerate(slide.level_shapes) if shape[0] >= height),
        default=0,
    )
    level_height, level_width = slide.level_shapes[level]
    if scale >= 1:
        whole = Image.fromarray(slide.read_region(0, 0, level_height, level_width, level))
        return np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))
    factor = level_height / height
    rows = max(1, int(_STRIP_PIXELS / (factor * level_width)))
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = math.floor(top * factor), min(math.ceil(bottom * factor), level_height)
        strip = Image.fromarray(slide.read_region(first, 0, last - first, level_width, level))
        box = (0, top * factor - first, level_width, min(bottom * factor, last) - first)
        picture[top:bottom] = np.asarray(
            strip.resize((width, bottom - top), Image.Resampling.BOX, box=box)
        )
    return picture
