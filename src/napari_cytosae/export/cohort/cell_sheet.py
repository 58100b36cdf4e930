"""Cells side by side, each beside itself with a map painted over it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.cohort.style import SMALL, new_figure, shorten
from napari_cytosae.export.overlay import heat_over, resize_crop
from napari_cytosae.export.palette import HUES

SIDE_PX = 160
_COLUMNS = 4
_LINES_INCH = 0.35

PatchMap = Callable[[Mapping[Any, Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class SheetCell:
    """One cell of a sheet.

    Parameters
    ----------
    crop
        (S, S, 3) uint8.
    patch_map
        (16, 16), painted where it is above 0.
    words
        What stands beneath, a line or two.
    """

    crop: NDArray[np.uint8]
    patch_map: NDArray[np.float32]
    words: str


def cut_cells(
    rows: Sequence[Mapping[Any, Any]],
    patch_map: PatchMap,
    words: Callable[[Mapping[Any, Any]], str],
) -> tuple[list[SheetCell], str]:
    """Cut cells out of their images, those that are at hand.

    Parameters
    ----------
    rows
        With ``run``, ``image`` and ``label``.
    patch_map
        Gives the map of a row's cell.
    words
        Gives what stands beneath it.

    Returns
    -------
    cells : list of SheetCell
    missing : str
        Why some are left out; empty where none is.
    """
    cells: list[SheetCell] = []
    missing = ""
    with ReferencePictures() as pictures:
        for row in rows:
            try:
                crop = pictures.crop(str(row["run"]), int(row["label"]), str(row["image"]))
                cells.append(SheetCell(crop, patch_map(row), words(row)))
            except (CytoSAEError, OSError) as error:
                missing = str(error)
    return cells, missing


def write_sheet(target: Path, cells: Sequence[SheetCell], title: str) -> None:
    """Draw cells with their maps, all on one scale, as a PNG.

    Parameters
    ----------
    target
        The file.
    cells
        One or more, in order.
    title
        What stands above.
    """
    figure = sheet(cells, title)

    def save(part: Path) -> None:
        figure.savefig(part, format="png", dpi=150)

    write_durably(target, save)


def sheet(cells: Sequence[SheetCell], title: str) -> Figure:
    """Draw cells with their maps, all on one scale."""
    top = max(float(cell.patch_map.max()) for cell in cells)
    columns = min(_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    figure = new_figure(max(2.7 * columns, 5.4), (1.35 + _LINES_INCH) * rows + 0.4)
    figure.suptitle(shorten(title, 90), fontsize=10, x=0.01, ha="left")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, cell in zip(places, cells, strict=False):
        small = resize_crop(cell.crop, SIDE_PX)
        heat = heat_over(small, np.maximum(cell.patch_map, 0), top, HUES[0])
        gap = np.full((SIDE_PX, 4, 3), 255, np.uint8)
        axes.imshow(np.concatenate([small, gap, heat], axis=1))
        axes.text(0, -0.03, cell.words, transform=axes.transAxes, fontsize=SMALL - 1, va="top")
    return figure
