"""The table of concepts: rows that are never widgets, and columns that a person chooses."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QTableView, QWidget

from napari_cytosae.viewer.concept_columns import Column
from napari_cytosae.viewer.concept_table_model import ConceptTableModel

_WIDTHS = {
    "concept_id": 72,
    "star": 28,
    "name": 170,
    "evidence": 210,
    "seen": 260,
    "correlates": 210,
}
_WIDTH = 78


class ConceptTable(QTableView):
    """Shows a `ConceptTableModel`; tells which concept is chosen, hovered, marked or pinned."""

    chosen = Signal(int)
    hovered = Signal(object)  # concept_id or None
    pin_toggled = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.concepts = ConceptTableModel(self)
        self._hidden: dict[str, bool] = {}
        self.setModel(self.concepts)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setAccessibleName("Concepts of the atlas")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionsMovable(True)
        header.setHighlightSections(False)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(
            lambda at: self.columns_menu().exec(header.mapToGlobal(at))
        )
        header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        header.setSortIndicatorClearable(True)
        self.setSortingEnabled(True)
        self.entered.connect(lambda index: self.hovered.emit(self._concept(index)))
        self.selectionModel().currentRowChanged.connect(self._on_current)
        self._telling = True

    def show_columns(self) -> None:
        """Size and hide the columns of what the model shows now."""
        for number, column in enumerate(self.concepts.columns):
            self.setColumnHidden(number, self._hidden.get(column.key, not column.shown))
            self.setColumnWidth(number, _WIDTHS.get(column.key, _WIDTH))

    def columns_menu(self) -> QMenu:
        """Make the menu in which columns are chosen."""
        menu = QMenu(self)
        for number, column in enumerate(self.concepts.columns):
            action = menu.addAction(f"{column.title}  –  {column.tooltip}")
            action.setCheckable(True)
            action.setChecked(not self.isColumnHidden(number))
            action.toggled.connect(lambda shown, n=number, c=column: self._set_shown(n, c, shown))
        return menu

    def _set_shown(self, number: int, column: Column, shown: bool) -> None:
        self._hidden[column.key] = not shown
        self.setColumnHidden(number, not shown)

    def choose(self, concept_id: int | None) -> None:
        """Select a concept's row and show it, without telling anybody."""
        row = None if concept_id is None else self.concepts.row_of(concept_id)
        self._telling = False
        try:
            if row is None:
                self.clearSelection()
                self.setCurrentIndex(QModelIndex())
            elif self.currentIndex().row() != row:
                self.selectRow(row)
                self.scrollTo(self.concepts.index(row, 0))
        finally:
            self._telling = True

    def chosen_id(self) -> int | None:
        """Concept of the selected row."""
        return self._concept(self.currentIndex())

    def _concept(self, index: QModelIndex) -> int | None:
        return self.concepts.concept_at(index.row()) if index.isValid() else None

    def _on_current(self, current: QModelIndex, _previous: QModelIndex) -> None:
        concept = self._concept(current)
        if concept is not None and self._telling:
            self.chosen.emit(concept)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.concepts.toggle_star(self.indexAt(event.pos()))
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        concept = self.chosen_id()
        if concept is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.pin_toggled.emit(concept)
        elif concept is not None and event.key() == Qt.Key.Key_Space:
            self.concepts.star_toggled.emit(concept)
        else:
            super().keyPressEvent(event)

    def leaveEvent(self, event: Any) -> None:
        self.hovered.emit(None)
        super().leaveEvent(event)

    def contextMenuEvent(self, event: Any) -> None:
        index = self.indexAt(QPoint(event.pos()))
        concept = self._concept(index)
        if concept is None:
            return
        menu = QMenu(self)
        menu.addAction("Pin its map, or unpin it (Enter)", lambda: self.pin_toggled.emit(concept))
        menu.addAction(
            "Mark with a star, or not (Space)", lambda: self.concepts.star_toggled.emit(concept)
        )
        menu.exec(event.globalPos())
