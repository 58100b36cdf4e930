"""Cut training crops around white cells, red cells, platelets and anywhere else."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hsv
from skimage.transform import resize

from .fields import Field

IMAGE_SIZE = 224
RED_CELL_UM = 7.5
CROP_UM = 25.0
"""Side of the square that the plugin cuts around a cell."""

CROPS_PER_BCCD_FIELD = {"WBC": 5, "RBC": 2, "Platelets": 1, "anywhere": 2}
CROPS_PER_CHULA_FIELD = {"RBC": 3, "purple": 1, "anywhere": 2}


def cut_square(
    image: NDArray[np.uint8], centre_yx: tuple[float, float], side_px: float
) -> NDArray[np.uint8]:
    """Return the square around a point, reflected at the borders, resized to 224 × 224.

    Resizing is bilinear with antialiasing, as at inference.
    """
    side = max(16, round(side_px))
    y0, x0 = (round(centre - side / 2) for centre in centre_yx)
    height, width = image.shape[:2]
    before = (max(0, -y0), max(0, -x0))
    after = (max(0, y0 + side - height), max(0, x0 + side - width))
    padded = np.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="symmetric")
    square = padded[y0 + before[0] :, x0 + before[1] :][:side, :side]
    small = resize(square, (IMAGE_SIZE, IMAGE_SIZE), order=1, anti_aliasing=side > IMAGE_SIZE)
    return np.asarray(np.rint(small * 255), dtype=np.uint8)


def jitter_stain(
    crop: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Vary stain density and tint (optical density), lamp brightness and white balance."""
    light = np.exp(strength * (rng.normal(0, 0.06) + rng.normal(0, 0.05, 3)))
    stain = np.exp(strength * (rng.normal(0, 0.12) + rng.normal(0, 0.06, 3)))
    background = np.percentile(crop, 95, axis=(0, 1)) / 255
    density = -np.log(np.clip(crop / 255, 1 / 255, 1) / np.maximum(background, 0.1))
    varied = np.exp(-density * stain) * background * light
    return np.asarray(np.rint(np.clip(varied, 0, 1) * 255), dtype=np.uint8)


def random_crops(field: Field, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield the training crops of one field, 224 × 224 × 3.

    Most are near 25 µm wide and off centre by up to a fifth of their side; some show much more
    or much less. Half of them have their stain varied.
    """
    image = field.read()
    height, width = image.shape[:2]
    plan = CROPS_PER_BCCD_FIELD if field.source == "bccd" else CROPS_PER_CHULA_FIELD
    for kind, count in plan.items():
        for centre in _centres(field, image, kind, count, rng):
            side = CROP_UM / RED_CELL_UM * field.red_cell_px
            side *= np.exp(
                rng.uniform(-0.25, 0.35) if rng.random() < 0.7 else rng.uniform(-0.8, 0.5)
            )
            side = min(side, 0.95 * min(height, width))
            shift = rng.uniform(-0.2, 0.2, 2) * side
            crop = cut_square(image, (centre[0] + shift[0], centre[1] + shift[1]), side)
            yield jitter_stain(crop, rng) if rng.random() < 0.5 else crop


def _centres(
    field: Field, image: NDArray[np.uint8], kind: str, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pick centres (n, 2) y, x for one kind of crop."""
    size = np.array(image.shape[:2], dtype=float)
    if kind == "anywhere":
        return rng.uniform(0, 1, (count, 2)) * size
    if kind == "purple":
        # Chula marks red cells only; its few white cells and platelets are the most saturated.
        saturation = rgb2hsv(image[::8, ::8])[..., 1]
        spots = np.argwhere(saturation >= np.quantile(saturation, 0.995)) * 8.0
        return spots[rng.integers(len(spots), size=count)]
    boxes = field.boxes.get(kind, np.empty((0, 4)))
    if len(boxes) == 0:
        return rng.uniform(0, 1, (count, 2)) * size if kind == "RBC" else np.empty((0, 2))
    # Every white cell and platelet is shown `count` times, red cells are too many for that.
    picks = (
        rng.integers(len(boxes), size=count)
        if kind == "RBC"
        else np.repeat(np.arange(len(boxes)), count)
    )
    chosen = boxes[picks]
    return np.column_stack([chosen[:, [0, 2]].mean(1), chosen[:, [1, 3]].mean(1)])
