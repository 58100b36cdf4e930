"""The concepts that a prediction is made of, each with a box to take it away."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from napari_cytosae.cohorts.explanation import Explanation
from napari_cytosae.concepts.naming.names import title_of
from napari_cytosae.export.cohort.style import FIRST, SECOND

_MOST = 200
_CONCEPT, _SHARE = 0, 1
_ID = Qt.ItemDataRole.UserRole
_STRENGTH = Qt.ItemDataRole.UserRole + 1


class _Bars(QStyledItemDelegate):
    """Paints a contribution as a bar from the middle: to the right for the class, left against."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        strength = index.data(_STRENGTH) or 0.0
        super().paint(painter, option, index)
        room = QRectF(option.rect).adjusted(2, 3, -2, -3)
        half = room.width() / 2
        color = QColor(FIRST if strength > 0 else SECOND)
        color.setAlpha(150)
        left = room.center().x() + min(strength, 0.0) * half
        painter.fillRect(QRectF(left, room.top(), abs(strength) * half, room.height()), color)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(76, super().sizeHint(option, index).height())


class ContributionList(QTreeWidget):
    """Concepts by what they contribute; ticked ones are asked to be changed."""

    ticked = Signal()
    chosen = Signal(object)  # a concept's id, None when none is selected any more

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setColumnCount(2)
        self.setHeaderLabels(["concept", "against · for"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setItemDelegateForColumn(_SHARE, _Bars(self))
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(_CONCEPT, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_SHARE, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(_SHARE, 92)
        self.setToolTip(
            "What speaks for and against the prediction, the strongest first.\n"
            "Tick concepts (Space) to see what would be predicted without them; select one to see\n"
            "the patient's cells that show it."
        )
        self.setAccessibleName("Concepts that the prediction is made of")
        self.itemChanged.connect(lambda *_: self.ticked.emit())
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.concept))

    @property
    def concept(self) -> int | None:
        """The selected concept."""
        items = self.selectedItems()
        return int(items[0].data(_CONCEPT, _ID)) if items else None

    @property
    def ticked_ids(self) -> list[int]:
        """Ids of the concepts that are ticked."""
        return [
            int(item.data(_CONCEPT, _ID))
            for item in self._items()
            if item.checkState(_CONCEPT) == Qt.CheckState.Checked
        ]

    def show_explanation(self, explanation: Explanation | None, name: str | None = None) -> None:
        """List the concepts that contribute most to a class; ticks of before are kept."""
        before = set(self.ticked_ids)
        self.blockSignals(True)
        self.clear()
        if explanation is not None:
            table = explanation.evidence(name)
            table = table[table["contribution"] != 0].head(_MOST)
            most = float(table["contribution"].abs().max()) if len(table) else 1.0
            for row in table.to_dict("records"):
                self.addTopLevelItem(self._item(row, most, before))
        self.blockSignals(False)

    def tick_first(self, n: int) -> None:
        """Tick the concepts that speak most for the class, and no other."""
        self.blockSignals(True)
        left = n
        for item in self._items():
            tick = left > 0 and item.data(_SHARE, _STRENGTH) > 0
            left -= tick
            state = Qt.CheckState.Checked if tick else Qt.CheckState.Unchecked
            item.setCheckState(_CONCEPT, state)
        self.blockSignals(False)
        self.ticked.emit()

    def rename(self, titles: Any) -> None:
        """Show other names: a function from a concept's id to its title."""
        self.blockSignals(True)
        for item in self._items():
            item.setText(_CONCEPT, titles(int(item.data(_CONCEPT, _ID))))
        self.blockSignals(False)

    def _items(self) -> list[QTreeWidgetItem]:
        return [self.topLevelItem(row) for row in range(self.topLevelItemCount())]

    def _item(self, row: dict[Any, Any], most: float, ticked: set[int]) -> QTreeWidgetItem:
        concept, suggested = int(row["concept_id"]), bool(row["name_suggested"])
        title = title_of(concept, str(row["name"]), suggested)
        item = QTreeWidgetItem([title, ""])
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        state = Qt.CheckState.Checked if concept in ticked else Qt.CheckState.Unchecked
        item.setCheckState(_CONCEPT, state)
        item.setData(_CONCEPT, _ID, concept)
        item.setData(_SHARE, _STRENGTH, float(row["contribution"]) / most)
        if suggested:
            font = item.font(_CONCEPT)
            font.setItalic(True)
            item.setFont(_CONCEPT, font)
        words = (
            f"{title}\ncontributes {row['contribution']:+.2f} to the logit: {row['value']:.3g} in "
            f"this patient, {row['typical']:.3g} on average ({row['z']:+.1f} standard deviations)"
        )
        for column in (_CONCEPT, _SHARE):
            item.setToolTip(column, words)
        return item
