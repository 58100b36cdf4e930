"""The ranked list of a cell's concepts: a dot, a name, a bar, and the share of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QMouseEvent, QPainter, QPalette, QPen
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

RowRole = Qt.ItemDataRole.UserRole + 1


@dataclass(frozen=True, slots=True)
class ConceptRow:
    """One line of the list, ready to be drawn."""

    concept_id: int
    name: str
    strength: float  # the number that ranks: mean over tokens, or the value at a patch
    share: float | None  # share of the cell's patches where it is active; None at a patch
    facts: str  # the sentence of the tooltip: numbers with their context
    hue: str | None  # of a pinned concept
    suggested: bool = False  # no person has given the name
    signed: bool = False  # the strength is a difference, and its bar grows either way

    @property
    def title(self) -> str:
        """Name to show; a concept that nobody named says so."""
        return self.name or f"#{self.concept_id}"


class ConceptModel(QAbstractListModel):
    """Rows of :class:`ConceptRow`, strongest first."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[ConceptRow] = []

    def show_rows(self, rows: list[ConceptRow]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def restyle(self, rows: list[ConceptRow]) -> None:
        """Take rows of the same concepts in the same order whose hues changed."""
        self.rows = rows
        if rows:
            self.dataChanged.emit(self.index(0), self.index(len(rows) - 1))

    @property
    def top(self) -> float:
        """Strength that fills a bar."""
        return abs(self.rows[0].strength) if self.rows else 1.0

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        if role == RowRole:
            return row
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return row.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.facts
        return None


class _ConceptDelegate(QStyledItemDelegate):
    """Draw a row: pin dot, title, bar, share."""

    DOT = 22  # px, the clickable width of the dot
    NUMBERS = 44  # px

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(120, option.fontMetrics.height() + 10)

    def dot_rect(self, rect: QRect) -> QRect:
        """Where a click pins."""
        return QRect(rect.left(), rect.top(), self.DOT, rect.height())

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        row: ConceptRow = index.data(RowRole)
        palette, rect = option.palette, option.rect
        model: Any = index.model()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, palette.highlight())
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, palette.alternateBase())
        text = palette.color(QPalette.ColorRole.Text)
        hue = QColor(row.hue) if row.hue else None
        center = self.dot_rect(rect).center()
        painter.setPen(QPen(hue or text, 1.6))
        painter.setBrush(hue if hue is not None else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(center, 5, 5)

        left, right = rect.left() + self.DOT + 2, rect.right() - self.NUMBERS
        bar_room = max((right - left) * 2 // 5, 30)
        title = QRect(left, rect.top(), right - left - bar_room - 6, rect.height())
        font = QFont(option.font)
        font.setItalic(row.suggested or not row.name)
        painter.setFont(font)
        painter.setPen(text)
        shown = painter.fontMetrics().elidedText(
            row.title, Qt.TextElideMode.ElideRight, title.width()
        )
        painter.drawText(title, Qt.AlignmentFlag.AlignVCenter, shown)

        share = min(abs(row.strength) / max(model.top, 1e-12), 1.0)
        height = rect.height() * 0.4
        start, length = float(right - bar_room), max(bar_room * share, 2.0)
        if row.signed:  # from the middle, to the left for what the other cell has more of
            length = max(bar_room / 2 * share, 2.0)
            start += bar_room / 2 - (length if row.strength < 0 else 0.0)
        bar = QRectF(start, rect.center().y() - height / 2 + 1, length, height)
        painter.setPen(Qt.PenStyle.NoPen)
        fill = hue or QColor(text)
        if hue is None:
            fill.setAlpha(130)
        painter.setBrush(fill)
        painter.drawRoundedRect(bar, 2, 2)

        numbers = QRect(right + 2, rect.top(), self.NUMBERS - 6, rect.height())
        painter.setFont(option.font)
        painter.setPen(text)
        number = percent(row.share) if row.share is not None else f"{row.strength:.2f}"
        if row.signed:
            number = f"{row.strength:+.2f}".replace("-", "−")
        painter.drawText(
            numbers, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, number
        )
        painter.restore()


def percent(share: float) -> str:
    """Write a share with as many digits as it needs: ``38 %``, ``0.4 %``, ``< 0.1 %``."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1f} %"


class ConceptList(QListView):
    """List of concepts; hovering tells, a click selects, a click on the dot (or Enter) pins."""

    hovered = Signal(object)  # concept_id or None
    chosen = Signal(object)  # concept_id or None
    pin_toggled = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = ConceptModel(self)
        self._delegate = _ConceptDelegate(self)
        self.setModel(self._model)
        self.setItemDelegate(self._delegate)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(96)
        self.setAccessibleName("Active concepts, strongest first")
        self.entered.connect(lambda index: self.hovered.emit(index.data(RowRole).concept_id))
        self.selectionModel().currentChanged.connect(self._choose)

    @property
    def rows(self) -> list[ConceptRow]:
        """Rows that are shown."""
        return self._model.rows

    def show_rows(self, rows: list[ConceptRow]) -> None:
        """Show a ranking; the chosen concept stays chosen where it is still listed."""
        before = self.chosen_id()
        ids = [row.concept_id for row in rows]
        if ids == [row.concept_id for row in self.rows]:
            self._model.restyle(rows)
            return
        self._model.show_rows(rows)
        if before in ids:
            self.setCurrentIndex(self._model.index(ids.index(before)))
        elif before is not None:
            self.chosen.emit(None)

    def chosen_id(self) -> int | None:
        """Concept of the selected row."""
        row = self.currentIndex().data(RowRole)
        return None if row is None else row.concept_id

    def _choose(self, current: QModelIndex, previous: QModelIndex) -> None:
        row = current.data(RowRole)
        if row is not None:
            self.chosen.emit(row.concept_id)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.indexAt(event.pos())
        if index.isValid() and self._on_dot(index, event.pos()):
            self.pin_toggled.emit(index.data(RowRole).concept_id)
            return
        super().mousePressEvent(event)

    def _on_dot(self, index: QModelIndex, position: QPoint) -> bool:
        return self._delegate.dot_rect(self.visualRect(index)).contains(position)

    def keyPressEvent(self, event: Any) -> None:
        chosen = self.chosen_id()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and chosen is not None:
            self.pin_toggled.emit(chosen)
        else:
            super().keyPressEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(None)
        super().leaveEvent(event)
