"""What a patch shows, from colour, BCCD's boxes, and what the drawn smears know of themselves."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import gaussian
from skimage.morphology import remove_small_holes, remove_small_objects

from napari_cytosae.slides.sample import SampleSmear

from .fields import Field

NUCLEUS, CYTOPLASM, RED_CELL = "nucleus", "white-cell cytoplasm", "red cell"
PLATELET, BACKGROUND = "platelet", "background"
KINDS = (NUCLEUS, CYTOPLASM, RED_CELL, PLATELET, BACKGROUND)

MOSTLY = 0.5
"""A patch shows what covers more than this share of it."""

HARDLY = 0.05
"""A patch counts among the rest where less than this share is covered; between: not scored."""

HAEMOGLOBIN = 0.55
"""Red cells absorb at least this share of their green absorption in the blue; cytoplasm less."""

Maps = dict[str, NDArray[np.int8]]


def truth_maps(field: Field) -> Maps:
    """Label the pixels of a field: 1 is the kind, 0 is the rest, −1 is not known.

    Colours are optical densities against the field's own background. Purple (dense in red light)
    inside a white cell's box is nucleus; purple elsewhere may be a cell that nobody marked, and is
    not known. Cytoplasm lies in the ellipse that fills a white cell's box, is stained, is not
    purple, and absorbs too little blue for haemoglobin. Of what else is stained inside these boxes
    nothing is known (a neighbour, or granules); outside, it is red cells, but for platelets.
    """
    drawn = field.drawn()
    image = field.read() if drawn is None else drawn.image
    scale = field.red_cell_px / 100
    smooth = gaussian(image.astype(float), max(0.5, scale), channel_axis=-1, preserve_range=True)
    bright = smooth.sum(-1) > np.quantile(smooth.sum(-1), 0.8)
    glass = np.median(smooth[bright], axis=0)
    density = -np.log(np.clip(smooth, 1, None) / glass)
    red, green, blue = np.moveaxis(density, -1, 0)
    area = scale**2
    stained = remove_small_holes(green > 0.13, max_size=round(3000 * area))
    if drawn is not None:
        return _drawn_maps(drawn, stained)
    purple = (red > 0.2) & (green > 0.45)
    if field.source.startswith("chula"):
        # Chula's stain is darker, and nearly all that is stained is red cells: purple is far more.
        purple = (red > 2 * np.median(red[stained])) & (green > 1.3 * np.median(green[stained]))
    purple = remove_small_objects(purple, max_size=max(1, round(60 * area)))
    shape = purple.shape
    margin = round(6 * scale)
    white = _inside(field.boxes.get("WBC", _NONE), shape, margin)
    platelet = _inside(field.boxes.get("Platelets", _NONE), shape, margin)
    cell = _ellipses(field.boxes.get("WBC", _NONE), shape)
    close = ndimage.binary_dilation(stained, iterations=max(1, round(3 * scale)))
    # Purple without a box: a white cell, a platelet or a speck that nobody marked.
    stray = purple & ~white & ~platelet
    around = _near(stray, 40 * scale)
    pale = stained & ~purple
    # Single pixels are noise: what most of a neighbourhood is counts.
    azure = pale & (ndimage.uniform_filter(np.float32(blue < HAEMOGLOBIN * green), 7) > 0.5)
    return {
        NUCLEUS: _labels(purple & white, purple & ~white & ~platelet),
        CYTOPLASM: _labels(azure & cell & (green > 0.1), (pale & white) | (around & stained)),
        RED_CELL: _labels(pale & ~platelet & ~white & ~_near(stray, 12 * scale), pale),
        PLATELET: _labels(
            platelet & ~white & stained & (purple | azure), (platelet & stained) | around & ~pale
        ),
        BACKGROUND: _labels(~close, close & ~stained),
    }


def _drawn_maps(drawn: SampleSmear, stained: NDArray[np.bool_]) -> Maps:
    """Label a drawn smear: white cells exactly, the rest by stain and the platelets' places."""
    white = drawn.labels > 0
    nucleus = drawn.nuclei > 0
    platelet = np.zeros(white.shape, dtype=bool)
    rows, columns = np.indices(white.shape, sparse=True)
    for cell in drawn.others[drawn.others.kind == "platelet"].itertuples():
        apart = np.hypot(rows - cell.centre_y, columns - cell.centre_x)
        platelet |= apart < 1.4 * cell.radius_px
    close = ndimage.binary_dilation(stained | white, iterations=3)
    rest = stained & ~white
    return {
        NUCLEUS: _labels(nucleus, np.zeros_like(nucleus)),
        CYTOPLASM: _labels(white & ~nucleus, np.zeros_like(nucleus)),
        RED_CELL: _labels(rest & ~platelet & ~_near(white, 4), rest),
        PLATELET: _labels(rest & platelet, platelet),
        BACKGROUND: _labels(~close, close & ~stained & ~white),
    }


_NONE = np.empty((0, 4))


def _labels(yes: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return 1 where `yes`, −1 where else `unknown`, 0 elsewhere."""
    return np.where(yes, 1, np.where(unknown, -1, 0)).astype(np.int8)


def _near(mask: NDArray[np.bool_], distance_px: float) -> NDArray[np.bool_]:
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= distance_px)


def _inside(boxes: NDArray[np.float64], shape: tuple[int, int], margin: int) -> NDArray[np.bool_]:
    """Return the pixels inside any of the boxes."""
    mask = np.zeros(shape, dtype=bool)
    for y0, x0, y1, x1 in boxes.astype(int):
        mask[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
    return mask


def _ellipses(boxes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels inside the ellipses that fill the boxes.

    A box that ends at the image's border holds part of a cell, whose outline is not known there:
    it is continued beyond the border as far as its other side suggests.
    """
    mask = np.zeros(shape, dtype=bool)
    rows, columns = np.indices(shape, sparse=True)
    for box in boxes:
        y0, x0, y1, x1 = box
        long = max(y1 - y0, x1 - x0)
        if box[0] <= 2 and box[2] < shape[0] - 2:
            y0 = min(y0, y1 - long)
        elif box[2] >= shape[0] - 2:
            y1 = max(y1, y0 + long)
        if box[1] <= 2 and box[3] < shape[1] - 2:
            x0 = min(x0, x1 - long)
        elif box[3] >= shape[1] - 2:
            x1 = max(x1, x0 + long)
        apart = ((rows - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2
        mask |= apart + ((columns - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 <= 1
    return mask
