"""Where a dock goes when it is opened for the first time."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget


def begin_at_bottom(widget: QWidget, height: int) -> None:
    """Move a widget's dock below the canvas, once, if it was put to the right.

    napari puts every plugin's dock to the right, and a manifest cannot say otherwise; what is wide
    belongs below the image.
    """

    def move() -> None:
        try:
            dock = widget.parentWidget()
            window = dock.parentWidget() if isinstance(dock, QDockWidget) else None
        except RuntimeError:  # closed before its turn came
            return
        if not isinstance(window, QMainWindow) or dock.isFloating():
            return
        if window.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea:
            # The docks at the right keep their full height.
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
            window.resizeDocks([dock], [height], Qt.Orientation.Vertical)

    QTimer.singleShot(0, move)
