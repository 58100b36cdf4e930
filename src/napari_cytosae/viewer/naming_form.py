"""Name the chosen concept: words from a vocabulary or free ones, with history and undo."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QStringListModel, Qt, Signal
from qtpy.QtGui import QKeySequence, QPalette
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QShortcut,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import (
    TISSUES,
    Dictionary,
    EditStack,
    Entry,
    Naming,
    Vocabulary,
    load_vocabulary,
    remember_author,
    remembered_author,
)
from napari_cytosae.errors import NamesError
from napari_cytosae.viewer.name_history import history_lines, side_by_side
from napari_cytosae.viewer.names_menu import NamesMenu
from napari_cytosae.viewer.session import Session
from napari_cytosae.viewer.subscriptions import Subscriptions

_EMPTY = "Choose a concept to name it."
_TISSUE_OF = {
    "nucleus": "nucleus",
    "cytoplasm": "cytoplasm",
    "cell border": "membrane",
    "background": "background",
}
"""Where a concept lives, by the compartment that measured cells show it in."""
_UNKNOWN_SAE = (
    "Names belong to an SAE, and this atlas does not say which one its concepts are of. "
    "Add its model with the command bundles, and build the atlas with it."
)


class NamingForm(QWidget):
    """What is said of the session's chosen concept, and the fields to say something else."""

    failed = Signal(str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._stack: EditStack | None = None
        self._shown: tuple[Dictionary | None, int | None] = (None, None)
        self._written = Naming()
        self._vocabulary = Vocabulary(())
        self._build()
        self.subscriptions = Subscriptions()
        self.subscriptions.connect(session.concept_changed, self.refresh)
        self.subscriptions.connect(session.results_changed, self.refresh)
        self.subscriptions.connect(session.atlas_changed, self.refresh)
        self.subscriptions.connect(session.dictionary_changed, self.refresh)
        self.subscriptions.connect(session.names_changed, self._on_names)
        self.load_vocabulary()
        self.refresh()

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.title = QLabel(_EMPTY)
        self.title.setWordWrap(True)
        self.menu = NamesMenu(self._session)
        self.menu.said.connect(self.failed)
        self.menu.vocabulary_changed.connect(self.load_vocabulary)
        self.suggestion = QPushButton()
        self.suggestion.setToolTip("Take over what was suggested; you can change it before saving.")
        self.suggestion.clicked.connect(self._take_suggestion)
        self.name = QLineEdit()
        self.name.setPlaceholderText("for example: eosinophil granules")
        self.name.setToolTip("Free words, or a term of the vocabulary: begin to type.")
        self._terms = QStringListModel(self)
        completer = QCompleter(self._terms, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated.connect(self._take_term)
        self.name.setCompleter(completer)
        self.name.returnPressed.connect(self.save)
        self.synonyms = QLineEdit()
        self.synonyms.setPlaceholderText("parted by commas")
        self.tissue = QComboBox()
        self.tissue.addItem("–", "")
        for tissue in TISSUES:
            self.tissue.addItem(tissue, tissue)
        self.confidence = QSpinBox()
        self.confidence.setRange(-5, 100)
        self.confidence.setSingleStep(5)
        self.confidence.setValue(-5)
        self.confidence.setSpecialValueText("not said")
        self.confidence.setSuffix(" %")
        self.confidence.setToolTip("How sure you are of the name.")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("notes")
        self.notes.setTabChangesFocus(True)
        self.notes.setMaximumHeight(56)
        self.author = QLineEdit(remembered_author())
        self.author.setToolTip("Stands beside the name, for all who read the dictionary.")
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        pair = QHBoxLayout()
        pair.addWidget(self.tissue, 1)
        pair.addWidget(QLabel("sure"))
        pair.addWidget(self.confidence)
        for label, field in (
            ("Name", self.name), ("Also called", self.synonyms), ("In", pair),
            ("Notes", self.notes), ("By", self.author),
        ):  # fmt: skip
            form.addRow(label, field)
        self.save_button = QPushButton("&Save name")
        self.save_button.setToolTip("Save in the dictionary (Enter in the name, or Ctrl+Enter).")
        self.save_button.clicked.connect(self.save)
        self.remove = QPushButton("Take away")
        self.remove.setToolTip("Take the name away; the history keeps it.")
        self.remove.clicked.connect(self._take_away)
        self.undo = _tool("↶", "Undo the last change of names (Ctrl+Z in this form).")
        self.undo.clicked.connect(lambda: self._step("undo"))
        self.redo = _tool("↷", "Do it again (Ctrl+Shift+Z).")
        self.redo.clicked.connect(lambda: self._step("redo"))
        buttons = QHBoxLayout()
        for button in (self.save_button, self.remove):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.undo, self.redo):
            buttons.addWidget(button)
        self.history = QLabel()
        self.history.setWordWrap(True)
        self.history.setTextFormat(Qt.TextFormat.RichText)
        self.history.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.disputed = QLabel()
        self.disputed.setTextFormat(Qt.TextFormat.RichText)
        self.disputed.setWordWrap(True)
        self.disputed.setToolTip("Take one, change it if you like, and save: that decides it.")
        self.disputed.linkActivated.connect(self._take_record)
        self.disputed.hide()

        self._fields = QWidget()
        inner = QVBoxLayout(self._fields)
        inner.setContentsMargins(0, 0, 4, 0)
        inner.addWidget(self.disputed)
        inner.addWidget(self.suggestion)
        inner.addLayout(form)
        inner.addLayout(buttons)
        inner.addWidget(self.history)
        inner.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(self._fields)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(self.menu)
        layout.addLayout(head)
        layout.addWidget(area, 1)
        for keys, act in (
            ("Ctrl+Return", self.save),
            ("Ctrl+Z", lambda: self._step("undo")),
            ("Ctrl+Shift+Z", lambda: self._step("redo")),
        ):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)

    def load_vocabulary(self) -> None:
        """Read the vocabulary; without one, names are free."""
        try:
            self._vocabulary = load_vocabulary()
        except NamesError as error:
            self.failed.emit(str(error))
        self._terms.setStringList([word for term in self._vocabulary for word in term.words])

    # -- what is shown ---------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether something was typed that is not saved."""
        return self._fields.isEnabled() and self._typed() != self._written

    def refresh(self) -> None:
        """Show what is said of the chosen concept; what was typed for the same one stays."""
        dictionary, concept = self._session.dictionary, self._session.concept
        before = self._shown
        if (dictionary, concept) == before and self.changed:
            self._show_history()
            return
        if self.changed and before[0] is not None and before[1] is not None:
            # Nothing that was typed is lost by clicking elsewhere.
            self._give(before[1], self._typed())
        self._shown = (dictionary, concept)
        if dictionary is not None and (
            self._stack is None or self._stack.dictionary is not dictionary
        ):
            self._stack = EditStack(dictionary, self.author.text())
        known = dictionary is not None and concept is not None
        self._fields.setEnabled(known)
        if not known:
            self.title.setText(_EMPTY if concept is None else _UNKNOWN_SAE)
            self._write(Naming())
            self.suggestion.setVisible(False)
            self.history.setText("")
            self.disputed.hide()
            return
        entry = dictionary.entry(concept)
        self.title.setText(f"<b>{escape(self._title(entry))}</b>")
        self._write(entry.standing[0].naming if entry.standing else Naming())
        self._show_history()

    def _title(self, entry: Entry) -> str:
        if entry.conflict:
            return f"#{entry.concept_id} has several names: choose one below"
        if entry.standing:
            return f"#{entry.concept_id} {entry.name}"
        return f"#{entry.concept_id} is not named yet"

    def _suggested(self) -> Naming | None:
        dictionary, concept = self._shown
        if dictionary is None or concept is None:
            return None
        suggestions = dictionary.entry(concept).suggestions
        if suggestions:
            return suggestions[0].naming
        atlas = self._session.atlas
        if atlas is not None and concept < atlas.d_sae:
            row = atlas.table.iloc[concept]
            if row["suggestion"]:
                return Naming(str(row["suggestion"]))
            if row.get("seen_name"):
                tissue = _TISSUE_OF.get(row["compartment"], "")
                return Naming(row["seen_name"], (), tissue, row["seen"])
        return None

    def _show_history(self) -> None:
        dictionary, concept = self._shown
        if dictionary is None or concept is None:
            return
        entry = dictionary.entry(concept)
        suggested = self._suggested()
        self.suggestion.setVisible(suggested is not None)
        if suggested is not None:
            self.suggestion.setText(f"Suggested: {suggested.name}")
        history = list(reversed(dictionary.history(concept)))
        ink = self.palette().color(QPalette.ColorRole.WindowText).name()
        self.disputed.setText(side_by_side(entry, ink))
        self.disputed.setVisible(entry.conflict)
        self.history.setText(history_lines(history, entry))
        self._records = {record.id: record for record in history}
        stack = self._stack
        self.undo.setEnabled(stack is not None and stack.can_undo)
        self.redo.setEnabled(stack is not None and stack.can_redo)
        self.remove.setEnabled(bool(entry.standing))

    def _write(self, naming: Naming) -> None:
        self._written = naming
        self.name.setText(naming.name)
        self.synonyms.setText(", ".join(naming.synonyms))
        self.tissue.setCurrentIndex(max(self.tissue.findData(naming.tissue), 0))
        confidence = naming.confidence
        self.confidence.setValue(-5 if confidence is None else round(100 * confidence))
        self.notes.setPlainText(naming.notes)

    def _typed(self) -> Naming:
        sure = self.confidence.value()
        written = self._written.confidence
        confidence = None if sure < 0 else sure / 100
        if written is not None and confidence is not None and round(100 * written) == sure:
            confidence = written  # finer than the field shows
        return Naming(
            self.name.text(),
            tuple(self.synonyms.text().split(",")),
            self.tissue.currentData() or "",
            self.notes.toPlainText(),
            confidence,
        )

    # -- what the user does ----------------------------------------------------------------

    def save(self) -> None:
        """Save what was typed."""
        concept = self._shown[1]
        if concept is not None and self._fields.isEnabled():
            self._give(concept, self._typed())
            self._written = self._typed()
            self.refresh()

    def _take_away(self) -> None:
        concept = self._shown[1]
        if concept is not None:
            self._give(concept, None)
            self._write(Naming())
            self.refresh()

    def _give(self, concept: int, naming: Naming | None) -> None:
        stack = self._stack
        if stack is None:
            return
        stack.author = self.author.text()
        try:
            stack.give(concept, naming)
            remember_author(self.author.text())
        except NamesError as error:
            self.failed.emit(str(error))

    def _step(self, which: str) -> None:
        if self._stack is None:
            return
        try:
            edit = getattr(self._stack, which)()
        except NamesError as error:
            self.failed.emit(str(error))
            return
        if edit:
            self._written = self._typed()  # what is shown is replaced
            self._session.choose_concept(edit.changes[0].concept_id)
            self._shown = (self._shown[0], None)
            self.refresh()

    def _take_suggestion(self) -> None:
        suggested = self._suggested()
        if suggested is not None:
            self._fill(suggested)
            self._take_term(suggested.name)

    def _take_term(self, word: str) -> None:
        """Complete what is known of a term: its synonyms and where it lives."""
        term = self._vocabulary.find(word)
        if term is None:
            return
        self.name.setText(term.name)
        if not self.synonyms.text():
            self.synonyms.setText(", ".join(term.synonyms))
        if not self.tissue.currentData():
            self.tissue.setCurrentIndex(max(self.tissue.findData(term.tissue), 0))

    def _take_record(self, record_id: str) -> None:
        record = self._records.get(record_id)
        if record is not None:
            self._fill(record.naming)

    def _fill(self, naming: Naming) -> None:
        """Put a naming into the fields without taking it for saved."""
        written = self._written
        self._write(naming)
        self._written = written

    def _on_names(self, concepts: frozenset[int]) -> None:
        if self._shown[1] in concepts:
            self.refresh()


def _tool(text: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tooltip)
    button.setAccessibleName(tooltip)
    return button
