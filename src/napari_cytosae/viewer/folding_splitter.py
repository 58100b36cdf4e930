"""What lets wide docks be narrow: halves that fold, and boxes that give room away."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import QComboBox, QSplitter, QWidget

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
        self._placed = False

    def minimumSizeHint(self) -> QSize:
        halves = [self.widget(place).minimumSizeHint() for place in range(self.count())]
        # As narrow as one of them: then they fold.
        return QSize(max(half.width() for half in halves), super().minimumSizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._placed:  # what the halves would like to have must not decide
            self._placed = True
            along = (
                self.width() if self.orientation() == Qt.Orientation.Horizontal else self.height()
            )
            self.setSizes([3 * along // 5, 2 * along // 5])

    def resizeEvent(self, event: QResizeEvent) -> None:
        narrow = self.width() < _NARROW_PX
        turned = Qt.Orientation.Vertical if narrow else Qt.Orientation.Horizontal
        if turned != self.orientation():
            self.setOrientation(turned)
        super().resizeEvent(event)


def narrow(box: QComboBox, letters: int) -> None:
    """Let a box be narrower than its longest entry, with room for so many letters."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(letters)
