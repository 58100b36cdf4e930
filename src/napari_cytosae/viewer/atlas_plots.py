"""Pictures of an atlas: frequency against mean activation, and the choice of the focus."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

from napari_cytosae.concepts.atlas import Focus

# Opacity of concepts that the table does not list: less where there are so many that they add up.
_FADED, _FADED_MANY = 0.15, 1500


class _Plot(FigureCanvasQTAgg):
    """A figure in the colours of the window."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Figure(layout="constrained"))
        self.setParent(parent)
        self.setMinimumSize(160, 120)
        self.axes = self.figure.add_subplot()
        self.text_color = "0.5"

    def _take_colours(self) -> None:
        palette = self.palette()
        self.text_color = palette.color(QPalette.ColorRole.WindowText).name()
        self.figure.set_facecolor(palette.color(QPalette.ColorRole.Window).name())
        axes = self.axes
        axes.set_facecolor(palette.color(QPalette.ColorRole.Base).name())
        for spine in axes.spines.values():
            spine.set_color(self.text_color)
        axes.tick_params(colors=self.text_color, which="both", labelsize=7)
        for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
            label.set_color(self.text_color)
            label.set_fontsize(8)


class ConceptScatter(_Plot):
    """Every concept by frequency and mean activation, coloured by its references' entropy."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._ids = np.zeros(0, np.int64)
        self._xy = np.zeros((0, 2))
        self._ring: Any = None
        self._points: Any = None
        self.mpl_connect("button_press_event", self._on_press)
        self.setToolTip("Each point is a concept: click one to choose it.")

    def show_concepts(
        self,
        ids: NDArray[np.integer],
        frequency: NDArray[np.floating],
        mean: NDArray[np.floating],
        entropy: NDArray[np.floating] | None,
    ) -> None:
        """Show these concepts; those that are never active have no place on a log scale."""
        there = (frequency > 0) & (mean > 0)
        self._ids = np.asarray(ids)[there]
        self._xy = np.column_stack([frequency[there], mean[there]])
        self.figure.clear()
        self.axes = axes = self.figure.add_subplot()
        self._ring = None
        axes.set(xscale="log", yscale="log", xlabel="frequency", ylabel="mean activation")
        size = float(np.clip(9000 / max(len(self._ids), 1), 1.5, 14))
        if entropy is not None and np.isfinite(entropy[there]).any():
            colour = np.ma.masked_invalid(entropy[there])
            colours = colormaps["viridis"].with_extremes(bad="0.6")
            points = axes.scatter(*self._xy.T, s=size, c=colour, cmap=colours, linewidths=0)
            bar = self.figure.colorbar(points, ax=axes, pad=0.01)
            self._take_colours()
            bar.set_label("label entropy (nats)", fontsize=7, color=self.text_color)
            bar.ax.tick_params(labelsize=7, colors=self.text_color)
        else:
            points = axes.scatter(*self._xy.T, s=size, c="#56b4e9", linewidths=0)
        self._points = points
        self._take_colours()
        self.draw_idle()

    def show_only(self, ids: NDArray[np.integer]) -> None:
        """Let the concepts that a table lists stand out, and the others fade."""
        if self._points is not None:
            faded = min(_FADED, max(_FADED_MANY / max(len(self._ids), 1), 0.012))
            self._points.set_alpha(np.where(np.isin(self._ids, ids), 1.0, faded))
            self.draw_idle()

    def choose(self, concept_id: int | None) -> None:
        """Ring a concept."""
        if self._ring is not None:
            self._ring.remove()
            self._ring = None
        found = np.flatnonzero(self._ids == concept_id) if concept_id is not None else []
        if len(found):
            self._ring = self.axes.scatter(
                *self._xy[found[:1]].T, s=90, facecolors="none", edgecolors="#d55e00", linewidths=2
            )
        self.draw_idle()

    def _on_press(self, event: Any) -> None:
        if event.inaxes is not self.axes or event.button != 1 or not len(self._ids):
            return
        places = self.axes.transData.transform(self._xy)
        distance = np.hypot(*(places - (event.x, event.y)).T)
        nearest = int(np.argmin(distance))
        if distance[nearest] < 12 * self.devicePixelRatioF():
            self.chosen.emit(int(self._ids[nearest]))


class FocusPlot(_Plot):
    """How many concepts have which mean activation, with the threshold as a line to drag."""

    moved = Signal(float)  # the threshold, in mean activation

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line: Any = None
        self._dragging = False
        self.setToolTip("Drag the line: concepts to its right are in focus.")
        for name, slot in (
            ("button_press_event", self._on_press),
            ("motion_notify_event", self._on_move),
            ("button_release_event", self._on_release),
        ):
            self.mpl_connect(name, slot)

    def show_focus(self, focus: Focus) -> None:
        """Show a choice of concepts."""
        self.figure.clear()
        self.axes = axes = self.figure.add_subplot()
        axes.stairs(focus.counts, focus.edges, fill=True, color="#56b4e9")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="log10 of the mean activation", ylabel="concepts")
        axes.set_title(self._words(focus))
        if np.isfinite(focus.noisy_above) and focus.noisy_above > 0:
            axes.axvspan(
                np.log10(focus.noisy_above), focus.edges[-1], color="#d55e00", alpha=0.15, lw=0
            )
        at = np.log10(focus.threshold) if focus.threshold > 0 else focus.edges[0]
        self._line = axes.axvline(at, color="#d55e00", lw=2)
        self._take_colours()
        self.draw_idle()

    def _words(self, focus: Focus) -> str:
        return (
            f"{len(focus):,} of {focus.n_active:,} active concepts in focus, with "
            f"{focus.mass_share:.1%} of all activation"
        )

    def say(self, focus: Focus) -> None:
        """Follow a threshold that is being dragged."""
        self.axes.set_title(self._words(focus), fontsize=8, color=self.text_color)
        self.draw_idle()

    def _on_press(self, event: Any) -> None:
        if event.inaxes is self.axes and event.button == 1 and self._line is not None:
            self._dragging = True
            self._on_move(event)

    def _on_move(self, event: Any) -> None:
        if self._dragging and event.xdata is not None:
            self._line.set_xdata([event.xdata, event.xdata])
            self.moved.emit(float(10**event.xdata))
            self.draw_idle()

    def _on_release(self, event: Any) -> None:
        self._dragging = False
