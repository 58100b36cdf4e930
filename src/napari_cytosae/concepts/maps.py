"""Concept maps placed back on the slide, and cells' strengths, ready for a viewer's layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.run import Run

if TYPE_CHECKING:
    from napari_cytosae.cells import LabelImage

# Canvas pixels per side of a patch that are plenty to draw a 16 × 16 map by.
_PIXELS_PER_PATCH = 4
_LARGEST_CANVAS_PX = 32_000_000
# Side of one cell's map in canvas pixels, where it has to be cut.
_LARGEST_CUT_PX = 1024


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """One cell's concept map and where it lies on the slide.

    Parameters
    ----------
    values
        (16, 16) float32.
    scale
        Height and width of a patch in level-0 px.
    translate
        Centre of patch (0, 0) in level-0 px, where a pixel's centre has whole coordinates; this is
        what a napari layer's ``translate`` means.
    """

    values: NDArray[np.float32]
    scale: tuple[float, float]
    translate: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Canvas:
    """One concept's maps of all cells, painted over the whole slide.

    Parameters
    ----------
    values
        (height, width) float32, 0 where the concept is not active or no crop lies.
    scale
        Height and width of a canvas pixel in level-0 px.
    translate
        Centre of canvas pixel (0, 0) in level-0 px.
    """

    values: NDArray[np.float32]
    scale: tuple[float, float]
    translate: tuple[float, float]


def place_map(run: Run, label: int, concept_id: int) -> PlacedMap:
    """Give one cell's concept map with the affine that puts it on the slide.

    Raises
    ------
    RunError
        Where there is no such cell or concept, or the cell is not encoded yet.
    """
    cell = run.cell(label)
    return placed(cell.concept_map(concept_id), cell.box)


def placed(values: NDArray[np.float32], box: NDArray[np.float64]) -> PlacedMap:
    """Place a (16, 16) map on its crop's box, y0, x0, y1, x1 in level-0 px (edges, half-open)."""
    (y0, x0), (y1, x1) = box[:2], box[2:]
    height, width = float(y1 - y0) / GRID, float(x1 - x0) / GRID
    # The box's edge lies half a pixel before its first pixel's centre; the patch's centre half a
    # patch after.
    return PlacedMap(
        values, (height, width), (float(y0) + (height - 1) / 2, float(x0) + (width - 1) / 2)
    )


def placed_within(
    values: NDArray[np.float32],
    box: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    smooth: bool = False,
) -> PlacedMap | Canvas:
    """Place a map as `placed` does, without what lies outside the slide.

    A crop at the border is filled by reflection; what concepts show there is nowhere.

    Parameters
    ----------
    values
        (16, 16) activations.
    box
        The crop, y0, x0, y1, x1 in level-0 px.
    shape
        Height and width of the slide at level 0, in px.
    smooth
        As in `paint_maps`, where the map has to be cut.
    """
    y0, x0, y1, x1 = (float(edge) for edge in box)
    if y0 >= 0 and x0 >= 0 and y1 <= shape[0] and x1 <= shape[1]:
        return placed(values, box)
    step = max(1, int(y1 - y0) // _LARGEST_CUT_PX)
    rows, patch_rows = _covered(y0, y1, step, shape[0] // step)
    columns, patch_columns = _covered(x0, x1, step, shape[1] // step)
    painted = (_interpolated if smooth else _squares)(values, patch_rows, patch_columns)
    offset = (step - 1) / 2
    return Canvas(
        painted,
        (float(step), float(step)),
        (rows.start * step + offset, columns.start * step + offset),
    )


def place_maps(
    run: Run,
    concept_id: int,
    *,
    downsample: int | None = None,
    smooth: bool = False,
    within_cells: bool = False,
) -> Canvas:
    """Paint one concept's maps of all encoded cells over the slide.

    Parameters
    ----------
    run
        The run.
    concept_id
        The concept.
    downsample, smooth
        As in `paint_maps`.
    within_cells
        Paint a cell's map only where the label image says that cell is.

    Raises
    ------
    RunError
        Where the SAE has no such concept.
    """
    return paint_maps(
        run.concept_maps(concept_id),
        run.boxes,
        run.manifest.slide_shape,
        downsample=downsample,
        smooth=smooth,
        extents=(run.labels, run.table["label"].to_numpy()) if within_cells else None,
    )


def paint_maps(
    maps: NDArray[np.float32],
    boxes: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    downsample: int | None = None,
    smooth: bool = False,
    extents: tuple["LabelImage", NDArray[np.integer]] | None = None,
) -> Canvas:
    """Paint cells' maps of one concept over the slide.

    Where crops overlap, the larger value shows. Time goes with the area of the crops, not of the slide.

    Parameters
    ----------
    maps
        (n, 16, 16) activations.
    boxes
        (n, 4) the cells' crops, y0, x0, y1, x1 in level-0 px.
    shape
        Height and width of the slide at level 0, in px.
    downsample
        Side of a canvas pixel in level-0 px; chosen by the crops' size without it.
    smooth
        Interpolate between the patches' centres, instead of painting each patch as a square.
    extents
        (H, W) label image and (n,) labels: paint a cell's map only where that cell is.
    """
    height, width = shape
    step = _default_downsample(boxes, shape) if downsample is None else max(1, int(downsample))
    canvas = np.zeros((-(-height // step), -(-width // step)), np.float32)
    for row in np.flatnonzero(maps.any(axis=(1, 2))):
        y0, x0, y1, x1 = boxes[row]
        rows, patch_rows = _covered(y0, y1, step, canvas.shape[0])
        columns, patch_columns = _covered(x0, x1, step, canvas.shape[1])
        painted = (_interpolated if smooth else _squares)(maps[row], patch_rows, patch_columns)
        if extents is not None:
            labels, of_row = extents
            # The level-0 pixel at each canvas pixel's centre; the canvas may end behind the slide.
            at_rows = np.minimum(np.arange(rows.start, rows.stop) * step + step // 2, height - 1)
            at_columns = np.minimum(
                np.arange(columns.start, columns.stop) * step + step // 2, width - 1
            )
            if at_rows.size and at_columns.size:
                y, x = int(at_rows[0]), int(at_columns[0])
                window = np.asarray(labels[y : at_rows[-1] + 1, x : at_columns[-1] + 1])
                here = window[(at_rows - y)[:, None], at_columns - x]
                painted = painted * (here == of_row[row])
        np.maximum(canvas[rows, columns], painted, out=canvas[rows, columns])
    offset = (step - 1) / 2
    return Canvas(canvas, (float(step), float(step)), (offset, offset))


def colour_by(
    run: Run, concept_id: int, statistic: Literal["mean", "max", "count"] = "mean"
) -> dict[int, float]:
    """Give every encoded cell's strength of one concept, by label.

    Parameters
    ----------
    run
        The run.
    concept_id
        The concept.
    statistic
        Mean or largest value over the cell's tokens, or the number of tokens above τ.

    Raises
    ------
    RunError
        Where the SAE has no such concept.
    """
    strengths = run.strengths(concept_id, statistic)
    return {
        int(label): float(strength)
        for label, strength in zip(
            run.table["label"][run.encoded], strengths[run.encoded], strict=True
        )
    }


def _covered(start: float, stop: float, step: int, size: int) -> tuple[slice, NDArray[np.float64]]:
    """Find the canvas pixels whose centres lie in [start, stop), and where in the grid each lies.

    Grid coordinates count patches from the crop's edge: patch k spans k to k + 1.
    """
    # Canvas pixel i spans level-0 edges i·step to (i + 1)·step, so its centre's edge coordinate is
    # (i + 0.5)·step.
    first = max(0, int(np.ceil(start / step - 0.5)))
    last = max(first, min(size, int(np.ceil(stop / step - 0.5))))
    centres = (np.arange(first, last, dtype=np.float64) + 0.5) * step
    at: NDArray[np.float64] = (centres - start) / (stop - start) * GRID
    return slice(first, last), at


def _squares(
    values: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Look up the patch under each point."""
    return values[_patch(np.floor(rows))[:, None], _patch(np.floor(columns))]


def _interpolated(
    values: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate between patch centres; beyond the outermost centres the outermost patch counts."""
    return (_weights(rows) @ values @ _weights(columns).T).astype(np.float32)


def _weights(at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weight of each patch of a line at each point, (points, 16)."""
    below = np.floor(at - 0.5)
    share = (at - 0.5 - below).astype(np.float32)
    weights = np.zeros((len(at), GRID), np.float32)
    points = np.arange(len(at))
    np.add.at(weights, (points, _patch(below)), 1 - share)
    np.add.at(weights, (points, _patch(below + 1)), share)
    return weights


def _patch(index: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.clip(index, 0, GRID - 1).astype(np.intp)


def _default_downsample(boxes: NDArray[np.float64], shape: tuple[int, int]) -> int:
    if not len(boxes):
        return 1
    patch_side = float(np.median(boxes[:, 2] - boxes[:, 0])) / GRID
    smallest = int(np.ceil(np.sqrt(shape[0] * shape[1] / _LARGEST_CANVAS_PX)))
    return max(1, smallest, int(patch_side / _PIXELS_PER_PATCH))
