"""Pictures drawn pixel by pixel with matplotlib, without its global state."""

from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from napari_cytosae.concepts.durable import write_durably

_DPI = 100
_FONT = "DejaVu Sans"  # comes with matplotlib, so it is there on every system


class Canvas:
    """A white picture; places are x and y in px from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1), frameon=False)
        self._axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])

    def image(self, pixels: NDArray[np.uint8], x: int, y: int) -> None:
        """Place an (h, w, 3) uint8 image with its upper left corner at x, y, one to one."""
        self._figure.figimage(pixels, x, self.height - y - len(pixels), origin="upper")

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
        write_durably(path, self._canvas.print_png)


def _points(pixels: float) -> float:
    return pixels * 72 / _DPI
