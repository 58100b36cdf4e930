"""A splitter that lays its parts side by side where there is room, else one above another."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QSplitter, QWidget

_WHOLE_PX = 6000  # sizes are shared out in proportion to what there is


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
        self._shares: tuple[int, ...] = ()
        self.setChildrenCollapsible(False)

    def add_parts(self, *parts: tuple[QWidget, int]) -> None:
        """Add widgets, each with its share of the room."""
        self._shares = tuple(share for _, share in parts)
        for place, (widget, share) in enumerate(parts):
            self.addWidget(widget)
            self.setStretchFactor(place, share)
        self._share_out()

    def resizeEvent(self, event: QResizeEvent) -> None:
        wide = event.size().width() >= self._narrow_px
        wanted = Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
        turned = wanted != self.orientation()
        if turned:
            self.setOrientation(wanted)
        super().resizeEvent(event)
        if turned:
            self._share_out()

    def minimumSizeHint(self) -> QSize:
        # The largest of the parts, whichever way they lie: a splitter that could not get narrow
        # would never turn, and one that is narrow for a moment must not make its dock taller.
        hints = [
            self.widget(n).minimumSizeHint().expandedTo(self.widget(n).minimumSize())
            for n in range(self.count())
        ]
        return QSize(
            max((hint.width() for hint in hints), default=0),
            max((hint.height() for hint in hints), default=0),
        )

    def _share_out(self) -> None:
        self.setSizes([_WHOLE_PX * share // sum(self._shares) for share in self._shares])
