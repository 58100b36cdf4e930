"""One strip of a cohort's cells with its heading, filled beside the window."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.viewer.cohort_cells import scrolled, tile_of
from napari_cytosae.viewer.gallery_tiles import MaskStyle, TileStrip
from napari_cytosae.viewer.jobs import Job, JobRunner


@dataclass(frozen=True, slots=True)
class Coming:
    """So many cells will come, about which this is to be said."""

    n_tiles: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A cell, what stands below it, and what is told of it."""

    picture: ReferencePicture
    value: str
    note: str


class CellStrip(QWidget):
    """A heading and a strip; a click on a cell asks to go there."""

    go_to = Signal(object)  # a ReferencePicture
    answered = Signal(object)  # whatever else a job yields
    ended = Signal()

    def __init__(self, empty: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._empty = empty
        self.head = QLabel(empty)
        self.head.setWordWrap(True)
        self.head.setTextFormat(Qt.TextFormat.PlainText)
        self.strip = TileStrip()
        self.strip.setAccessibleName("Cells; arrow keys move, Enter goes to the cell")
        self.strip.activated.connect(self.go_to)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.addWidget(self.head)
        layout.addWidget(scrolled(self.strip), 1)
        self.setMinimumSize(150, 120)
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_step)
        self.jobs.finished.connect(lambda _: self._on_finished())
        self.jobs.failed.connect(self._on_failed)

    def clear(self, words: str | None = None) -> None:
        """Show nothing, and say why."""
        self.jobs.abandon()
        self.head.setText(self._empty if words is None else words)
        self.head.setToolTip("")
        self.strip.expect(0)

    def start(self, job: Job, words: str, style: MaskStyle, side: int) -> None:
        """Begin anew with the cells that a job yields."""
        self.clear(words)
        self.strip.draw_as(style, side)
        self.jobs.start(job)

    def _on_step(self, step: object) -> None:
        if isinstance(step, Coming):
            self.head.setText(step.words)
            self.strip.expect(step.n_tiles)
        elif isinstance(step, Cell):
            self.strip.add(tile_of(step.picture, step.value, step.note))
        else:
            self.answered.emit(step)

    def _on_finished(self) -> None:
        self.strip.end()
        self.ended.emit()

    def _on_failed(self, error: Exception) -> None:
        self.strip.end()
        self.head.setText(str(error))
        self.ended.emit()
