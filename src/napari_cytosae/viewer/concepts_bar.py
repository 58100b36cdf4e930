"""The line above the table of concepts: search, scope, focus and columns."""

from __future__ import annotations

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QToolButton, QWidget

from napari_cytosae.viewer.folding_splitter import narrow

EVERYWHERE, SLIDE, CELL = "everywhere", "slide", "cell"
STARRED, NAMED, DISPUTED = "starred", "named", "disputed"
_SCOPES = (
    ("everywhere", EVERYWHERE),
    ("on this slide", SLIDE),
    ("in the selected cells", CELL),
    ("starred", STARRED),
    ("named by people", NAMED),
    ("with several names", DISPUTED),
)


class ConceptsBar(QWidget):
    """Says what is to be listed; `changed` tells of it, once for what is typed in one go."""

    changed = Signal()

    def __init__(self, first: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.search = QLineEdit()
        self.search.setPlaceholderText("search names, labels, #numbers  ( / )")
        self.search.setClearButtonEnabled(True)
        self.scope = QComboBox()
        for text, key in _SCOPES:
            self.scope.addItem(text, key)
        narrow(self.scope, 9)
        self.scope.setToolTip("Which concepts are listed.")
        self.in_focus = QCheckBox("focus")
        self.in_focus.setChecked(True)
        self.in_focus.setToolTip(
            "List only concepts that are strong enough to matter (see the tab Focus).\n"
            "A search looks at all of them."
        )
        self.columns = QToolButton()
        self.columns.setText("Columns ▾")
        self.columns.setToolTip("Choose the columns of the table.")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(first)
        row.addWidget(self.search, 1)
        for widget in (self.scope, self.in_focus, self.columns):
            row.addWidget(widget)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(0)
        self._typing.timeout.connect(self.changed)
        self.search.textChanged.connect(lambda _: self._typing.start())
        self.scope.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.in_focus.toggled.connect(lambda _: self.changed.emit())

    @property
    def text(self) -> str:
        """What is searched for."""
        return self.search.text().strip()

    @property
    def where(self) -> str:
        """The scope that is chosen, one of those above."""
        return str(self.scope.currentData())
