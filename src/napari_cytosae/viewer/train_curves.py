"""Curves of a training, drawn while it goes on."""

from __future__ import annotations

from time import monotonic

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QSize
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

_SHOWN = (
    ("loss", "loss", "log"),
    ("l0", "active per token (L0)", "log"),
    ("explained_variance", "explained variance", "linear"),
    ("dead", "silent concepts", "linear"),
)
_REDRAW_SECONDS = 0.5
_POINTS = 400


class TrainCurves(FigureCanvasQTAgg):
    """Four small plots over the steps; redrawn at most twice a second."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Figure(layout="constrained"))
        self.setParent(parent)
        self.setMinimumSize(260, 220)
        self._records: list[dict[str, float | int]] = []
        self._drawn = 0.0
        self.redraw()

    def sizeHint(self) -> QSize:
        """Take no more room than a dock at the side has; matplotlib would ask for 640 px."""
        return QSize(330, 300)

    @property
    def steps(self) -> int:
        """How many steps are known."""
        return len(self._records)

    def clear(self) -> None:
        """Begin anew."""
        self._records = []
        self.redraw()

    def add(self, record: dict[str, float | int]) -> None:
        """Add a step."""
        self._records.append(record)
        if monotonic() - self._drawn > _REDRAW_SECONDS:
            self.redraw()

    def show_all(self, records: list[dict[str, float | int]]) -> None:
        """Show a whole training."""
        self._records = list(records)
        self.redraw()

    def redraw(self) -> None:
        """Draw what is known now."""
        self._drawn = monotonic()
        palette = self.palette()
        text = palette.color(QPalette.ColorRole.WindowText).name()
        self.figure.clear()
        self.figure.set_facecolor(palette.color(QPalette.ColorRole.Window).name())
        every = max(1, len(self._records) // _POINTS)
        some = self._records[::every]
        for place, (key, said, scale) in enumerate(_SHOWN, start=1):
            axes = self.figure.add_subplot(2, 2, place)
            axes.set_facecolor(palette.color(QPalette.ColorRole.Base).name())
            axes.set_title(said, fontsize=8, color=text)
            for spine in axes.spines.values():
                spine.set_color(text)
            axes.tick_params(colors=text, which="both", labelsize=7)
            points = [(r["step"], r[key]) for r in some if key in r]
            points = [p for p in points if scale == "linear" or p[1] > 0]
            if points:
                axes.plot(*zip(*points, strict=True), color="#56b4e9", lw=1.2)
                axes.set_yscale(scale)
            if key in ("explained_variance", "dead"):
                axes.set_ylim(-0.02, 1.02)
        self.draw_idle()
