"""Two halves side by side, or one above the other where the room is narrow."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QSplitter, QWidget

_NARROW_PX = 640


class FoldingSplitter(QSplitter):
    """A splitter that turns with its width.

    Parameters
    ----------
    first, second
        The halves; the first has the larger share.
    """

    def __init__(self, first: QWidget, second: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        for half, share in ((first, 3), (second, 2)):
            self.addWidget(half)
            self.setStretchFactor(self.count() - 1, share)
        self.setChildrenCollapsible(False)
        self.setSizes([300, 200])  # Qt keeps the ratio

    def resizeEvent(self, event: QResizeEvent) -> None:
        narrow = self.width() < _NARROW_PX
        turned = Qt.Orientation.Vertical if narrow else Qt.Orientation.Horizontal
        if turned != self.orientation():
            self.setOrientation(turned)
        super().resizeEvent(event)
