"""One concept of a blinded review: its cells, and what the reviewer says of them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QStringListModel, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import load_vocabulary
from napari_cytosae.concepts.review import RATINGS, Answer, BlindPicture
from napari_cytosae.errors import CytoSAEError, NamesError
from napari_cytosae.export.palette import HUES
from napari_cytosae.viewer.gallery_tiles import Tile, TileStrip
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.mask_controls import MaskControls
from napari_cytosae.viewer.review_work import Filled, Reviewing, cells_job

_KEEP_MS = 400  # after the last letter
_NARROW = 640  # px: below this the answers stand under the cells
_MEANING = dict(
    zip(
        RATINGS,
        ("nothing in common", "something in some of the cells", "one thing in all of them"),
        strict=True,
    )
)
_NO_PICTURE = (
    "The images of this concept's cells are not on this computer any more. Skip it, or bring them "
    "back to where they were and come back to it."
)
_KEYS = {
    (Qt.Key.Key_PageDown, False): "next",
    (Qt.Key.Key_PageUp, False): "back",
    (Qt.Key.Key_PageDown, True): "skip",
}


class ReviewCard(QWidget):
    """Shows a `Reviewing` concept by concept, and saves what is said at once."""

    ended = Signal()  # gone past the last concept
    left = Signal()
    move_wanted = Signal()  # the sheet cannot be saved where it is

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._at: Reviewing | None = None
        self.place = 0
        self._cells: dict[int, tuple[BlindPicture, ...]] = {}
        self._showing = False
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_cells)
        self.jobs.failed.connect(lambda error: self.empty.setText(str(error)))
        self._build()
        self._keeping = QTimer(self)
        self._keeping.setSingleShot(True)
        self._keeping.setInterval(_KEEP_MS)
        self._keeping.timeout.connect(self.keep)

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = MaskControls()
        self.controls.changed.connect(self._restyle)
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
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(cells)
        self.splitter.addWidget(self._build_answers())
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)

    def _build_answers(self) -> QWidget:
        self.progress = QProgressBar()
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.leave = QPushButton("Leave")
        self.leave.setToolTip("Back to the table; the review goes on here whenever you like.")
        self.leave.clicked.connect(self._leave)
        top = QHBoxLayout()
        top.addWidget(self.progress, 1)
        top.addWidget(self.leave)
        self.name = QLineEdit()
        self.name.setPlaceholderText("what the cells have in common")
        self.name.setToolTip(
            "Your own words, or a term of the vocabulary: begin to type.\n"
            "Enter goes on to the rating."
        )
        self.name.textEdited.connect(lambda _: self._keeping.start())
        self._terms = QStringListModel(self)
        completer = QCompleter(self._terms, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated.connect(lambda _: self._keeping.start())
        self.name.setCompleter(completer)
        self.ratings = QButtonGroup(self)
        self.ratings.setExclusive(False)  # a second click takes the rating back
        row = QHBoxLayout()
        for number, rating in enumerate(RATINGS):
            button = QPushButton(f"{number + 1}  {rating}")
            button.setCheckable(True)
            button.setToolTip(f"{_MEANING[rating]}  (Ctrl+{number + 1}, or {number + 1} here)")
            button.installEventFilter(self)
            self.ratings.addButton(button, number)
            row.addWidget(button, 1)
        self.ratings.idClicked.connect(self._rate)
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("notes")
        self.notes.setTabChangesFocus(True)
        self.notes.setMinimumHeight(36)
        self.notes.textChanged.connect(self._on_notes)
        for field in (self.name, self.notes):
            field.installEventFilter(self)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Name", self.name)
        form.addRow("Rating", row)
        form.addRow("Notes", self.notes)
        self.back = QPushButton("◂ Back")
        self.back.setToolTip("The concept before (Page Up).")
        self.back.clicked.connect(lambda: self.step("back"))
        self.skip = QPushButton("Skip")
        self.skip.setToolTip("Go on without a rating; it stays open (Shift + Page Down).")
        self.skip.clicked.connect(lambda: self.step("skip"))
        self.next = QPushButton("Next ▸")
        self.next.setToolTip("Go on once it is rated (Enter, Page Down).")
        self.next.clicked.connect(lambda: self.step("next"))
        buttons = QHBoxLayout()
        for button in (self.back, self.skip, self.next):
            button.installEventFilter(self)
            buttons.addWidget(button, 1)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.move = QPushButton("Save elsewhere…")
        self.move.clicked.connect(self.move_wanted)
        self.move.hide()
        answers = QWidget()
        column = QVBoxLayout(answers)
        column.setContentsMargins(4, 0, 0, 0)
        column.addLayout(top)
        column.addLayout(form, 1)
        column.addLayout(buttons)
        column.addWidget(self.status)
        column.addWidget(self.move)
        return answers

    # -- what is shown ---------------------------------------------------------------------

    def show_review(self, at: Reviewing, place: int) -> None:
        """Begin with a concept, by its place from 0."""
        self._at = at
        self._cells.clear()
        try:
            words = [word for term in load_vocabulary() for word in term.words]
        except NamesError:  # without a vocabulary, names are free
            words = []
        self._terms.setStringList(words)
        self.status.setText("")
        self.move.hide()
        self._show(place)

    @property
    def concept(self) -> int:
        """The concept on show."""
        assert self._at is not None
        return int(self._at.review.concepts[self.place])

    def _show(self, place: int) -> None:
        assert self._at is not None
        self.place = place
        n = len(self._at.review.concepts)
        answer = self._at.file.said(self.concept)
        self._showing = True
        self.name.setText(answer.name)
        self.notes.setPlainText(answer.notes)
        self._showing = False
        self._check(answer.rating)
        self.back.setEnabled(place > 0)
        self.progress.setRange(0, n)
        self._tell_progress()
        self.strip.expect(0)
        self._fill()
        self.name.setFocus()

    def _tell_progress(self) -> None:
        assert self._at is not None
        n, done = len(self._at.review.concepts), self._at.file.sheet.done
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
            self.jobs.start(lambda cancelled: cells_job(atlas, missing, k, cancelled))

    def _on_cells(self, filled: Filled) -> None:
        self._cells[filled.concept_id] = filled.pictures
        if filled.concept_id == self.concept:
            self._show_cells()

    def _show_cells(self) -> None:
        cells = self._cells.get(self.concept)
        if cells is None:
            return
        self.strip.expect(len(cells))
        for cell in cells:
            self.strip.add(Tile(cell.crop, cell.concept_map, "", "", None))
        self.strip.end()
        self.empty.setText(_NO_PICTURE)
        self.empty.setVisible(not cells)
        self._restyle()

    def _restyle(self) -> None:
        self.strip.draw_as(self.controls.style_in(HUES[0]), self.controls.side)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        narrow = self.width() < _NARROW
        self.splitter.setOrientation(
            Qt.Orientation.Vertical if narrow else Qt.Orientation.Horizontal
        )

    # -- what is said ----------------------------------------------------------------------

    @property
    def rating(self) -> str:
        """What is chosen; empty for nothing."""
        chosen = [n for n in range(len(RATINGS)) if self.ratings.button(n).isChecked()]
        return RATINGS[chosen[0]] if chosen else ""

    def keep(self) -> bool:
        """Save what is said of the concept on show; tell whether it is on the disk."""
        self._keeping.stop()
        if self._at is None:
            return True
        file = self._at.file
        try:
            file.answer(self.concept, Answer(self.rating, self.name.text(), self._notes()))
        except CytoSAEError as error:
            n = len(file.unsaved)
            self.status.setText(
                f"Not saved: {error} {n} {'answer is' if n == 1 else 'answers are'} in memory only."
            )
            self.move.show()
            return False
        finally:
            self._tell_progress()
        self.status.setText(f"saved in {file.path.name}")
        self.status.setToolTip(str(file.path))
        self.move.hide()
        return True

    def _notes(self) -> str:
        return self.notes.toPlainText()

    def _on_notes(self) -> None:
        if not self._showing:
            self._keeping.start()

    def _check(self, rating: str) -> None:
        for number, each in enumerate(RATINGS):
            self.ratings.button(number).setChecked(each == rating)

    def _rate(self, number: int) -> None:
        """Follow a click: it chooses one rating, or takes it back."""
        self._check(RATINGS[number] if self.ratings.button(number).isChecked() else "")
        self.keep()

    def step(self, where: str) -> None:
        """Go on, back, or on without a rating."""
        if self._at is None:
            return
        saved = self.keep()
        if where == "next" and not self.rating:
            self.status.setText("Say how clear it is, or skip it.")
            self.ratings.button(0).setFocus()
            return
        place = self.place + (-1 if where == "back" else 1)
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

    # -- keys ------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the keys of the review from whatever field has them, before the window does."""
        kind = event.type()
        if kind not in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride):
            return super().eventFilter(watched, event)
        assert isinstance(event, QKeyEvent)
        act = self._act_of(watched, event)
        if act is None:
            return super().eventFilter(watched, event)
        if kind == QEvent.Type.ShortcutOverride:
            event.accept()
        else:
            act()
        return True

    def _act_of(self, watched: QObject, event: QKeyEvent) -> Any:
        key, held = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        control = held == Qt.KeyboardModifier.ControlModifier
        shift = held == Qt.KeyboardModifier.ShiftModifier
        plain = held == Qt.KeyboardModifier.NoModifier
        if (shift or plain) and (where := _KEYS.get((Qt.Key(key), shift))):
            return lambda: self.step(where)
        number = int(key) - int(Qt.Key.Key_1)
        written = watched in (self.name, self.notes)
        if 0 <= number < len(RATINGS) and (control or (plain and not written)):
            return self.ratings.button(number).click
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if control or (watched in self.ratings.buttons() and self.rating):
                return lambda: self.step("next")
            if watched is self.name and plain and not self._completing():
                return self._from_name
        return None

    def _completing(self) -> bool:
        popup = self.name.completer().popup()
        return popup is not None and popup.isVisible()

    def _from_name(self) -> None:
        if self.rating:
            self.step("next")
        else:
            self.keep()
            self.ratings.button(0).setFocus()
