"""How a review begins: a folder, a name, and what is drawn."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts.naming import remembered_author
from napari_cytosae.concepts.review import Review, ReviewPlan, read_sheet
from napari_cytosae.errors import NamesError

_WHAT = (
    "<b>Blinded review.</b> You see the cells that show a concept best, one concept after another, "
    "without labels, names or numbers, and say what they have in common and how clear that is. "
    "Who reviews in the same folder gets the same concepts; how far you agree is told in the end."
)
_LOOK_MS = 200  # after the last letter of a folder's name


class ReviewStart(QWidget):
    """The form; `asked` tells what was filled in."""

    asked = Signal(object, str, object)  # folder, reviewer, ReviewPlan (None: go on with that one)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.review: Review | None = None
        self._trouble = ""
        self._busy = False
        self._build()
        self._looking = QTimer(self)
        self._looking.setSingleShot(True)
        self._looking.setInterval(_LOOK_MS)
        self._looking.timeout.connect(self.look)
        self.folder.textChanged.connect(lambda _: self._looking.start())
        self.reviewer.textChanged.connect(lambda _: self._tell())
        for box in (self.clusters, self.per_cluster):
            box.valueChanged.connect(lambda _: self._tell())
        self.look()

    def _build(self) -> None:
        what = QLabel(_WHAT)
        what.setWordWrap(True)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("a folder, best one that all reviewers see")
        self.folder.setToolTip(
            "Sheets lie here. A folder that holds a review is gone on with, or joined."
        )
        choose = QPushButton("Choose…")
        choose.clicked.connect(self._choose)
        self.reviewer = QLineEdit(remembered_author())
        self.reviewer.setToolTip("Stands in the sheet, and beside the names that are adopted.")
        self.clusters = _number(1, 100, 10, "Regions of mean activation and frequency.")
        self.per_cluster = _number(1, 100, 5, "Concepts drawn from each region.")
        self.total = QLabel()
        self.references = _number(1, 50, 10, "Cells shown of each data set.")
        self.seed = _number(0, 2**31 - 1, 0, "The same seed draws the same concepts.")
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(choose)
        drawn = QHBoxLayout()
        for widget in (
            self.clusters, QLabel("kinds ×"), self.per_cluster, self.total,
        ):  # fmt: skip
            drawn.addWidget(widget)
        drawn.addStretch(1)
        shown = QHBoxLayout()
        for widget in (self.references, QLabel("of each data set")):
            shown.addWidget(widget)
        shown.addStretch(1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Folder", folder)
        form.addRow("Your name", self.reviewer)
        form.addRow("Concepts", drawn)
        form.addRow("Cells", shown)
        form.addRow("Seed", self.seed)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.begin = QPushButton("Begin")
        self.begin.clicked.connect(self._ask)
        for field in (self.folder, self.reviewer):
            field.returnPressed.connect(self._ask)
        self.leave = QPushButton("Back to the table")
        self.leave.clicked.connect(self.left)
        buttons = QHBoxLayout()
        buttons.addWidget(self.begin)
        buttons.addWidget(self.leave)
        buttons.addStretch(1)
        inner = QWidget()
        inner.setMaximumWidth(760)
        column = QVBoxLayout(inner)
        column.addWidget(what)
        column.addLayout(form)
        column.addWidget(self.message)
        column.addLayout(buttons)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    # -- what is there ---------------------------------------------------------------------

    def look(self) -> None:
        """Look whether the folder holds a review."""
        self._looking.stop()
        self.review, self._trouble, self._done = None, "", {}
        folder = self.folder.text().strip()
        if folder:
            try:
                self._look_into(Path(folder).expanduser())
            except NamesError as error:
                self._trouble = str(error)
        self._tell()

    def _look_into(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            self._trouble = f"{folder} is a file. Choose a folder."
        elif (folder / "review.json").exists() or any(folder.glob("review-*.csv")):
            self.review = Review.open(folder)
            sheets = [read_sheet(path) for path in self.review.sheet_paths]
            self._done = {sheet.reviewer: sheet.done for sheet in sheets}

    def say(self, words: str) -> None:
        """Say what went wrong; the form stays as it is."""
        self._busy = False
        self._tell()
        self.message.setText(words)

    def work(self, busy: bool) -> None:
        """Show that the review is being drawn."""
        self._busy = busy
        self._tell()

    def _tell(self) -> None:
        self.total.setText(f"= {self.clusters.value() * self.per_cluster.value():,}")
        for box in (self.clusters, self.per_cluster, self.references, self.seed):
            box.setEnabled(self.review is None)
        who = " ".join(self.reviewer.text().split())
        words, button = self._trouble, "Begin"
        if self.review is not None:
            n = len(self.review.concepts)
            done = ", ".join(f"{name} has rated {k} of {n}" for name, k in self._done.items())
            words = f"A review of {n} concepts is here: {done or 'nobody has begun'}."
            mine = next((k for name, k in self._done.items() if _same(name, who)), None)
            button = "Join it" if mine is None else "Go on" if mine < n else "See the end"
        self.begin.setText(button)
        ready = bool(self.folder.text().strip() and who and not self._trouble)
        self.begin.setEnabled(ready and not self._busy)
        if not words and not ready:
            words = "Choose a folder for the review, and give your name."
        self.message.setText("Drawing concepts …" if self._busy else words)

    # -- what the user does ----------------------------------------------------------------

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "The review's folder", self.folder.text())
        if name:
            self.folder.setText(name)
            self.look()

    def _ask(self) -> None:
        self.look()
        if not self.begin.isEnabled():
            return
        plan = ReviewPlan(
            self.clusters.value(), self.per_cluster.value(), self.references.value(),
            self.seed.value(),
        )  # fmt: skip
        who = " ".join(self.reviewer.text().split())
        named = next((name for name in self._done if _same(name, who)), who)
        folder = Path(self.folder.text().strip()).expanduser()
        self.asked.emit(folder, named, plan if self.review is None else None)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _number(least: int, most: int, value: int, tooltip: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(least, most)
    box.setValue(value)
    box.setToolTip(tooltip)
    return box
