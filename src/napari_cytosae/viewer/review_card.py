"""One concept of a blinded review: its cells, and what the reviewer says of them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.atlas import ReferenceMaps
from napari_cytosae.concepts.review import BlindPicture
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.palette import HUES
from napari_cytosae.viewer.folding_splitter import FoldingSplitter
from napari_cytosae.viewer.gallery_tiles import Tile, TileStrip
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.mask_controls import MaskControls
from napari_cytosae.viewer.review_answers import BACK, NEXT, ReviewAnswers
from napari_cytosae.viewer.review_work import Filled, Reviewing, cells_job

_KEEP_MS = 400  # after the last letter
_NO_PICTURE = (
    "The images of this concept's cells are not on this computer any more. Skip it, or bring them "
    "back to where they were and come back to it."
)


class ReviewCard(QWidget):
    """Shows a `Reviewing` concept by concept, and saves what is said at once."""

    ended = Signal()  # gone past the last concept
    left = Signal()
    move_wanted = Signal()  # the sheet cannot be saved where it is

    def __init__(self, maps: ReferenceMaps | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._maps = maps or ReferenceMaps()
        self._at: Reviewing | None = None
        self.place = 0
        self._cells: dict[int, tuple[BlindPicture, ...]] = {}
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_cells)
        self.jobs.failed.connect(self._on_failure)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(FoldingSplitter(self._build_cells(), self._build_side()))
        self._keeping = QTimer(self)
        self._keeping.setSingleShot(True)
        self._keeping.setInterval(_KEEP_MS)
        self._keeping.timeout.connect(self.keep)

    # -- building --------------------------------------------------------------------------

    def _build_cells(self) -> QWidget:
        self.controls = MaskControls()
        self.controls.changed.connect(self._restyle)
        self.controls.compute_toggled.connect(self._cut_anew)
        self.strip = TileStrip(captions=False)
        self.strip.setAccessibleName("Cells of the concept under review")
        self.empty = QLabel()
        self.empty.setWordWrap(True)
        self.empty.hide()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(self.strip)
        cells = QWidget()
        column = QVBoxLayout(cells)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.controls)
        column.addWidget(self.empty)
        column.addWidget(area, 1)
        return cells

    def _build_side(self) -> QWidget:
        self.progress = QProgressBar()
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.leave = QPushButton("Leave")
        self.leave.setToolTip("Back to the table; the review goes on here whenever you like.")
        self.leave.clicked.connect(self._leave)
        top = QHBoxLayout()
        top.addWidget(self.progress, 1)
        top.addWidget(self.leave)
        self.answers = ReviewAnswers()
        self.answers.edited.connect(lambda: self._keeping.start())
        self.answers.rated.connect(self.keep)
        self.answers.stepped.connect(self.step)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.move_button = QPushButton("Save elsewhere…")
        self.move_button.clicked.connect(self.move_wanted)
        self.move_button.hide()
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(4, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.answers, 1)
        column.addWidget(self.status)
        column.addWidget(self.move_button)
        return side

    # -- what is shown ---------------------------------------------------------------------

    def show_review(self, at: Reviewing, place: int) -> None:
        """Begin with a concept, by its place from 0."""
        self._at = at
        self._cells.clear()
        self.answers.load_vocabulary()
        self.status.setText("")
        self.move_button.hide()
        self._show(place)

    @property
    def concept(self) -> int:
        """The concept on show."""
        assert self._at is not None
        return int(self._at.review.concepts[self.place])

    def _show(self, place: int) -> None:
        assert self._at is not None
        self.place = place
        self.answers.write(self._at.file.said(self.concept))
        self.answers.steps[BACK].setEnabled(place > 0)
        last = place == len(self._at.review.concepts) - 1
        self.answers.steps[NEXT].setText("To the end ▸" if last else "Next ▸")
        self._tell_progress()
        self.strip.expect(0)
        self._fill()
        self.answers.name.setFocus()

    def _tell_progress(self) -> None:
        assert self._at is not None
        n, done = len(self._at.review.concepts), self._at.file.sheet.done
        self.progress.setRange(0, n)
        self.progress.setValue(done)
        self.progress.setFormat(f"{self.place + 1} of {n}  ·  {done} rated")

    def _fill(self) -> None:
        """Show the concept's cells, and have those of the next one cut meanwhile."""
        assert self._at is not None
        concepts = self._at.review.concepts
        near = [int(concept) for concept in concepts[self.place : self.place + 2]]
        self._cells = {concept: cells for concept, cells in self._cells.items() if concept in near}
        self.empty.setText("Cutting cells …")
        self.empty.show()
        self._show_cells()
        missing = [concept for concept in near if concept not in self._cells]
        if missing:
            atlas, k = self._at.atlas, self._at.review.plan.references
            maps = self._maps if self.controls.compute.isChecked() else None
            self.jobs.start(lambda cancelled: cells_job(atlas, missing, k, maps, cancelled))

    def _cut_anew(self) -> None:
        self._cells.clear()
        if self._at is not None:
            self._fill()

    def _on_cells(self, filled: Filled) -> None:
        self._cells[filled.concept_id] = filled.pictures
        if filled.concept_id == self.concept:
            self._show_cells()

    def _on_failure(self, error: Exception) -> None:
        self.empty.setText(str(error))
        self.empty.show()

    def _show_cells(self) -> None:
        cells = self._cells.get(self.concept)
        if cells is None:
            return
        self.strip.expect(len(cells))
        for cell in cells:
            self.strip.add(Tile(cell.crop, cell.concept_map, "", "", None))
        self.strip.end()
        assert self._at is not None
        known = [cell.concept_map is not None for cell in cells]
        computable = any(ReferenceMaps.bundle_for(data) is not None for data in self._at.atlas)
        self.controls.follow_maps(any(known), computable and not all(known))
        self.empty.setText(_NO_PICTURE)
        self.empty.setVisible(not cells)
        self._restyle()

    def _restyle(self) -> None:
        self.strip.draw_as(self.controls.style_in(HUES[0]), self.controls.side)

    # -- what is said ----------------------------------------------------------------------

    def keep(self) -> bool:
        """Save what is said of the concept on show; tell whether it is on the disk."""
        self._keeping.stop()
        if self._at is None:
            return True
        file = self._at.file
        try:
            file.answer(self.concept, self.answers.read())
        except CytoSAEError as error:
            n = len(file.unsaved)
            self.status.setText(
                f"Not saved: {error} {n} {'answer is' if n == 1 else 'answers are'} in memory only."
            )
            self.move_button.show()
            return False
        finally:
            self._tell_progress()
        self.status.setText(f"Saved in {file.path.name}")
        self.status.setToolTip(str(file.path))
        self.move_button.hide()
        return True

    def step(self, where: str) -> None:
        """Go on, back, or on without a rating."""
        if self._at is None:
            return
        saved = self.keep()
        if where == NEXT and not self.answers.rating:
            self.status.setText("Say how clear it is, or skip it.")
            self.answers.ask_for_rating()
            return
        place = self.place + (-1 if where == BACK else 1)
        if place >= len(self._at.review.concepts):
            if saved:
                self.ended.emit()
        elif place >= 0:
            self._show(place)

    def _leave(self) -> None:
        if self.keep():
            self.left.emit()

    def hideEvent(self, event: Any) -> None:
        if self._keeping.isActive():
            self.keep()
        super().hideEvent(event)
