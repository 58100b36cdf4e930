"""Tens of thousands of concepts as a table that sorts, filters and finds while one types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont

from napari_cytosae.viewer.concept_columns import STAR, Column

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter


class ConceptTableModel(QAbstractTableModel):
    """Columns of values, of which some rows are on show in some order.

    A row is a concept, known by its id; what is on show is one array of ids, so that sorting and
    filtering 49,152 of them is a matter of milliseconds.
    """

    star_toggled = Signal(int)  # concept_id

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.columns: list[Column] = []
        self._values: dict[str, NDArray[Any]] = {}
        self._orders: dict[str, NDArray[np.intp]] = {}
        self._ids = np.zeros(0, np.int64)
        self._mask = np.zeros(0, bool)
        self._sorted_by: tuple[str, bool] | None = None
        self._default_order = np.zeros(0, np.int64)
        self._suggested: frozenset[int] = frozenset()
        self._hue: Callable[[int], str | None] = lambda _: None

    # -- what is shown ---------------------------------------------------------------------

    def show(
        self,
        columns: Sequence[Column],
        values: dict[str, NDArray[Any]],
        n_concepts: int,
        order: NDArray[np.integer] | None = None,
        hue: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """Show other concepts.

        Parameters
        ----------
        columns
            In the order in which they stand.
        values
            Of each column, one per concept; a column without is empty.
        n_concepts
            How many concepts there are.
        order
            Ids in the order that holds while no column is sorted by.
        hue
            Gives the colour of a pinned concept.
        """
        self.beginResetModel()
        self.columns = list(columns)
        self._values = {"concept_id": np.arange(n_concepts), **values}
        self._orders.clear()
        self._mask = np.ones(n_concepts, bool)
        self._default_order = np.arange(n_concepts) if order is None else np.asarray(order)
        self._hue = hue
        if self._sorted_by is not None and self._sorted_by[0] not in self._keys():
            self._sorted_by = None
        self._ids = self._arranged()
        self.endResetModel()

    def show_only(self, mask: NDArray[np.bool_]) -> None:
        """Show the concepts of a (n_concepts,) mask only."""
        self.beginResetModel()
        self._mask = mask
        self._ids = self._arranged()
        self.endResetModel()

    def replace(self, key: str, values: NDArray[Any]) -> None:
        """Give a column other values, as when another cell was selected."""
        self._values[key] = values
        self._orders.pop(key, None)
        if self._sorted_by is not None and self._sorted_by[0] == key:
            self.layoutAboutToBeChanged.emit()
            self._ids = self._arranged()
            self.layoutChanged.emit()
        elif len(self._ids) and key in self._keys():
            column = self._keys().index(key)
            self.dataChanged.emit(self.index(0, column), self.index(len(self._ids) - 1, column))

    def mark_suggested(self, ids: frozenset[int]) -> None:
        """Say which names are suggestions, that no person stands behind."""
        self._suggested = ids

    def restyle(self) -> None:
        """Ask for every cell on show anew, as when a concept was pinned."""
        if len(self._ids):
            last = self.index(len(self._ids) - 1, len(self.columns) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def values(self, key: str) -> NDArray[Any] | None:
        """Give the values of a column, one per concept; None where there are none."""
        return self._values.get(key)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the concepts on show, from the top."""
        return self._ids

    def concept_at(self, row: int) -> int:
        """Concept of a row."""
        return int(self._ids[row])

    def row_of(self, concept_id: int) -> int | None:
        """Row of a concept; None where it is not on show."""
        found = np.flatnonzero(self._ids == concept_id)
        return int(found[0]) if len(found) else None

    # -- Qt --------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._ids)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tooltip
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        column, concept = self.columns[index.column()], int(self._ids[index.row()])
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            values = self._values.get(column.key)
            text = "" if values is None else column.text(values[concept])
            if role == Qt.ItemDataRole.DisplayRole or column.kind == "text":
                return text
            return column.tooltip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            if column.kind in ("star", "flag"):
                return Qt.AlignmentFlag.AlignCenter
            return _LEFT if column.kind == "text" else _RIGHT
        if role == Qt.ItemDataRole.FontRole and column.key in ("name", "seen"):
            font = QFont()
            font.setItalic(column.key == "seen" or concept in self._suggested)
            return font
        if role == Qt.ItemDataRole.DecorationRole and column.key == "concept_id":
            hue = self._hue(concept)
            return QColor(hue) if hue is not None else None
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        key = self.columns[column].key if 0 <= column < len(self.columns) else None
        descending = order == Qt.SortOrder.DescendingOrder
        self.layoutAboutToBeChanged.emit()
        self._sorted_by = None if key is None else (key, descending)
        self._ids = self._arranged()
        self.layoutChanged.emit()

    def toggle_star(self, index: QModelIndex) -> None:
        """Mark a concept, or take its mark away, where its star was clicked."""
        if index.isValid() and self.columns[index.column()].key == STAR.key:
            self.star_toggled.emit(self.concept_at(index.row()))

    # -- inside ----------------------------------------------------------------------------

    def _keys(self) -> list[str]:
        return [column.key for column in self.columns]

    def _arranged(self) -> NDArray[np.int64]:
        order = self._default_order
        if self._sorted_by is not None and self._sorted_by[0] in self._values:
            key, descending = self._sorted_by
            order = self._order(key)
            known = order[: self._n_known(key)]
            # What is not known stays at the end, whichever way one sorts.
            order = np.concatenate([known[::-1] if descending else known, order[len(known) :]])
        return np.asarray(order[self._mask[order]], np.int64)

    def _order(self, key: str) -> NDArray[np.intp]:
        if key not in self._orders:
            values = self._values[key]
            if values.dtype == object:
                texts = np.array([str(value).casefold() for value in values])
                empty = texts == ""
                self._orders[key] = np.lexsort((texts, empty))
            else:
                self._orders[key] = np.argsort(values, kind="stable")  # NaN comes last
        return self._orders[key]

    def _n_known(self, key: str) -> int:
        values = self._values[key]
        if values.dtype == object:
            return int(np.count_nonzero(values != ""))
        return int(np.count_nonzero(values == values))


def mask_of(ids: Iterable[int] | NDArray[np.integer], n_concepts: int) -> NDArray[np.bool_]:
    """Turn ids into a mask."""
    mask = np.zeros(n_concepts, bool)
    mask[np.asarray(list(ids) if not isinstance(ids, np.ndarray) else ids, np.int64)] = True
    return mask
