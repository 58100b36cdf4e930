"""Images of single cells, laid side by side: many are analysed as one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells import Cells, CropGeometry, cells_from_boxes
from napari_cytosae.cells.crops import crop_boxes, read_reflected
from napari_cytosae.cells.sources import whole_image
from napari_cytosae.slides import Slide

MOSAIC_CELLS = 64
"""Images per mosaic: the cells of one shard, so that a mosaic is one piece of work."""


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Single-cell images side by side.

    Parameters
    ----------
    slide
        All of them, each made square by reflection as ``cells="whole"`` does.
    cells
        One cell per image, labels 1 … n in the images' order. Its box is the middle half of the
        image, so that its crop, twice as wide, is the image.
    """

    slide: Slide
    cells: Cells


def read_mosaic(images: Sequence[Path], name: str) -> Mosaic:
    """Read single-cell images into a mosaic.

    Raises
    ------
    ImageError
        Where one cannot be read.
    """
    tiles = [_square(image) for image in images]
    pitch = max(len(tile) for tile in tiles)
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    pixels = np.zeros((rows * pitch, columns * pitch, 3), np.uint8)
    boxes = []
    for place, tile in enumerate(tiles):
        y, x = pitch * (place // columns), pitch * (place % columns)
        side = len(tile)
        pixels[y : y + side, x : x + side] = tile
        quarter = side // 4
        boxes.append((y + quarter, x + quarter, y + quarter + side // 2, x + quarter + side // 2))
    slide = Slide.from_array(pixels, name=name)
    cells = cells_from_boxes(boxes, slide.shape, name=name)
    cells.table["image"] = [image.name for image in images]
    cells.table["source"] = "whole"
    return Mosaic(slide, cells)


def _square(image: Path) -> NDArray[np.uint8]:
    """Read an image, made square by reflection, and its side a multiple of 4."""
    with Slide.open(image) as slide:
        whole = whole_image(slide.shape).table
        box = crop_boxes(whole, CropGeometry(whole=True), None, slide.shape)[0]
        # A whole number of pixels in the middle half, so that nothing is resampled on the way.
        box[2:] += -(box[2] - box[0]) % 4
        return read_reflected(slide, box)
