"""Cut training crops around white cells, red cells, platelets and anywhere else."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hsv
from skimage.transform import resize

from .fields import Field
from .truth import BACKGROUND, RED_CELL, Maps, truth_maps

IMAGE_SIZE = 224
RED_CELL_UM = 7.5
CROP_UM = 25.0
"""Side of the square that the plugin cuts around a cell."""

CROPS_PER_FIELD = {
    "bccd": {"WBC": 4, "RBC": 2, "Platelets": 1, "anywhere": 1},
    "chula": {"RBC": 2, "purple": 1},
    "drawn": {"WBC": 2, "RBC": 4, "Platelets": 1, "anywhere": 2},
}
"""White cells and platelets: of each; the others: of the field."""

MIDDLES = ("white cell", "red cell", "platelet", "background")
"""What can lie in the middle of a crop."""


def cut_square(
    image: NDArray[np.uint8], centre_yx: tuple[float, float], side_px: float
) -> NDArray[np.uint8]:
    """Return the square around a point, reflected at the borders, resized to 224 × 224.

    Resizing is bilinear with antialiasing, as at inference.
    """
    square = _square(image, centre_yx, side_px)
    small = resize(
        square, (IMAGE_SIZE, IMAGE_SIZE), order=1, anti_aliasing=len(square) > IMAGE_SIZE
    )
    return np.asarray(np.rint(small * 255), dtype=np.uint8)


def _square(
    image: NDArray[np.uint8], centre_yx: tuple[float, float], side_px: float
) -> NDArray[np.uint8]:
    """Return the square around a point, reflected at the borders."""
    side = max(16, round(side_px))
    y0, x0 = (round(centre - side / 2) for centre in centre_yx)
    height, width = image.shape[:2]
    before = (max(0, -y0), max(0, -x0))
    after = (max(0, y0 + side - height), max(0, x0 + side - width))
    padded = np.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="symmetric")
    return padded[y0 + before[0] :, x0 + before[1] :][:side, :side]


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


@dataclass(frozen=True, slots=True)
class TaughtCrop:
    """A training crop and what is known of it.

    Attributes
    ----------
    pixels
        (224, 224, 3) uint8.
    coverage
        (256, kinds) float16: the share of each patch that shows a kind; NaN where that is not
        known. See `starter.truth.KINDS`.
    middle
        What lies in the middle of the crop: an index into `MIDDLES`, or −1 where not known.
    """

    pixels: NDArray[np.uint8]
    coverage: NDArray[np.float16]
    middle: int


def taught_crops(field: Field, rng: np.random.Generator) -> Iterator[TaughtCrop]:
    """Yield the training crops of one field.

    Half are cut as the plugin cuts them: 25 µm wide, the cell in the middle. The others are
    off centre by up to a fifth of their side, most of them near 25 µm wide, some much more or much
    less. Half of these have their stain varied.
    """
    image, maps = field.read(), truth_maps(field)
    covered = np.stack([labels == 1 for labels in maps.values()], -1)
    unknown = np.stack([labels == -1 for labels in maps.values()], -1)
    height, width = image.shape[:2]
    plan = CROPS_PER_FIELD["chula" if field.source.startswith("chula") else field.source]
    for kind, count in plan.items():
        for number, centre in enumerate(_centres(field, image, kind, count, rng)):
            side = CROP_UM / RED_CELL_UM * field.red_cell_px
            as_used = number % 2 == 0
            if not as_used:
                side *= np.exp(
                    rng.uniform(-0.25, 0.35) if rng.random() < 0.7 else rng.uniform(-0.8, 0.5)
                )
                side = min(side, 0.95 * min(height, width))
                centre = centre + rng.uniform(-0.2, 0.2, 2) * side
            crop = cut_square(image, (centre[0], centre[1]), side)
            if not as_used and rng.random() < 0.5:
                crop = jitter_stain(crop, rng)
            at = (float(centre[0]), float(centre[1]))
            shown = patch_shares(covered, at, side)
            shown[patch_shares(unknown, at, side) > 0.1] = np.nan
            yield TaughtCrop(crop, shown.astype(np.float16), middle_of(field, maps, at))


def middle_of(field: Field, maps: Maps, centre: tuple[float, float]) -> int:
    """Return what lies at a point: an index into `MIDDLES`, or −1 where not known."""
    for kind, index in (("WBC", 0), ("Platelets", 2)):
        for y0, x0, y1, x1 in field.boxes.get(kind, np.empty((0, 4))):
            if y0 <= centre[0] <= y1 and x0 <= centre[1] <= x1:
                return index
    y, x = (round(value) for value in centre)
    for kind, index in ((RED_CELL, 1), (BACKGROUND, 3)):
        labels = maps[kind]
        if 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1] and labels[y, x] == 1:
            return index
    return -1


def patch_shares(
    masks: NDArray[np.bool_], centre_yx: tuple[float, float], side_px: float
) -> NDArray[np.float64]:
    """Return the share (256, m) of each of a crop's patches that masks (H, W, m) cover."""
    square = _square(masks.astype(np.uint8), centre_yx, side_px)
    edges = np.linspace(0, len(square), 17).round().astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(square, edges, 0, np.float64), edges, 1)
    sizes = np.diff(np.append(edges, len(square)))
    return (sums / (sizes[:, None] * sizes[None])[..., None]).reshape(256, -1)


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
