"""Cells that a user already has: label images, points, boxes, or the image as one cell."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.found import Cells, cell_table, measure_cells
from napari_cytosae.cells.outline import Outline
from napari_cytosae.cells.painting import paint_cells
from napari_cytosae.errors import CellsError

# A cell of unknown size is drawn as a disc that fills half of the usual crop of 25 µm …
POINT_UM = 12.5
# … or, where the pixel size is unknown too, as large as that is at 100× (about 0.1 µm per pixel).
POINT_PX = 128.0


def cells_from_labels(
    labels: ArrayLike,
    *,
    shape: tuple[int, int] | None = None,
    microns_per_pixel: float | None = None,
    name: str = "The label image",
) -> Cells:
    """Take cells from a label image: cellpose, StarDist, QuPath, a napari Labels layer.

    Parameters
    ----------
    labels : (H, W) array
        0 where there is no cell. Ids are kept as they are. Whole numbers in floats are fine. A
        mask (bool, or 8-bit with 0 and 255 only) has no ids: its connected parts get 1 … n.
    shape : (int, int), optional
        What the image's height and width should be.
    microns_per_pixel : float, optional
    name : str
        What to call the label image in an error.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        If the array is no label image, has another shape than the image, or holds no cell.
    """
    array = np.asarray(labels)
    if array.ndim > 2:
        array = array.reshape([size for size in array.shape if size != 1] or [1])
    if array.ndim != 2:
        raise CellsError(
            f"{name} has the shape {np.shape(labels)}; a label image has two dimensions, height "
            "and width, and one number per pixel."
        )
    if shape is not None and array.shape != tuple(shape):
        raise CellsError(
            f"{name} is {array.shape[0]} × {array.shape[1]} px, but the image is "
            f"{shape[0]} × {shape[1]} px (height × width); give labels of this very image."
        )
    ids = _whole_numbers(array, name)
    if not ids.any():
        raise CellsError(f"{name} holds no cell: every pixel is 0.")
    table = measure_cells(ids, None, "labels")
    return Cells(ids, None, table, microns_per_pixel)


def cells_from_points(
    points_yx: ArrayLike,
    shape: tuple[int, int],
    diameter_px: float | ArrayLike | None = None,
    *,
    microns_per_pixel: float | None = None,
    labels: Sequence[int] | None = None,
    name: str = "Points",
    rows: Sequence[str] | None = None,
) -> Cells:
    """Take cells from their centres; each becomes a disc.

    Parameters
    ----------
    points_yx : (n, 2) array
        Centres in pixels; the centre of the top left pixel is 0, 0.
    shape : (int, int)
        Height and width of the image.
    diameter_px : float or (n,) array, optional
        Without it 12.5 µm where the pixel size is known, else 128 px.
    microns_per_pixel : float, optional
    labels : sequence of int, optional
        Ids; without them 1 … n.
    name, rows : str, sequence of str
        What to call the source and its rows in an error.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        If there is no point, or one is outside the image, not a number, or there twice.
    """
    points = _numbers(points_yx, 2, name, "y and x")
    rows = rows or [f"point {n}" for n in range(1, len(points) + 1)]
    if diameter_px is None:
        diameter_px = POINT_PX if microns_per_pixel is None else POINT_UM / microns_per_pixel
    across = np.broadcast_to(np.asarray(diameter_px, np.float64), len(points))
    outlines = []
    _refuse_twice(points, name, rows)
    for (y, x), diameter, row in zip(points, across, rows, strict=True):
        if not (np.isfinite(diameter) and diameter > 0):
            raise CellsError(f"{name}: {row} has the diameter {diameter}; it must be above 0.")
        if not (-0.5 <= y < shape[0] - 0.5 and -0.5 <= x < shape[1] - 0.5):
            raise CellsError(
                f"{name}: {row} (y {y:g}, x {x:g} px) is outside the image, which is "
                f"{shape[0]} × {shape[1]} px (height × width)."
            )
        outlines.append(_disc(float(y), float(x), float(diameter), shape))
    return _painted(outlines, shape, labels, "points", microns_per_pixel, name)


def cells_from_boxes(
    boxes: ArrayLike,
    shape: tuple[int, int],
    *,
    microns_per_pixel: float | None = None,
    labels: Sequence[int] | None = None,
    name: str = "Boxes",
    rows: Sequence[str] | None = None,
) -> Cells:
    """Take cells from their bounding boxes; each becomes a rectangle.

    Parameters
    ----------
    boxes : (n, 4) array
        y0, x0, y1, x1 in pixels, half-open (0, 0, H, W is the whole image). What reaches outside
        the image is cut off.
    shape : (int, int)
        Height and width of the image.
    microns_per_pixel : float, optional
    labels : sequence of int, optional
        Ids; without them 1 … n.
    name, rows : str, sequence of str
        What to call the source and its rows in an error.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        If there is no box, or one is empty, outside the image, not a number, or there twice.
    """
    corners = _numbers(boxes, 4, name, "y0, x0, y1 and x1")
    rows = rows or [f"box {n}" for n in range(1, len(corners) + 1)]
    _refuse_twice(corners, name, rows)
    outlines = []
    for corner, row in zip(corners, rows, strict=True):
        place = "y {:g} … {:g}, x {:g} … {:g} px".format(*corner[[0, 2, 1, 3]])
        if corner[2] <= corner[0] or corner[3] <= corner[1]:
            raise CellsError(
                f"{name}: {row} ({place}) is empty; its end must lie beyond its start."
            )
        y0, x0 = np.maximum(np.rint(corner[:2]), 0).astype(int)
        y1, x1 = np.minimum(np.rint(corner[2:]), shape).astype(int)
        # A box thinner than a pixel still is a cell.
        y1, x1 = max(y1, y0 + 1), max(x1, x0 + 1)
        if y0 >= shape[0] or x0 >= shape[1] or corner[2] <= 0 or corner[3] <= 0:
            raise CellsError(
                f"{name}: {row} ({place}) is outside the image, which is "
                f"{shape[0]} × {shape[1]} px (height × width)."
            )
        outlines.append(Outline(int(y0), int(x0), np.ones((y1 - y0, x1 - x0), bool)))
    return _painted(outlines, shape, labels, "boxes", microns_per_pixel, name)


def whole_image(shape: tuple[int, int], *, microns_per_pixel: float | None = None) -> Cells:
    """Take the image as one cell, as in data sets of single-cell images.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    microns_per_pixel : float, optional
    """
    height, width = shape
    row = (
        1,
        (height - 1) / 2,
        (width - 1) / 2,
        0,
        0,
        height,
        width,
        height * width,
        np.nan,
        "whole",
    )
    # One number that stands for every pixel: a slide of ones would not fit into memory.
    labels = np.broadcast_to(np.int32(1), shape)
    return Cells(labels, None, cell_table([row]), microns_per_pixel)


def check_ids(labels: Sequence[int], name: str, rows: Sequence[str]) -> list[int]:
    """Check ids that a user gave: whole, positive, each once."""
    seen: dict[int, str] = {}
    for label, row in zip(labels, rows, strict=True):
        if label != int(label) or not 0 < label <= np.iinfo(np.int32).max:
            raise CellsError(f"{name}: {row} has the id {label}; ids are whole numbers from 1.")
        if int(label) in seen:
            raise CellsError(f"{name}: {seen[int(label)]} and {row} both have the id {label}.")
        seen[int(label)] = row
    return list(seen)


def _painted(
    outlines: list[Outline],
    shape: tuple[int, int],
    labels: Sequence[int] | None,
    source: str,
    microns_per_pixel: float | None,
    name: str,
) -> Cells:
    rows = [f"cell {n}" for n in range(1, len(outlines) + 1)]
    ids = range(1, len(outlines) + 1) if labels is None else check_ids(labels, name, rows)
    painted, table = paint_cells(outlines, np.array(ids, np.int64), shape, source)
    return Cells(painted, None, table, microns_per_pixel)


def _disc(y: float, x: float, diameter: float, shape: tuple[int, int]) -> Outline:
    radius = diameter / 2
    y0, y1 = max(0, int(np.ceil(y - radius))), min(shape[0], int(np.floor(y + radius)) + 1)
    x0, x1 = max(0, int(np.ceil(x - radius))), min(shape[1], int(np.floor(x + radius)) + 1)
    inside = np.hypot(np.arange(y0, y1)[:, np.newaxis] - y, np.arange(x0, x1) - x) <= radius
    if not inside.any():  # a disc between pixels
        return Outline(int(np.rint(y)), int(np.rint(x)), np.ones((1, 1), bool))
    return Outline(y0, x0, inside)


def _numbers(values: ArrayLike, columns: int, name: str, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise CellsError(f"{name}: there is none; give at least one cell.")
    if array.ndim != 2 or array.shape[1] != columns:
        raise CellsError(
            f"{name} have the shape {array.shape}; each needs {columns} numbers: {what}."
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise CellsError(f"{name}: number {bad[0] + 1} is {array[bad[0]].tolist()}, not a place.")
    return array


def _refuse_twice(values: NDArray[np.float64], name: str, rows: Sequence[str]) -> None:
    frame = pd.DataFrame(values)
    again = np.flatnonzero(frame.duplicated().to_numpy())
    if again.size:
        first = int(np.flatnonzero((values == values[again[0]]).all(axis=1))[0])
        raise CellsError(
            f"{name}: {rows[first]} and {rows[int(again[0])]} are the same; remove one, or the "
            "cell would count twice."
        )


def _whole_numbers(array: NDArray[Any], name: str) -> NDArray[np.int32]:
    if array.dtype == bool or (
        array.dtype == np.uint8 and (values := np.unique(array)).size <= 2 and values[-1] == 255
    ):
        parts, _ = ndi.label(array > 0)
        return np.asarray(parts, np.int32)
    if array.dtype.kind not in "uif":
        raise CellsError(f"{name} holds {array.dtype} values; labels are whole numbers from 0.")
    if array.size == 0:
        raise CellsError(f"{name} is empty.")
    bad = np.argwhere(~np.isfinite(array) | (array < 0) | (array != np.floor(array)))
    if bad.size:
        y, x = bad[0].tolist()
        raise CellsError(
            f"{name} has the value {array[y, x]} at y {y}, x {x}; labels are whole numbers from 0."
        )
    if array.max() > np.iinfo(np.int32).max:
        raise CellsError(
            f"{name} has the label {array.max()}; the largest that can be kept is "
            f"{np.iinfo(np.int32).max}."
        )
    return array.astype(np.int32)
