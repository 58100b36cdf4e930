"""Names that reviewers gave, beside those of the dictionary: chosen, and adopted together."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import (
    Dictionary,
    Vocabulary,
    dictionary_of,
    load_vocabulary,
)
from napari_cytosae.concepts.review import GivenName, Proposal, ReviewSheet, adopt, proposals
from napari_cytosae.errors import NamesError
from napari_cytosae.viewer.review_work import Reviewing

_LEAVE = "– leave as it is –"
_NONE = "No concept was given a name."
_UNKNOWN = "Names cannot be adopted: it is not known which autoencoder this review is of."


class _Choice(QComboBox):
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # who scrolls through the list chooses nothing by it


class ReviewNames(QWidget):
    """One row for each concept that was named; where people differ, a person chooses."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._dictionary: Dictionary | None = None
        self._sheets: Sequence[ReviewSheet] = ()
        self.proposals: list[Proposal] = []
        self.choices: list[QComboBox] = []
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Concept", "Now", "Adopt"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.verticalHeader().hide()
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.adopt_button = QPushButton("Adopt names")
        self.adopt_button.setToolTip(
            "Write them into the dictionary, with their reviewers; the history keeps what was."
        )
        self.adopt_button.clicked.connect(self.adopt)
        row = QHBoxLayout()
        row.addWidget(self.message, 1)
        row.addWidget(self.adopt_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 0, 0)
        column.addWidget(self.table, 1)
        column.addLayout(row)

    def clear(self) -> None:
        """Show nothing."""
        self._dictionary, self._sheets = None, ()
        self._fill([])
        self.message.setText("")

    def show_names(self, at: Reviewing, sheets: Sequence[ReviewSheet]) -> None:
        """List what reviewers named."""
        self.clear()
        self._sheets = sheets
        digest = at.review.sae_digest or at.atlas.sae_digest
        if not digest:
            self.message.setText(_UNKNOWN)
            return
        try:
            self._dictionary = dictionary_of(digest)
        except NamesError as error:
            self.message.setText(str(error))
            return
        self._list()

    def _list(self) -> None:
        assert self._dictionary is not None
        found = [each for each in proposals(self._sheets, self._dictionary) if not each.settled]
        # Those that need a decision first.
        self._fill(sorted(found, key=lambda each: not each.conflict))
        conflicts = sum(each.conflict for each in found)
        words = f"{conflicts} of them need your choice." if conflicts else ""
        self.message.setText(words if found else _NONE)

    def _fill(self, found: list[Proposal]) -> None:
        self.proposals, self.choices = found, []
        self.table.setRowCount(len(found))
        for place, proposal in enumerate(found):
            for column, words in enumerate((f"#{proposal.concept_id}", " / ".join(proposal.now))):
                item = QTableWidgetItem(words or "–")
                item.setToolTip(words)
                self.table.setItem(place, column, item)
            box = _choice_of(proposal)
            box.currentIndexChanged.connect(lambda _: self._count())
            self.choices.append(box)
            self.table.setCellWidget(place, 2, box)
        self.table.resizeRowsToContents()
        self._count()

    @property
    def chosen(self) -> list[tuple[Proposal, GivenName]]:
        """What would be adopted."""
        pairs = zip(self.proposals, self.choices, strict=True)
        return [(each, given) for each, box in pairs if (given := box.currentData()) is not None]

    def _count(self) -> None:
        n = len(self.chosen)
        self.adopt_button.setText(f"Adopt {n} {'name' if n == 1 else 'names'}")
        self.adopt_button.setEnabled(n > 0)

    def adopt(self) -> None:
        """Write what is chosen into the dictionary."""
        if self._dictionary is None or not self.chosen:
            return
        try:
            vocabulary = load_vocabulary()
        except NamesError:  # then names bring nothing along
            vocabulary = Vocabulary(())
        try:
            n = adopt(self.chosen, self._dictionary, vocabulary)
        except NamesError as error:
            self._list()
            self.message.setText(str(error))
            return
        self._list()
        self.message.setText(f"{n} {'concept was' if n == 1 else 'concepts were'} named.")


def _choice_of(proposal: Proposal) -> QComboBox:
    box = _Choice()
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(16)
    box.addItem(_LEAVE, None)
    for given in proposal.given:
        unclear = ", unclear" if given.unclear else ""
        box.addItem(f"{given.name}  ({', '.join(given.reviewers)}{unclear})", given)
        if given is proposal.choice:
            box.setCurrentIndex(box.count() - 1)
    return box
