"""Cells that a layer of the viewer already has: labels, points or shapes."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels, Layer, Points

from napari_cytosae.cells import Cells, cells_from_boxes, cells_from_labels, cells_from_points
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide


def cells_of_layer(layer: Layer, image: Image, slide: Slide) -> Cells:
    """Take cells from a Labels, Points or Shapes layer, on the pixels of an image layer.

    Labels keep their ids. Points become discs of their size; shapes count by their bounding boxes.

    Raises
    ------
    CellsError
        The layer lies on another grid than the image, or holds nothing.
    """
    size = slide.microns_per_pixel
    if isinstance(layer, Labels):
        _check_grid(layer, image, slide)
        data = layer.data[0] if layer.multiscale else layer.data
        return cells_from_labels(np.asarray(data), microns_per_pixel=size)
    if not len(layer.data):
        raise CellsError(f"“{layer.name}” is empty; mark at least one cell.")
    if isinstance(layer, Points):
        points = _on_image(layer, image, np.asarray(layer.data, float))
        return cells_from_points(points, slide.shape, microns_per_pixel=size)
    boxes = []
    for outline in layer.data:
        corners = _on_image(layer, image, np.asarray(outline, float))
        boxes.append([*corners.min(axis=0), *corners.max(axis=0)])
    return cells_from_boxes(np.array(boxes), slide.shape, microns_per_pixel=size)


def _on_image(layer: Layer, image: Image, points: np.ndarray) -> np.ndarray:
    """Coordinates of a layer, in pixels of the image; planes of a stack fall onto it."""
    worlds = (np.asarray(layer.data_to_world(point))[-2:] for point in points)
    return np.array([np.asarray(image.world_to_data(world))[-2:] for world in worlds])


def _check_grid(layer: Labels, image: Image, slide: Slide) -> None:
    shape = tuple((layer.data[0] if layer.multiscale else layer.data).shape)
    if shape != tuple(slide.shape):
        raise CellsError(
            f"“{layer.name}” is {' × '.join(map(str, shape))} px, the image "
            f"{slide.shape[0]} × {slide.shape[1]}; choose labels of the same image."
        )
    corners = np.array([[0, 0], [slide.shape[0] - 1, slide.shape[1] - 1]], float)
    # A label image may have another scale (none, mostly) and still be meant pixel by pixel; what
    # must not happen is that it is seen in one place and read in another.
    if not np.allclose(_on_image(layer, image, corners), corners, atol=1.0):
        raise CellsError(
            f"“{layer.name}” does not lie on the image: their scale or translation differ. "
            "Give both the same (Layer ▸ Copy/Paste scale)."
        )
