"""A concept's best cells in both groups of a comparison, side by side."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.viewer.cohort_work import FIRST, SECOND, CellsRequest, GroupCells, cells_job
from napari_cytosae.viewer.gallery_tiles import MaskStyle, Tile, TileStrip
from napari_cytosae.viewer.jobs import JobRunner

_SIDE = 84
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
            strip.activated.connect(self.go_to)
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setFrameShape(QScrollArea.Shape.NoFrame)
            area.setWidget(strip)
            column = QVBoxLayout()
            column.addWidget(head)
            column.addWidget(area, 1)
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
            strip.draw_as(MaskStyle(hue=hue), _SIDE)
        self.jobs.start(lambda cancelled: cells_job(request, cancelled))

    def _on_step(self, step: GroupCells) -> None:
        strip = self.strips[step.group]
        if step.picture is None:
            strip.expect(step.n_tiles)
        else:
            strip.add(_tile(step.picture))
            if step.picture.concept_map is not None:
                self._strongest = max(self._strongest, float(step.picture.concept_map.max()))
                for each in self.strips.values():
                    each.share_scale(self._strongest)

    def _on_finished(self) -> None:
        for strip in self.strips.values():
            strip.end()


def _tile(picture: ReferencePicture) -> Tile:
    note = [f"cell {picture.cell} of {picture.data_set}", picture.label]
    note.append(f"mean activation over its tokens: {picture.value:.3g}")
    note.append(Path(picture.image).name)
    note.append(picture.missing or "Click to go there.")
    return Tile(
        picture.crop,
        picture.concept_map,
        f"{picture.data_set}\n{picture.value:.3g}",
        "\n".join(words for words in note if words),
        picture,
    )
