"""The end of a blinded review: how far people agree, a report, and names for the dictionary."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_cytosae.concepts.review import kappa_rows, share_words
from napari_cytosae.viewer.folding_splitter import FoldingSplitter
from napari_cytosae.viewer.review_names import ReviewNames
from napari_cytosae.viewer.review_work import Compared, Reviewing

_ALONE = (
    "Agreement needs two reviewers: others join with the same folder, here or with a sheet of their "
    "own."
)


class ReviewEnd(QWidget):
    """Shows what sheets say together; until one's own is finished, only how far each one is."""

    left = Signal()
    back_wanted = Signal()  # to the concepts
    report_wanted = Signal()
    compare_wanted = Signal()  # all the same, before one's own sheet is finished

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._at: Reviewing | None = None
        self.compared: Compared | None = None
        self.names = ReviewNames()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(FoldingSplitter(self._build_agreement(), self.names))

    def _build_agreement(self) -> QWidget:
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Reviewers", "Kappa", "95 % interval", "Concepts"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.shares = QLabel()
        self.shares.setWordWrap(True)
        self.back = QPushButton("◂ Back to the concepts")
        self.back.clicked.connect(self.back_wanted)
        self.anyway = QPushButton("Compare all the same")
        self.anyway.setToolTip(
            "You see what others said; what you rate after that is not blind any more."
        )
        self.anyway.clicked.connect(self.compare_wanted)
        self.report = QPushButton("Save the report…")
        self.report.setToolTip("All of this, and each answer, as a page of Markdown.")
        self.report.clicked.connect(self.report_wanted)
        self.leave = QPushButton("Leave")
        self.leave.clicked.connect(self.left)
        buttons = QFlowLayout()
        buttons.setHorizontalSpacing(6)
        buttons.setVerticalSpacing(6)
        for button in (self.back, self.anyway, self.report, self.leave):
            buttons.addWidget(button)
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 4, 0)
        column.addWidget(self.message)
        column.addWidget(self.table, 1)
        column.addWidget(self.shares)
        column.addLayout(buttons)
        return side

    def wait_for(self, at: Reviewing, *, blind: bool) -> None:
        """Show how far one's own sheet is, while others are read; `blind`: they are not yet."""
        self._at, self.compared = at, None
        n, done = len(at.review.concepts), at.file.sheet.done
        self.table.setRowCount(0)
        self.table.hide()
        self.shares.setText("")
        self.names.clear()
        self.names.setVisible(not blind)
        self.anyway.setVisible(blind)
        self.report.setEnabled(False)
        if blind:
            self.message.setText(
                f"You have rated {done} of {n} concepts. What others said is shown when you have "
                "rated all of them, so that it does not lead you. All is saved."
            )
        else:
            self.message.setText("Reading sheets …")

    def show_compared(self, compared: Compared) -> None:
        """Show the sheets of a folder and how far they agree."""
        self.compared = compared
        lines = [f"{s.reviewer}: {s.done} of {len(s.concepts)} rated." for s in compared.sheets]
        found = compared.agreement
        rows = [] if found is None else kappa_rows(found)
        self.table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            for column, words in enumerate(row):
                item = QTableWidgetItem(words)
                if column in (1, 3):
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(place, column, item)
        self.table.setVisible(found is not None)
        self.shares.setText("" if found is None else " ".join(share_words(found)))
        self.report.setEnabled(found is not None)
        if found is None:
            lines.append(_ALONE)
        self.message.setText("\n".join(lines))
        assert self._at is not None
        self.names.show_names(self._at, compared.sheets)

    def say(self, words: str) -> None:
        """Say what was done, or what went wrong."""
        self.shares.setText(words)
