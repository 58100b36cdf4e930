"""The lab's vocabulary as a table to edit: families, terms, synonyms, where they live, meanings."""

from __future__ import annotations

from qtpy.QtCore import QAbstractItemModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import (
    TISSUES,
    Term,
    Vocabulary,
    load_vocabulary,
    vocabulary_path,
)
from napari_cytosae.errors import NamesError

_HEADS = ("Family", "Term", "Also called", "In", "Meaning")
_TISSUE = 3
_MEANWHILE = (
    "Somebody else has changed the vocabulary meanwhile. Copy what you changed, close this window, "
    "and open it again."
)


class VocabularyEditor(QDialog):
    """Edits the vocabulary that `load_vocabulary` reads; nothing is written before Save."""

    saved = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Vocabulary")
        self.resize(900, 560)
        self._loaded = Vocabulary(())
        self._build()
        try:
            self._loaded = load_vocabulary()
        except NamesError as error:
            self.message.setText(str(error))
            self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(False)
        self._show(self._loaded)

    def _build(self) -> None:
        self.search = QLineEdit()
        self.search.setPlaceholderText("search")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.add = QPushButton("Add a term")
        self.add.clicked.connect(self.add_term)
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take the selected terms out.")
        self.remove.clicked.connect(self.remove_terms)
        self.restore = QPushButton()
        self.restore.setToolTip("Terms that come with the package and are not in the table.")
        self.restore.clicked.connect(self.bring_back)
        top = QHBoxLayout()
        top.addWidget(self.search, 1)
        for button in (self.add, self.remove, self.restore):
            top.addWidget(button)
        self.table = QTableWidget(0, len(_HEADS))
        self.table.setHorizontalHeaderLabels(list(_HEADS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setItemDelegateForColumn(_TISSUE, _TissueDelegate(self.table))
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        for column, width in enumerate((110, 190, 240, 90)):
            self.table.setColumnWidth(column, width)
        self.table.horizontalHeader().setSectionResizeMode(
            len(_HEADS) - 1, QHeaderView.ResizeMode.Stretch
        )
        self.table.itemChanged.connect(lambda _: self._count())
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Save | buttons.Cancel)
        self.buttons.accepted.connect(self.save)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.message)
        layout.addWidget(self.buttons)

    # -- what is shown ---------------------------------------------------------------------

    def _show(self, vocabulary: Vocabulary) -> None:
        self.table.setRowCount(0)
        for term in vocabulary:
            self._insert(self.table.rowCount(), term)
        self._count()

    def _insert(self, row: int, term: Term | None, family: str = "") -> None:
        words = [family, "", "", "", ""]
        if term is not None:
            words = [term.family, term.name, "; ".join(term.synonyms), term.tissue, term.meaning]
        blocked = self.table.blockSignals(True)
        self.table.insertRow(row)
        for column, text in enumerate(words):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            self.table.setItem(row, column, item)
        self.table.blockSignals(blocked)

    def _text(self, row: int, column: int) -> str:
        item = self.table.item(row, column)
        return "" if item is None else item.text().strip()

    def _filter(self, text: str) -> None:
        parts = text.casefold().split()
        for row in range(self.table.rowCount()):
            words = " ".join(self._text(row, column) for column in range(len(_HEADS))).casefold()
            self.table.setRowHidden(row, not all(part in words for part in parts))

    def _missing(self) -> list[Term]:
        here = {self._text(row, 1).casefold() for row in range(self.table.rowCount())}
        return [term for term in Vocabulary.shipped() if term.name.casefold() not in here]

    def _count(self) -> None:
        missing = len(self._missing())
        self.restore.setText(f"Bring back {missing} shipped" if missing else "All shipped are here")
        self.restore.setEnabled(missing > 0)

    # -- what the user does ----------------------------------------------------------------

    def add_term(self) -> None:
        """Begin a term, in the family of the row that is chosen."""
        self.search.clear()
        at = self.table.currentRow()
        row = self.table.rowCount() if at < 0 else at + 1
        self._insert(row, None, "" if at < 0 else self._text(at, 0))
        self.table.setCurrentCell(row, 1 if self._text(row, 0) else 0)
        self.table.editItem(self.table.currentItem())

    def remove_terms(self) -> None:
        """Take the selected terms out."""
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        for row in sorted(rows, reverse=True):
            self.table.removeRow(row)
        self._count()

    def bring_back(self) -> None:
        """Add the shipped terms that are missing, each to its family."""
        for term in self._missing():
            last = max(
                (r for r in range(self.table.rowCount()) if self._text(r, 0) == term.family),
                default=self.table.rowCount() - 1,
            )
            self._insert(last + 1, term)
        self._filter(self.search.text())
        self._count()

    def vocabulary(self) -> Vocabulary:
        """Make a vocabulary of the table; rows without any word are passed over.

        Raises
        ------
        NamesError
            A term lacks its family or name, is there twice, or lives nowhere known.
        """
        terms = []
        for row in range(self.table.rowCount()):
            family, name, synonyms, tissue, meaning = (
                self._text(row, column) for column in range(len(_HEADS))
            )
            if not (name or synonyms or meaning):
                continue
            try:
                terms.append(Term(family, name, tuple(synonyms.split(";")), tissue, meaning))
            except NamesError:
                self.table.setCurrentCell(row, 1)
                raise
        return Vocabulary(tuple(terms))

    def save(self) -> None:
        """Write the table, and close; what is wrong is said, and stays to be mended."""
        self.setFocus()  # a word that is being typed counts
        try:
            vocabulary = self.vocabulary()
            if load_vocabulary().terms != self._loaded.terms:
                raise NamesError(_MEANWHILE)
            vocabulary.write(vocabulary_path())
        except NamesError as error:
            self.message.setText(str(error))
            return
        self.saved.emit()
        self.accept()


class _TissueDelegate(QStyledItemDelegate):
    """Offers the tissues that there are."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget:
        box = QComboBox(parent)
        box.addItems(["", *TISSUES])
        return box

    def setEditorData(self, editor: QWidget, index: QModelIndex) -> None:
        assert isinstance(editor, QComboBox)
        editor.setCurrentText(str(index.data()))

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: QModelIndex) -> None:
        assert isinstance(editor, QComboBox)
        model.setData(index, editor.currentText())
