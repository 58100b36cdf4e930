"""A strip of reference cells: crops with a concept's mask, drawn at once and never as widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, QPointF, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_cytosae.viewer.crop_view import heat_image

Mask = Literal["heat", "outline", "none"]

_GAP = 6
_CAPTION_LINES = 2


@dataclass(frozen=True, slots=True)
class MaskStyle:
    """How a concept's mask is drawn.

    Parameters
    ----------
    kind
        As heat, as the outline of its patches, or not at all.
    threshold
        Share of the strongest activation below which patches do not count.
    hue
        ``#rrggbb``.
    """

    kind: Mask = "heat"
    threshold: float = 0.0
    hue: str = "#e69f00"


@dataclass(eq=False)
class Tile:
    """One cell of a strip: what is drawn, and what it stands for."""

    crop: NDArray[np.uint8] | None
    concept_map: NDArray[np.float32] | None
    caption: str
    note: str
    what: Any
    picture: QImage | None = None


class TileStrip(QWidget):
    """Tiles in rows as wide as there is room; a click or Enter tells which one.

    Parameters
    ----------
    parent
        Qt's.
    captions
        Whether words stand below the tiles, and a click does anything; without, they are pictures
        and no more.
    """

    activated = Signal(object)  # what the tile stands for

    def __init__(self, parent: QWidget | None = None, *, captions: bool = True) -> None:
        super().__init__(parent)
        self._lines = _CAPTION_LINES if captions else 0
        self.tiles: list[Tile] = []
        self._side = 96
        self._style = MaskStyle()
        self._current = -1
        self._waiting = 0
        self._strongest = 0.0
        self.setMouseTracking(captions)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus if captions else Qt.FocusPolicy.NoFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def expect(self, n: int) -> None:
        """Begin anew, with room for as many tiles as will come."""
        self.tiles, self._waiting, self._current = [], n, -1
        self._strongest = 0.0
        self.updateGeometry()
        self.update()

    def add(self, tile: Tile) -> None:
        """Add a tile."""
        if tile.crop is not None:
            crop = np.ascontiguousarray(tile.crop)
            height, width = crop.shape[:2]
            image = QImage(crop.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            # As small as it is ever shown: crops of a slide may be large.
            tile.picture = image.scaled(
                QSize(256, 256),
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            ).copy()
            tile.crop = None
        self.tiles.append(tile)
        self.update()

    def share_scale(self, strongest: float) -> None:
        """Draw masks on a scale that reaches to a value of another strip, at least."""
        self._strongest = strongest
        self.update()

    def end(self) -> None:
        """No more tiles will come."""
        self._waiting = len(self.tiles)
        self.updateGeometry()
        self.update()

    def draw_as(self, style: MaskStyle, side: int) -> None:
        """Draw masks in another way, or tiles in another size."""
        self._style, self._side = style, side
        self.updateGeometry()
        self.update()

    # -- geometry --------------------------------------------------------------------------

    def _columns(self, width: int) -> int:
        return max(1, (width + _GAP) // (self._side + _GAP))

    def _row_height(self) -> int:
        return self._side + self._lines * self.fontMetrics().height() + _GAP

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        rows = -(-max(self._waiting, len(self.tiles)) // self._columns(width))
        return rows * self._row_height()

    def sizeHint(self) -> QSize:
        return QSize(3 * (self._side + _GAP), self.heightForWidth(max(self.width(), 1)))

    def minimumSizeHint(self) -> QSize:
        return QSize(self._side, self.heightForWidth(max(self.width(), self._side)))

    def tile_rect(self, index: int) -> QRect:
        """Where a tile's picture is drawn."""
        row, column = divmod(index, self._columns(self.width()))
        return QRect(column * (self._side + _GAP), row * self._row_height(), self._side, self._side)

    def tile_at(self, position: QPoint) -> int:
        """Which tile lies under a point, -1 for none."""
        for index in range(len(self.tiles)):
            rect = self.tile_rect(index)
            rect.setHeight(self._row_height() - _GAP)
            if rect.contains(position):
                return index
        return -1

    # -- drawing ---------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        top = max(
            (float(t.concept_map.max()) for t in self.tiles if t.concept_map is not None),
            default=0.0,
        )
        top = max(top, self._strongest)
        for index in range(max(len(self.tiles), self._waiting)):
            rect = self.tile_rect(index)
            below = rect.adjusted(0, self._side + 1, 0, self._row_height() - self._side - _GAP)
            if not event.rect().intersects(rect.united(below)):
                continue
            if index < len(self.tiles):
                self._paint_tile(painter, self.tiles[index], rect, top)
            else:
                painter.setPen(self.palette().placeholderText().color())
                painter.drawRect(rect.adjusted(0, 0, -1, -1))
                painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, "…")
            if index == self._current and self.hasFocus():
                painter.setPen(QPen(self.palette().highlight().color(), 2))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(rect.adjusted(1, 1, -1, -1))

    def _paint_tile(self, painter: QPainter, tile: Tile, rect: QRect, top: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        palette = self.palette()
        if tile.picture is not None:
            painter.drawImage(rect, tile.picture)
            if tile.concept_map is not None and top > 0:
                self._paint_mask(painter, tile.concept_map, rect, top)
        else:
            ink = palette.windowText().color()
            ink.setAlpha(24)  # the theme's own grounds are for either light or dark windows
            painter.fillRect(rect, ink)
            ink.setAlpha(150)
            painter.setPen(ink)
            painter.drawText(
                rect.adjusted(4, 4, -4, -4),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                "image not here",
            )
        painter.setPen(palette.windowText().color())
        metrics = self.fontMetrics()
        for line, text in enumerate(tile.caption.split("\n")[: self._lines]):
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, rect.width())
            painter.drawText(
                rect.left(), rect.bottom() + 1 + metrics.ascent() + line * metrics.height(), shown
            )

    def _paint_mask(
        self, painter: QPainter, values: NDArray[np.float32], rect: QRect, top: float
    ) -> None:
        style = self._style
        inside = values > max(style.threshold * top, 0.0)
        if style.kind == "heat":
            painter.drawImage(rect, heat_image(np.where(inside, values, 0), top, style.hue))
        elif style.kind == "outline":
            lines = outline_of(inside)
            painter.setClipRect(rect)
            step = rect.width() / values.shape[1], rect.height() / values.shape[0]
            for color, width in ((QColor("white"), 3.0), (QColor(style.hue), 1.6)):
                painter.setPen(QPen(color, width))
                for (y0, x0), (y1, x1) in lines:
                    painter.drawLine(
                        QPointF(rect.left() + x0 * step[0], rect.top() + y0 * step[1]),
                        QPointF(rect.left() + x1 * step[0], rect.top() + y1 * step[1]),
                    )
            painter.setClipping(False)

    # -- what the user does ----------------------------------------------------------------

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        index = self.tile_at(event.pos()) if self._lines else -1
        self.setCursor(
            Qt.CursorShape.PointingHandCursor if index >= 0 else Qt.CursorShape.ArrowCursor
        )
        if index >= 0:
            QToolTip.showText(self.mapToGlobal(event.pos()), self.tiles[index].note, self)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.tile_at(event.pos()) if self._lines else -1
        if event.button() == Qt.MouseButton.LeftButton and index >= 0:
            self._current = index
            self.update()
            self.activated.emit(self.tiles[index].what)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(event.key(), 0)
        if step and self.tiles:
            self._current = min(max(self._current + step, 0), len(self.tiles) - 1)
            self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._current >= 0:
            self.activated.emit(self.tiles[self._current].what)
        else:
            super().keyPressEvent(event)


def outline_of(
    inside: NDArray[np.bool_],
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """List the edges between patches inside and outside a mask, as pairs of corners (y, x)."""
    padded = np.pad(inside, 1)
    rows, columns = np.nonzero(padded[1:, :] != padded[:-1, :])
    lines = [((int(y), int(x) - 1), (int(y), int(x))) for y, x in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    lines += [((int(y) - 1, int(x)), (int(y), int(x))) for y, x in zip(rows, columns, strict=True)]
    return lines
