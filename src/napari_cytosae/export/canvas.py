"""Pictures of an exact size: photographs pixel by pixel, lines and letters by matplotlib."""

from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.concepts.durable import write_durably

_DPI = 100
_FONT = "DejaVu Sans"  # comes with matplotlib, so it is there on every system


class Canvas:
    """A white picture; places are x and y in px from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._pixels = np.full((height, width, 3), 255, np.uint8)
        # A figure of its own, clear, and no pyplot: nothing global is touched.
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="none")
        self._drawing = FigureCanvasAgg(figure)
        self._axes = figure.add_axes((0, 0, 1, 1), frameon=False)
        self._axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])

    def image(self, pixels: NDArray[np.uint8], x: int, y: int) -> None:
        """Place an (h, w, 3) uint8 image, beneath all lines, with its upper left corner at x, y."""
        height, width = pixels.shape[:2]
        self._pixels[y : y + height, x : x + width] = pixels

    def lines(
        self, polylines: list[NDArray[np.float64]], color: str, width: float, casing: float = 0
    ) -> None:
        """Draw (n, 2) polylines of x and y; `casing` px of white on both sides part them from the image."""
        if casing:
            cased = width + 2 * casing
            self._axes.add_collection(
                LineCollection(polylines, colors="white", linewidths=_points(cased))
            )
        self._axes.add_collection(
            LineCollection(polylines, colors=color, linewidths=_points(width))
        )

    def text(
        self,
        words: str,
        x: float,
        y: float,
        size: float,
        *,
        color: str = "#222222",
        bold: bool = False,
        anchor: Literal["left", "center", "right"] = "left",
        casing: float = 0,
        room: float | None = None,
    ) -> None:
        """Write one line, `size` px high, with its baseline at y.

        Parameters
        ----------
        anchor
            Which part of the line is at x: ``"left"``, ``"center"`` or ``"right"``.
        casing
            Width of a white rim around the letters, in px.
        room
            Width in px that the line may take; what does not fit gives way to an ellipsis.
        """
        line = self._axes.text(
            x,
            y,
            words,
            fontsize=_points(size),
            family=_FONT,
            color=color,
            weight="bold" if bold else "normal",
            horizontalalignment=anchor,
            verticalalignment="baseline",
            parse_math=False,
            path_effects=[withStroke(linewidth=_points(2 * casing), foreground="white")]
            if casing
            else None,
        )
        if room is None:
            return
        while line.get_window_extent().width > room and len(words) > 1:
            words = words[:-1].rstrip()
            line.set_text(words + "…")

    def save(self, path: Path) -> None:
        """Write the picture as PNG; the file is whole or not there."""
        self._drawing.draw()  # type: ignore[no-untyped-call]
        drawn = np.asarray(self._drawing.buffer_rgba())  # type: ignore[no-untyped-call]
        picture = self._pixels.copy()
        touched = drawn[..., 3] > 0
        alpha = drawn[touched][:, 3:].astype(np.float32) / 255
        blended = (1 - alpha) * picture[touched] + alpha * drawn[touched][:, :3]
        picture[touched] = np.rint(blended).astype(np.uint8)

        def write(temporary: Path) -> None:
            # Photographs hardly shrink at higher levels, which take several times as long.
            Image.fromarray(picture).save(temporary, format="PNG", compress_level=2)

        write_durably(path, write)


def _points(pixels: float) -> float:
    return pixels * 72 / _DPI
