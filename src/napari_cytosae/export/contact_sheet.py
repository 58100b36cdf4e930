"""A few typical cells, each beside the maps of its strongest concepts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts import ActiveConcept
from napari_cytosae.export.canvas import Canvas
from napari_cytosae.export.overlay import heat_over, resize_crop
from napari_cytosae.export.palette import hues_for

N_CELLS = 8
"""Cells on a sheet."""
N_CONCEPTS = 4
"""Concepts shown for each cell."""

_TILE = 224
_GAP = 8
_CAPTION = 54
_MARGIN = 28
_GUTTER = 48
_HEAD = 78


@dataclass(frozen=True, slots=True)
class ShownConcept:
    """A concept of a cell, where it sits, and the activation that is painted in full.

    Parameters
    ----------
    concept
        The concept as the run knows it in this cell.
    on_cell
        Its mean activation on the cell itself.
    concept_map
        (16, 16) activations, one per patch.
    top
        Largest activation of the concept in the run.
    """

    concept: ActiveConcept
    on_cell: float
    concept_map: NDArray[np.float32]
    top: float


@dataclass(frozen=True, slots=True)
class ShownCell:
    """One cell of the sheet: its label, its crop (S, S, 3) and its strongest concepts."""

    label: int
    crop: NDArray[np.uint8]
    concepts: Sequence[ShownConcept]


def draw_contact_sheet(cells: Sequence[ShownCell], title: str, path: Path) -> None:
    """Write a PNG of cells in rows: the crop, then the crop under each concept's map.

    A concept wears the same hue in all rows, and on each row the hues differ.

    Parameters
    ----------
    cells
        What to show.
    title
        First line of the sheet.
    path
        Where the picture goes.
    """
    n_columns = 1 if len(cells) <= N_CELLS // 2 else 2
    n_rows = -(-len(cells) // n_columns)
    row_width = (1 + N_CONCEPTS) * _TILE + N_CONCEPTS * _GAP
    canvas = Canvas(
        width=2 * _MARGIN + n_columns * row_width + (n_columns - 1) * _GUTTER,
        height=_HEAD + max(n_rows, 1) * (_TILE + _CAPTION) + _MARGIN // 2,
    )
    canvas.text(title, _MARGIN, 36, 22, bold=True, room=canvas.width - 2 * _MARGIN)
    canvas.text(
        "Concepts that are strongest within the cell. Colour: activation, full at the run's "
        "maximum. Bar: share of patches.",
        _MARGIN,
        62,
        16,
        color="#555555",
        room=canvas.width - 2 * _MARGIN,
    )
    hues = hues_for([[shown.concept.concept_id for shown in cell.concepts] for cell in cells])
    for place, cell in enumerate(cells):
        column, row = divmod(place, n_rows)
        x = _MARGIN + column * (row_width + _GUTTER)
        _draw_cell(canvas, cell, x, _HEAD + row * (_TILE + _CAPTION), hues)
    canvas.save(path)


def _draw_cell(canvas: Canvas, cell: ShownCell, x: int, y: int, hues: dict[int, str]) -> None:
    crop = resize_crop(cell.crop, _TILE)
    canvas.image(crop, x, y)
    canvas.text(f"cell {cell.label}", x, y + _TILE + 23, 16, bold=True)
    if not cell.concepts:
        canvas.text("no concept is active", x + _TILE + _GAP, y + 19, 16)
    for shown in cell.concepts:
        x += _TILE + _GAP
        concept = shown.concept
        hue = hues[concept.concept_id]
        canvas.image(heat_over(crop, shown.concept_map, shown.top, hue), x, y)
        # A bar in the map's hue, as long as the patches' share, joins picture and caption.
        bar = y + _TILE + 5
        canvas.lines([np.array([[x, bar], [x + _TILE, bar]])], "#dddddd", 4)
        canvas.lines([np.array([[x, bar], [x + _TILE * concept.patch_share, bar]])], hue, 4)
        canvas.text(concept.title, x, y + _TILE + 23, 16, bold=True, room=_TILE)
        canvas.text(
            f"{shown.on_cell:.2g} on cell  ·  {concept.patch_share:.0%} of patches",
            x,
            y + _TILE + 42,
            14,
            color="#555555",
        )
