"""The selected cell's crop with its patch grid, on which concept maps glow and patches are chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

SIDE_PX = 192  # 12 px to a patch: seen, hit with a mouse, and narrow enough for the dock
LEAST_PX = 128  # 8 px to a patch, where a low screen leaves no more
GRID = 16  # patches along a side: 224 px / 14 px
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


def heat_image(concept_map: NDArray[np.float32], top: float, hue: str) -> QImage:
    """Turn a 16 × 16 concept map into a picture: the hue, opaque at ``top``, clear at zero."""
    color = QColor(hue)
    strength = np.clip(np.sqrt(np.clip(concept_map, 0, None) / max(top, 1e-12)), 0, 1)
    pixels = np.empty((*concept_map.shape, 4), np.uint8)
    pixels[..., :3] = color.red(), color.green(), color.blue()
    pixels[..., 3] = (strength * 215).astype(np.uint8)
    height, width = concept_map.shape
    image = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
    return image.copy()  # the buffer dies with this function


class CropView(QWidget):
    """Paint one cell's crop; hovering tells the patch, a click chooses it.

    Arrow keys move the chosen patch, Escape widens to the whole cell again.
    """

    patch_hovered = Signal(object)  # (row, column) or None
    patch_clicked = Signal(object)  # (row, column) or None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._crop: QImage | None = None
        self._heats: list[QImage] = []
        self._hovered: tuple[int, int] | None = None
        self._chosen: tuple[int, int] | None = None
        self.smooth = True
        self.bare = False
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(LEAST_PX, LEAST_PX)
        self.setMaximumSize(SIDE_PX, SIDE_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setAccessibleName("Crop of the selected cell with its 16 by 16 patches")
        self.setToolTip(
            "The crop as the model saw it, with its 16 × 16 patches.\n"
            "Click a patch for its concepts; arrow keys move, Esc shows the whole cell again."
        )

    def show_crop(self, pixels: NDArray[np.uint8] | None) -> None:
        """Show another cell's crop, (S, S, 3) uint8, or nothing."""
        self._crop = None
        if pixels is not None:
            pixels = np.ascontiguousarray(pixels)
            height, width = pixels.shape[:2]
            self._crop = QImage(
                pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888
            ).copy()
        self._heats = []
        self._hovered = None
        self.update()

    def show_heats(self, heats: list[QImage]) -> None:
        """Lay concept maps over the crop, first one lowest."""
        self._heats = heats
        self.update()

    def show_chosen(self, patch: tuple[int, int] | None) -> None:
        """Mark the chosen patch (row, column)."""
        self._chosen = patch
        self.update()

    def show_bare(self, bare: bool) -> None:
        """Show the crop without maps and grid while ``bare`` holds."""
        self.bare = bare
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(SIDE_PX, SIDE_PX)

    def crop_rect(self) -> QRect:
        """Where the crop is painted: the largest square at the top left."""
        side = min(self.width(), self.height())
        return QRect(0, 0, side, side)

    def patch_at(self, position: QPoint) -> tuple[int, int] | None:
        """Patch (row, column) under a point of this widget, None outside the crop."""
        rect = self.crop_rect()
        if self._crop is None or not rect.contains(position):
            return None
        row = (position.y() - rect.top()) * GRID // rect.height()
        column = (position.x() - rect.left()) * GRID // rect.width()
        return min(row, GRID - 1), min(column, GRID - 1)

    def _patch_rect(self, patch: tuple[int, int]) -> QRectF:
        rect = self.crop_rect()
        side = rect.width() / GRID
        return QRectF(rect.left() + patch[1] * side, rect.top() + patch[0] * side, side, side)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        rect = self.crop_rect()
        if self._crop is None:
            painter.setPen(self.palette().placeholderText().color())
            painter.drawRect(rect.adjusted(0, 0, -1, -1))
            painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, "no cell")
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        painter.drawImage(rect, self._crop)
        if self.bare:
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.smooth)
        for heat in self._heats:
            painter.drawImage(rect, heat)
        painter.setPen(QPen(QColor(0, 0, 0, 38), 1))
        for step in range(1, GRID):
            x = rect.left() + round(step * rect.width() / GRID)
            y = rect.top() + round(step * rect.height() / GRID)
            painter.drawLine(x, rect.top(), x, rect.bottom())
            painter.drawLine(rect.left(), y, rect.right(), y)
        for patch, width in ((self._hovered, 1), (self._chosen, 2)):
            if patch is not None:
                # White within black is seen on any stain.
                painter.setPen(QPen(QColor(0, 0, 0), width + 2))
                painter.drawRect(self._patch_rect(patch))
                painter.setPen(QPen(QColor(255, 255, 255), width))
                painter.drawRect(self._patch_rect(patch))
        if self.hasFocus():
            painter.setPen(QPen(self.palette().highlight().color(), 2))
            painter.drawRect(rect.adjusted(1, 1, -1, -1))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover(self.patch_at(event.pos()))

    def leaveEvent(self, event: object) -> None:
        self._hover(None)

    def _hover(self, patch: tuple[int, int] | None) -> None:
        if patch != self._hovered:
            self._hovered = patch
            self.patch_hovered.emit(patch)
            self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._crop is not None:
            patch = self.patch_at(event.pos())
            # A second click on the same patch gives the whole cell back.
            self.patch_clicked.emit(None if patch == self._chosen else patch)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _STEPS.get(event.key())
        if step is not None and self._crop is not None:
            row, column = self._chosen or (GRID // 2, GRID // 2)
            if self._chosen is not None:
                row, column = row + step[0], column + step[1]
            self.patch_clicked.emit((min(max(row, 0), GRID - 1), min(max(column, 0), GRID - 1)))
        else:
            super().keyPressEvent(event)
