"""The Cohort dock's plots, in the colours of the window; a click on a point chooses its concept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QEvent, QSize, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

from napari_cytosae.cohorts import Comparison
from napari_cytosae.export.cohort.classification_figures import ON_FIELD
from napari_cytosae.export.cohort.comparison_figures import (
    draw_scatter,
    draw_volcano,
    scatter_places,
    volcano_places,
)

_NEAR_PX = 14


class Plot(FigureCanvasQTAgg):
    """A figure that is drawn anew when it is told to, or the window's colours change."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Figure(layout="constrained"))
        self.setParent(parent)
        self.setMinimumSize(160, 120)
        self._draw: Callable[[Figure], None] | None = None
        self._colour()

    def sizeHint(self) -> QSize:
        # matplotlib's own is the figure's size: it would take all room from what is beside it.
        return QSize(260, 200)

    def show_figure(self, draw: Callable[[Figure], None] | None) -> None:
        """Show what a function draws into the empty figure; None leaves it empty."""
        self._draw = draw
        self.figure.clear()
        if draw is not None:
            draw(self.figure)
        self._colour()
        self.draw_idle()

    def draw(self) -> None:
        with warnings.catch_warnings():
            # In a corner that is too small for axes there is nothing to see, and nothing to mend.
            warnings.filterwarnings("ignore", message="constrained_layout not applied")
            super().draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_draw"):
            self._colour()
            self.draw_idle()

    def _colour(self) -> None:
        palette = self.palette()
        ink = palette.color(QPalette.ColorRole.WindowText).name()
        self.figure.set_facecolor(palette.color(QPalette.ColorRole.Window).name())
        for axes in self.figure.axes:
            axes.set_facecolor(palette.color(QPalette.ColorRole.Base).name())
            for spine in axes.spines.values():
                spine.set_color(ink)
            axes.tick_params(colors=ink, which="both")
            for words in (axes.xaxis.label, axes.yaxis.label, axes.title):
                words.set_color(ink)
            for words in axes.texts:
                if words.get_label() != ON_FIELD:
                    words.set_color(ink)
            legend = axes.get_legend()
            for words in legend.get_texts() if legend is not None else ():
                words.set_color(ink)


class ComparisonPlot(Plot):
    """Scatter or volcano of a comparison."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.comparison: Comparison | None = None
        self.volcano = False
        self._ring: Any = None
        self._concept: int | None = None
        self.mpl_connect("button_press_event", self._on_press)
        self.setToolTip("Each point is a concept: click one to see its best cells in both groups.")

    def show_comparison(
        self, comparison: Comparison | None, volcano: bool, hue: Callable[[int], str | None]
    ) -> None:
        """Show a comparison; pinned concepts wear their hues."""
        self.comparison, self.volcano, self._ring = comparison, volcano, None
        if comparison is None:
            self.show_figure(None)
            return

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            legend = self.width() > 420
            (draw_volcano if volcano else draw_scatter)(axes, comparison, legend=legend)
            x, y = self.places()
            for row, concept in enumerate(comparison.table["concept_id"]):
                if (own := hue(int(concept))) is not None:
                    axes.scatter(x[row], y[row], s=60, color=own, edgecolors="white", zorder=4)

        self.show_figure(draw)
        self.choose(self._concept)

    def places(self) -> tuple[Any, Any]:
        """Where the comparison's concepts lie, in data coordinates."""
        assert self.comparison is not None
        return (volcano_places if self.volcano else scatter_places)(self.comparison)

    def choose(self, concept_id: int | None) -> None:
        """Ring a concept."""
        self._concept = concept_id
        if self._ring is not None:
            self._ring.remove()
            self._ring = None
        if self.comparison is not None and concept_id is not None and self.figure.axes:
            ids = self.comparison.table["concept_id"].to_numpy()
            found = np.flatnonzero(ids == concept_id)[:1]
            if len(found):
                x, y = self.places()
                self._ring = self.figure.axes[0].scatter(
                    x[found], y[found], s=110, facecolors="none", edgecolors="#d55e00",
                    linewidths=2, zorder=5,
                )  # fmt: skip
        self.draw_idle()

    def _on_press(self, event: Any) -> None:
        if self.comparison is None or not self.figure.axes or event.button != 1:
            return
        axes = self.figure.axes[0]
        if event.inaxes is not axes:
            return
        points = axes.transData.transform(np.column_stack(self.places()))
        distance = np.hypot(*(points - (event.x, event.y)).T)
        nearest = int(np.argmin(distance))
        if distance[nearest] < _NEAR_PX * self.devicePixelRatioF():
            self.chosen.emit(int(self.comparison.table["concept_id"].iloc[nearest]))
