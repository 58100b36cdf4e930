"""One cell after another with the part of the slide around it, and the masks of its parts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells.crops import RegionSource
from napari_cytosae.cells.detect import detect_with
from napari_cytosae.cells.label_image import LabelImage
from napari_cytosae.cells.stain import StainReference
from napari_cytosae.errors import Cancelled, DamagedImageError

# What these sources give is a mark that a person or a program set, not the cell's outline.
WITHOUT_OUTLINE: Final = ("points", "boxes", "whole")
WITHOUT_NUCLEUS: Final = ("red",)
# An outline found instead has to lie within the mark for the most part.
LEAST_WITHIN_MARK = 0.5
# Where nothing tells the pixel size, the usual white cell is taken to be so wide.
USUAL_CELL_UM = 12.0
MARGIN_UM = 1.0
# A cell may reach this much further than the mark that was set on it.
MARK_MARGIN_UM = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class CellView:
    """A cell in a window of its slide.

    Attributes
    ----------
    label : int
    y, x : int
        Top left pixel of the window in level-0 px.
    rgb : (h, w, 3) uint8
    labels : (h, w) int32
        All cells in the window.
    cell : (h, w) bool
        Extent of the cell; nowhere where its outline is not known.
    nucleus : (h, w) bool or None
        Extent of its nucleus; None where that is not known.
    """

    label: int
    y: int
    x: int
    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    cell: NDArray[np.bool_]
    nucleus: NDArray[np.bool_] | None

    def tight(self, margin_px: int) -> "CellView":
        """Cut the window to the cell, with a margin; as it is where the cell is nowhere."""
        rows = np.flatnonzero(self.cell.any(axis=1))
        columns = np.flatnonzero(self.cell.any(axis=0))
        if not rows.size:
            return self
        top, left = max(rows[0] - margin_px, 0), max(columns[0] - margin_px, 0)
        part = (slice(top, rows[-1] + margin_px + 1), slice(left, columns[-1] + margin_px + 1))
        return CellView(
            self.label,
            self.y + int(top),
            self.x + int(left),
            self.rgb[part],
            self.labels[part],
            self.cell[part],
            None if self.nucleus is None else self.nucleus[part],
        )


def iter_views(
    slide: RegionSource,
    table: pd.DataFrame,
    labels: LabelImage,
    nuclei: LabelImage | None,
    reference: StainReference | None,
    pixel_um: float,
    boxes: NDArray[np.float64] | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[CellView | None]:
    """Go through cells, reading one window of the slide for each.

    Where cells came as points, boxes or whole images, their outlines are looked for, and where they
    came without nuclei, those are.

    Parameters
    ----------
    slide : RegionSource
        A `Slide`.
    table : pandas.DataFrame
        `Cells.table`, or rows of it.
    labels, nuclei : (H, W) int32
        Label images, of which one window per cell is read.
    reference : StainReference or None
        Of the whole slide; without it nothing is looked for.
    pixel_um : float
        Pixel size, known or estimated.
    boxes : (n, 4) float64, optional
        y0, x0, y1, x1 in level-0 px that the windows are to hold as well, as far as the slide goes.
    cancelled : callable
        Asked before each cell.

    Yields
    ------
    CellView or None
        One per row; None where the slide is damaged.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    """
    for place, row in enumerate(table.itertuples(index=False)):
        if cancelled():
            raise Cancelled("Stopped while cells were measured.")
        source = getattr(row, "source", "")
        margin_um = MARK_MARGIN_UM if source in WITHOUT_OUTLINE else MARGIN_UM
        margin = int(np.ceil(margin_um / pixel_um)) + 1
        around = (row.box_y0, row.box_x0, row.box_y1, row.box_x1)
        window = _window(around, None if boxes is None else boxes[place], margin, slide.shape)
        y, x = window[0].start, window[1].start
        try:
            rgb = slide.read_region(y, x, window[0].stop - y, window[1].stop - x)
        except DamagedImageError:
            yield None
            continue
        ids = np.asarray(labels[window])
        label: Any = row.label
        cell = ids == label
        nucleus = None if nuclei is None else np.asarray(nuclei[window]) == label
        if source in WITHOUT_OUTLINE:
            cell, nucleus = (
                _cell_at(rgb, cell, reference, pixel_um)
                if reference is not None
                else (np.zeros_like(cell), None)
            )
        elif nucleus is None and reference is not None and source not in WITHOUT_NUCLEUS:
            nucleus = _nucleus_in(rgb, cell, reference, pixel_um)
        yield CellView(int(label), y, x, rgb, ids, cell, nucleus)


def guess_pixel_um(table: pd.DataFrame) -> float:
    """Guess the pixel size where nothing tells it, from how large the cells are."""
    areas = table["area_px"].to_numpy(np.float64)
    areas = areas[areas > 0]
    usual_px = float(np.sqrt(np.median(areas) * 4 / np.pi)) if areas.size else 0.0
    return USUAL_CELL_UM / usual_px if usual_px else 0.1


def _nucleus_in(
    rgb: NDArray[np.uint8],
    cell: NDArray[np.bool_],
    reference: StainReference,
    pixel_um: float,
) -> NDArray[np.bool_] | None:
    # The parts of a nucleus that the detector takes for two cells' are this one cell's.
    nucleus = (np.asarray(detect_with(rgb, reference, pixel_um).nuclei) > 0) & cell
    return nucleus if nucleus.any() else None


def _cell_at(
    rgb: NDArray[np.uint8],
    mark: NDArray[np.bool_],
    reference: StainReference,
    pixel_um: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Find the cell that a mark is meant for: the one with the most of its area in it."""
    found = detect_with(rgb, reference, pixel_um)
    extents = np.asarray(found.labels)
    within = np.bincount(extents[mark], minlength=len(found) + 1)
    within[0] = 0
    best = int(np.argmax(within))
    if within[best] <= LEAST_WITHIN_MARK * np.count_nonzero(extents == best):
        return np.zeros_like(mark), None
    return extents == best, np.asarray(found.nuclei) == best


def _window(
    cell: tuple[Any, ...],
    box: NDArray[np.float64] | None,
    margin: int,
    shape: tuple[int, int],
) -> tuple[slice, slice]:
    low = np.array(cell[:2], np.float64) - margin
    high = np.array(cell[2:], np.float64) + margin
    if box is not None:
        low, high = np.minimum(low, box[:2]), np.maximum(high, box[2:])
    low = np.clip(np.floor(low), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(high), low + 1, shape).astype(int)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
