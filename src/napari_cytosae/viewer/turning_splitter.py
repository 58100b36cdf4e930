"""A splitter that lays its parts side by side where there is room, else one above another."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QSplitter, QWidget


class TurningSplitter(QSplitter):
    """Turns by its own width, so that a dock can be narrow or wide.

    Parameters
    ----------
    narrow_px
        Below this width parts lie one above another.
    """

    def __init__(self, narrow_px: int, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._narrow_px = narrow_px
        self.setChildrenCollapsible(False)

    def resizeEvent(self, event: QResizeEvent) -> None:
        wide = event.size().width() >= self._narrow_px
        wanted = Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
        if wanted != self.orientation():
            self.setOrientation(wanted)
        super().resizeEvent(event)

    def minimumSizeHint(self) -> QSize:
        hint = super().minimumSizeHint()
        # A splitter that could not get narrow would never turn.
        widths = [
            max(self.widget(n).minimumSizeHint().width(), self.widget(n).minimumWidth())
            for n in range(self.count())
        ]
        return QSize(max(widths, default=0), hint.height())
