"""A concept's best cells in both groups of a comparison, side by side."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.viewer.cohort_cells_work import (
    FIRST,
    SECOND,
    CellsRequest,
    GroupCells,
    cells_job,
)
from napari_cytosae.viewer.gallery_tiles import MaskStyle, Tile, TileStrip
from napari_cytosae.viewer.jobs import JobRunner

SIDE_PX = 84
_EMPTY = "Click a point to see the concept's best cells in both groups."


class GroupCellsView(QWidget):
    """Two strips of cells; a click on one asks to go there."""

    go_to = Signal(object)  # a ReferencePicture

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._strongest = 0.0
        self.message = QLabel(_EMPTY)
        self.message.setWordWrap(True)
        self.heads: dict[str, QLabel] = {}
        self.strips: dict[str, TileStrip] = {}
        columns = QHBoxLayout()
        for group in (FIRST, SECOND):
            head, strip = QLabel(), TileStrip()
            head.setTextFormat(Qt.TextFormat.PlainText)
            head.setWordWrap(True)
            strip.setAccessibleName(f"Best cells of the {group} group")
            strip.activated.connect(self.go_to)
            column = QVBoxLayout()
            column.addWidget(head)
            column.addWidget(scrolled(strip), 1)
            columns.addLayout(column, 1)
            self.heads[group], self.strips[group] = head, strip
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.message)
        layout.addLayout(columns, 1)
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_step)
        self.jobs.finished.connect(lambda _: self._on_finished())
        self.jobs.failed.connect(lambda error: self.message.setText(str(error)))

    def clear(self) -> None:
        """Show nothing."""
        self.jobs.abandon()
        self._strongest = 0.0
        self.message.setText(_EMPTY)
        for group in (FIRST, SECOND):
            self.heads[group].clear()
            self.strips[group].expect(0)

    def show_cells(self, request: CellsRequest, title: str, hue: str) -> None:
        """Show a concept's cells."""
        self.clear()
        comparison = request.comparison
        row = comparison.table[comparison.table["concept_id"] == request.concept_id]
        words = title
        if len(row):
            one = row.iloc[0]
            words += f"   Cliff's delta {one['delta']:+.2f}, q = {one['q']:.2g}"
            for group, name in ((FIRST, comparison.first), (SECOND, comparison.second)):
                self.heads[group].setText(
                    f"{name}: {one[f'cells_{group}']:,} cells of {one[f'patients_{group}']} patients"
                )
        self.message.setText(words)
        for strip in self.strips.values():
            strip.draw_as(MaskStyle(hue=hue), SIDE_PX)
        self.jobs.start(lambda cancelled: cells_job(request, cancelled))

    def _on_step(self, step: GroupCells) -> None:
        strip = self.strips[step.group]
        if step.picture is None:
            strip.expect(step.n_tiles)
        else:
            note = f"mean activation over its tokens: {step.picture.value:.3g}"
            strip.add(tile_of(step.picture, f"{step.picture.value:.3g}", note))
            if step.picture.concept_map is not None:
                self._strongest = max(self._strongest, float(step.picture.concept_map.max()))
                for each in self.strips.values():
                    each.share_scale(self._strongest)

    def _on_finished(self) -> None:
        for strip in self.strips.values():
            strip.end()


def scrolled(strip: TileStrip) -> QScrollArea:
    """Put a strip into an area that scrolls up and down."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    # Tab goes to the strip itself, which the arrow keys move in.
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidget(strip)
    return area


def tile_of(picture: ReferencePicture, value: str, note: str) -> Tile:
    """Make a tile of a patient's cell: its value below it, all else where the mouse rests."""
    words = [f"cell {picture.cell} of {picture.data_set}", picture.label, note]
    words.append(Path(picture.image).name)
    words.append(picture.missing or "Click to go there.")
    return Tile(
        picture.crop,
        picture.concept_map,
        f"{picture.data_set}\n{value}",
        "\n".join(each for each in words if each),
        picture,
    )
