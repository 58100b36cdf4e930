"""Concept maps placed back on the slide, and cells' strengths, ready for a viewer's layers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.run import Run

# Canvas pixels per side of a patch that are plenty to draw a 16 × 16 map by.
_PIXELS_PER_PATCH = 4
_LARGEST_CANVAS_PX = 32_000_000


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


def place_maps(
    run: Run,
    concept_id: int,
    *,
    downsample: int | None = None,
    within_cells: bool = False,
) -> Canvas:
    """Paint one concept's maps of all encoded cells over the slide.

    Where crops overlap, the larger value shows. Time goes with the area of the crops, not of the
    slide.

    Parameters
    ----------
    run
        The run.
    concept_id
        The concept.
    downsample
        Side of a canvas pixel in level-0 px; chosen by the crops' size without it.
    within_cells
        Paint a cell's map only where the label image says that cell is.

    Raises
    ------
    RunError
        Where the SAE has no such concept.
    """
    maps = run.concept_maps(concept_id)
    height, width = run.manifest.slide_shape
    step = _default_downsample(run) if downsample is None else max(1, int(downsample))
    canvas = np.zeros((-(-height // step), -(-width // step)), np.float32)
    labels = run.table["label"].to_numpy()
    for row in np.flatnonzero(maps.any(axis=(1, 2))):
        y0, x0, y1, x1 = run.boxes[row]
        rows, patch_rows = _covered(y0, y1, step, canvas.shape[0])
        columns, patch_columns = _covered(x0, x1, step, canvas.shape[1])
        painted = maps[row][patch_rows[:, None], patch_columns]
        if within_cells:
            # The level-0 pixel at each canvas pixel's centre; the canvas may end behind the slide.
            at_rows = np.minimum(np.arange(rows.start, rows.stop) * step + step // 2, height - 1)
            at_columns = np.minimum(
                np.arange(columns.start, columns.stop) * step + step // 2, width - 1
            )
            painted = painted * (run.labels[at_rows[:, None], at_columns] == labels[row])
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


def _covered(start: float, stop: float, step: int, size: int) -> tuple[slice, NDArray[np.integer]]:
    """Find the canvas pixels whose centres lie in [start, stop), and the patch under each."""
    # Canvas pixel i spans level-0 edges i·step to (i + 1)·step, so its centre's edge coordinate is
    # (i + 0.5)·step.
    first = max(0, int(np.ceil(start / step - 0.5)))
    last = max(first, min(size, int(np.ceil(stop / step - 0.5))))
    centres = (np.arange(first, last) + 0.5) * step
    patches = np.floor((centres - start) / (stop - start) * GRID).astype(np.intp)
    return slice(first, last), np.clip(patches, 0, GRID - 1)


def _default_downsample(run: Run) -> int:
    if not len(run):
        return 1
    patch_side = float(np.median(run.boxes[:, 2] - run.boxes[:, 0])) / GRID
    height, width = run.manifest.slide_shape
    smallest = int(np.ceil(np.sqrt(height * width / _LARGEST_CANVAS_PX)))
    return max(1, smallest, int(patch_side / _PIXELS_PER_PATCH))
