"""What a reviewer says of one concept: the fields, and the keys that fill them without a mouse."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QStringListModel, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import load_vocabulary
from napari_cytosae.concepts.review import RATINGS, Answer
from napari_cytosae.errors import NamesError

BACK, SKIP, NEXT = "back", "skip", "next"
_MEANING = dict(
    zip(
        RATINGS,
        ("nothing in common", "something in some of the cells", "one thing in all of them"),
        strict=True,
    )
)
_STEPS = {
    (Qt.Key.Key_PageDown, False): NEXT,
    (Qt.Key.Key_PageUp, False): BACK,
    (Qt.Key.Key_PageDown, True): SKIP,
}


class ReviewAnswers(QWidget):
    """Name, rating and notes of one concept, and the way to the next."""

    edited = Signal()  # a letter more or less
    rated = Signal()
    stepped = Signal(str)  # BACK, SKIP or NEXT

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._writing = False
        self.name = QLineEdit()
        self.name.setPlaceholderText("what the cells have in common")
        self.name.setToolTip(
            "Your own words, or a term of the vocabulary: begin to type.\n"
            "Enter goes on to the rating."
        )
        self._terms = QStringListModel(self)
        completer = QCompleter(self._terms, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.name.setCompleter(completer)
        # Not textEdited: a chosen term counts, too.
        self.name.textChanged.connect(lambda _: self._on_edit())
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("notes")
        self.notes.setTabChangesFocus(True)
        self.notes.setMinimumHeight(32)
        self.notes.textChanged.connect(self._on_edit)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Name", self.name)
        form.addRow("Rating", self._build_ratings())
        form.addRow("Notes", self.notes)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form, 1)
        column.addLayout(self._build_steps())
        for field in (self.name, self.notes, *self.ratings.buttons(), *self.steps.values()):
            field.installEventFilter(self)

    def _build_ratings(self) -> QHBoxLayout:
        self.ratings = QButtonGroup(self)
        self.ratings.setExclusive(False)  # a second click takes the rating back
        row = QHBoxLayout()
        for number, rating in enumerate(RATINGS):
            button = QPushButton(f"{number + 1}  {rating}")
            button.setCheckable(True)
            button.setToolTip(f"{_MEANING[rating]}  (Ctrl+{number + 1}, or {number + 1} here)")
            self.ratings.addButton(button, number)
            row.addWidget(button, 1)
        self.ratings.idClicked.connect(self._rate)
        return row

    def _build_steps(self) -> QHBoxLayout:
        self.steps: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        for where, text, tooltip in (
            (BACK, "◂ Back", "The concept before (Page Up)."),
            (SKIP, "Skip", "Go on without a rating; it stays open (Shift + Page Down)."),
            (NEXT, "Next ▸", "Go on once it is rated (Enter, Page Down)."),
        ):
            button = self.steps[where] = QPushButton(text)
            button.setToolTip(tooltip)
            button.clicked.connect(lambda _=False, where=where: self.stepped.emit(where))
            row.addWidget(button, 1)
        return row

    # -- what is said ----------------------------------------------------------------------

    def load_vocabulary(self) -> None:
        """Offer the vocabulary's words; without one, names are free."""
        try:
            words = [word for term in load_vocabulary() for word in term.words]
        except NamesError:
            words = []
        self._terms.setStringList(words)

    @property
    def rating(self) -> str:
        """What is chosen; empty for nothing."""
        return next((RATINGS[n] for n in range(len(RATINGS)) if self._button(n).isChecked()), "")

    def read(self) -> Answer:
        """Give what the fields say."""
        return Answer(self.rating, self.name.text(), self.notes.toPlainText())

    def write(self, answer: Answer) -> None:
        """Fill the fields."""
        self._writing = True
        self.name.setText(answer.name)
        self.notes.setPlainText(answer.notes)
        self._writing = False
        self._check(answer.rating)

    def ask_for_rating(self) -> None:
        """Put the keyboard on the ratings."""
        self._button(0).setFocus()

    def _button(self, number: int) -> QPushButton:
        button = self.ratings.button(number)
        assert isinstance(button, QPushButton)
        return button

    def _on_edit(self) -> None:
        if not self._writing:
            self.edited.emit()

    def _check(self, rating: str) -> None:
        for number, each in enumerate(RATINGS):
            self._button(number).setChecked(each == rating)

    def _rate(self, number: int) -> None:
        """Follow a click: it chooses one rating, or takes it back."""
        self._check(RATINGS[number] if self._button(number).isChecked() else "")
        self.rated.emit()

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

    def _act_of(self, watched: QObject, event: QKeyEvent) -> Callable[[], object] | None:
        key, held = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        control = held == Qt.KeyboardModifier.ControlModifier
        shift = held == Qt.KeyboardModifier.ShiftModifier
        plain = held == Qt.KeyboardModifier.NoModifier
        if (shift or plain) and (where := _STEPS.get((Qt.Key(key), shift))):
            return lambda: self.stepped.emit(where)
        number = int(key) - int(Qt.Key.Key_1)
        written = watched in (self.name, self.notes)
        if 0 <= number < len(RATINGS) and (control or (plain and not written)):
            return self._button(number).click
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if control or (watched in self.ratings.buttons() and self.rating):
                return lambda: self.stepped.emit(NEXT)
            if watched is self.name and plain and not self._completing():
                return self._from_name
        return None

    def _completing(self) -> bool:
        popup = self.name.completer().popup()
        return popup is not None and popup.isVisible()

    def _from_name(self) -> None:
        if self.rating:
            self.stepped.emit(NEXT)
        else:
            self.ask_for_rating()
