"""What of an image is in view, and the part of it that a person marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cytosae.cells import Region
from napari_cytosae.errors import CellsError

if TYPE_CHECKING:
    from napari.layers import Image, Shapes

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in level-0 px, half-open."""


@dataclass(slots=True)
class ViewBox:
    """What is in view, written by the window's thread and read by those that work.

    They may not ask a layer themselves.
    """

    box: Box | None = None

    def __call__(self) -> Box | None:
        """Tell the box, as it was when the window last looked."""
        return self.box


def box_in_view(layer: Image) -> Box | None:
    """Give the box of an image's pixels that the canvas shows; None where it shows none."""
    corners = np.asarray(layer.corner_pixels, float)[:, -2:]
    shape = np.asarray(layer.data[0].shape if layer.multiscale else layer.data.shape)[:2]
    step = np.ones(2)
    if layer.multiscale:
        step = np.asarray(layer.downsample_factors, float)[layer.data_level][:2]
    low = np.clip(np.floor(corners[0] * step), 0, shape).astype(int)
    high = np.clip(np.ceil((corners[1] + 1) * step), 0, shape).astype(int)
    if (high - low).min() <= 1:
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def region_in_view(layer: Image) -> Region:
    """Make a region of what the canvas shows of an image.

    Raises
    ------
    CellsError
        The image is out of view.
    """
    box = box_in_view(layer)
    if box is None:
        raise CellsError(f"“{layer.name}” is not in view; move it into view, or take all of it.")
    return Region.of_box(*box)


def region_of_shapes(shapes: Shapes, image: Image) -> Region:
    """Make a region of the closed shapes of a layer, on the pixels of an image layer.

    Raises
    ------
    CellsError
        There is no closed shape.
    """
    polygons = []
    for outline, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind in ("line", "path"):
            continue
        corners = np.asarray(outline, float)
        if kind == "ellipse":
            # napari keeps an ellipse as the corners of the box around it.
            middle = corners.mean(axis=0)
            a, b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
            angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, np.newaxis]
            corners = middle + np.cos(angles) * a + np.sin(angles) * b
        worlds = [np.asarray(shapes.data_to_world(corner))[-2:] for corner in corners]
        polygons.append([np.asarray(image.world_to_data(world))[-2:] for world in worlds])
    if not polygons:
        raise CellsError(
            f"“{shapes.name}” holds no closed shape; draw a rectangle, an ellipse or a polygon "
            "around the cells that are wanted."
        )
    return Region.of(polygons)
