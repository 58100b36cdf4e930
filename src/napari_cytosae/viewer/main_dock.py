"""The CytoSAE dock: from an image to clickable concepts."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QFrame, QPushButton, QShortcut, QVBoxLayout, QWidget

from napari_cytosae.concepts import CellsFound, MoreCells, Progress, Run
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides import Slide
from napari_cytosae.viewer.analysis_form import AnalysisForm
from napari_cytosae.viewer.analysis_work import (
    AnalysisRequest,
    Clicked,
    Downloading,
    Encoded,
    ModelReady,
    SlideReady,
    analyse,
    encode_clicked,
)
from napari_cytosae.viewer.cell_panel import CellPanel
from napari_cytosae.viewer.estimate_row import EstimateRow
from napari_cytosae.viewer.go_to import bring_into_view
from napari_cytosae.viewer.in_view import ViewBox, box_in_view
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.name_watch import watch_names
from napari_cytosae.viewer.picking import click_callback
from napari_cytosae.viewer.placement import pixel_at
from napari_cytosae.viewer.result_layers import result_layers_of
from napari_cytosae.viewer.results import Results
from napari_cytosae.viewer.run_bar import RunBar
from napari_cytosae.viewer.sample_data import add_sample_smear
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

_STAGES = {"open": "Opening …", "detect": "Finding cells …", "write": "Writing profiles …"}


class CytoSAEDock(QWidget):
    """Image, cells, model, Run; below them the selected cell and its concepts."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = unwrapped(napari_viewer)
        self.session = session_of(self._viewer)
        self.layers = result_layers_of(self._viewer)
        watch_names(self._viewer)
        self.form = AnalysisForm(self._viewer, self.layers.is_result)
        self.estimate = EstimateRow(self.form.request)
        self.run_bar = RunBar()
        self.panel = CellPanel(self.session)
        self.jobs = JobRunner(self)
        self._working_on: tuple[Image, Slide, AnalysisRequest] | None = None
        self._view = ViewBox()
        self.sample = QPushButton("Open the sample smear")
        self.sample.setToolTip("A blood smear drawn by this plugin, to try everything on.")
        self.sample.clicked.connect(lambda: add_sample_smear(self._viewer))
        self._build()
        self._connect()
        self._on_image(self.form.layer)

    def _build(self) -> None:
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (self.form, self.sample, self.estimate, self.run_bar, line):
            layout.addWidget(widget)
        layout.addWidget(self.panel, 1)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.form.image_changed.connect(self._on_image)
        self.form.subscriptions.connect(self.session.bundle_offered, self.form.choose_bundle)
        if self.session.offered is not None:
            self.form.choose_bundle(self.session.offered)
        self.form.changed.connect(self.estimate.forget)
        self.estimate.model_ready.connect(
            lambda ready: self.form.remember(ready.model, ready.bundle)
        )
        self.run_bar.run_pressed.connect(self.run)
        self.run_bar.cancel_pressed.connect(self.cancel)
        self.jobs.started.connect(lambda: self.run_bar.set_working(True))
        self.jobs.yielded.connect(self._on_step)
        self.jobs.failed.connect(self._on_failed)
        self.jobs.finished.connect(self._on_finished)
        self.panel.colour_pressed.connect(self.layers.colour_by)
        self.panel.stepped.connect(lambda label: bring_into_view(self._viewer, label))
        self.panel.smooth_toggled.connect(self.layers.set_smooth)
        self.panel.full.connect(
            lambda: self.run_bar.say("All six colours are in use: unpin a concept first.")
        )
        self._click = click_callback(self._on_click)
        self._viewer.mouse_drag_callbacks.append(self._click)
        removed = Subscriptions()
        removed.connect(self._viewer.layers.events.removed, self._on_layer_removed)
        self._bind_keys()
        # A dock that is closed for good must leave neither a thread at work nor a callback behind.
        listening = (removed, self.form.subscriptions, self.panel.subscriptions)
        jobs = (self.jobs, self.estimate.jobs)
        self.destroyed.connect(_farewell(self._viewer, self._click, jobs, listening))

    def _bind_keys(self) -> None:
        keys = {
            "N": lambda: self.panel.step(1),
            "P": lambda: self.panel.step(-1),
            "Esc": self._on_escape,
            **{str(slot + 1): lambda slot=slot: self.layers.toggle_map(slot) for slot in range(6)},
        }
        for key, act in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)
        self._viewer.bind_key("N", lambda _: self.panel.step(1), overwrite=True)
        self._viewer.bind_key("P", lambda _: self.panel.step(-1), overwrite=True)

    def _on_escape(self) -> None:
        """Cancel what works; else leave a comparison, or widen a chosen patch to its cell."""
        if self.jobs.busy:
            self.cancel()
        elif self.session.also:
            self.session.select(self.session.selected)
        else:
            self.session.select_patch(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() != Qt.Key.Key_Space:
            super().keyPressEvent(event)
        elif not event.isAutoRepeat():
            self._show_bare(True)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() != Qt.Key.Key_Space:
            super().keyReleaseEvent(event)
        elif not event.isAutoRepeat():
            self._show_bare(False)

    def _show_bare(self, bare: bool) -> None:
        """Show the cells without maps and outlines while ``bare`` holds."""
        self.layers.hide_all(bare)
        self.panel.show_bare(bare)

    # -- jobs ------------------------------------------------------------------------------

    def run(self) -> None:
        """Start the analysis of the chosen image; a job that runs is cancelled first."""
        request = self._request()
        if request is None:
            return
        self.estimate.stop()  # both would share the processor
        self._working_on = self.form.layer, request.slide, request
        view = self._view = ViewBox(box_in_view(self.form.layer))
        self.jobs.start(lambda cancelled: analyse(request, cancelled, view))

    def cancel(self) -> None:
        """Stop the job that runs; cells that are done stay."""
        if self.jobs.busy:
            self.run_bar.set_cancelling()
            self.jobs.cancel()

    def _request(self) -> AnalysisRequest | None:
        try:
            return self.form.request()
        except CytoSAEError as error:
            self._on_failed(error)
            return None

    def _on_step(self, step: Any) -> None:
        """Show what a job yields; it has done so in the main thread."""
        layer, _, request = self._working_on
        self._view.box = box_in_view(layer)
        if isinstance(step, Progress):
            if step.stage == "encode":
                about = "cells or so" if step.approximate else "cells"
                self.run_bar.show_progress(step.done, step.total, about)
                if step.message:
                    self.run_bar.say(step.message)
            elif step.stage == "measure":
                self.run_bar.show_progress(step.done, step.total, "cells measured")
            else:
                self.run_bar.show_stage(_STAGES[step.stage])
        elif isinstance(step, Downloading):
            done, total = step.done // 1_000_000, step.total // 1_000_000
            self.run_bar.show_progress(done, total, f"MB of {step.name}")
        elif isinstance(step, SlideReady):
            self._working_on = layer, step.slide, request
        elif isinstance(step, ModelReady):
            self.form.remember(step.model, step.bundle)
        elif isinstance(step, CellsFound):
            self._show_run(Run(step.folder), keep_fresh=False)
        elif isinstance(step, MoreCells):
            self.session.results.more_cells(step.table)
            self.session.results_changed.emit()
        elif isinstance(step, Encoded):
            self.session.results.add(step.cells, step.tops)
            self.session.results_changed.emit()
        elif isinstance(step, Run):
            self._show_run(step, keep_fresh=True)
        elif isinstance(step, Clicked):
            self._show_clicked(step)

    def _show_run(self, run: Run, *, keep_fresh: bool) -> None:
        """Show a run's cells; the finished run takes the place of the one at work, unnoticed."""
        layer, slide, _request = self._working_on
        results = self.session.results
        if keep_fresh and results is not None and results.run is not None:
            results.take_run(run)
            self.session.results_changed.emit()
            return
        looked_at = self._looked_at(layer)
        self.session.show(Results.of_run(run, slide), layer)
        if looked_at is not None:
            self.session.select(self.session.results.label_at(*looked_at))

    def _looked_at(self, layer: Image) -> tuple[int, int] | None:
        """Pixel in the middle of the selected cell of a layer, None where none is selected."""
        results, label = self.session.results, self.session.selected
        if results is None or label is None or self.session.source is not layer:
            return None
        row = results.row(label)
        return round(row["centroid_y"]), round(row["centroid_x"])

    def _show_clicked(self, clicked: Clicked) -> None:
        if clicked.results is not self.session.results:
            self.session.show(clicked.results, self._working_on[0])
        if clicked.label is None:
            self.run_bar.say("No nucleated cell was found there.")
            self.session.select(None)
            return
        self.session.results_changed.emit()
        self.session.select(clicked.label)

    def _on_finished(self, completed: bool) -> None:
        self.run_bar.set_working(False)
        results = self.session.results
        run = results.run if results is not None else None
        if not completed:
            self.run_bar.say("Stopped. Run goes on with the cells that are left.")
        elif run is not None:
            if run.note:
                self.run_bar.say(run.note)
            else:
                self.run_bar.say(f"{_counted(run)} · kept in {run.path.name}")
            self.run_bar.message.setToolTip(str(run.path))

    def _on_failed(self, error: BaseException) -> None:
        """Say what happened; an error that nobody foresaw is told with its type."""
        self.run_bar.set_working(False)
        text = str(error)
        if not isinstance(error, CytoSAEError):
            text = f"Something unforeseen happened ({type(error).__name__}: {text})."
        self.run_bar.fail(text, "".join(traceback.format_exception(error)))

    # -- the viewer ------------------------------------------------------------------------

    def show_run(self, run: Run, slide: Slide, layer: Image) -> None:
        """Show a run that was opened from disk, on the layer of its slide."""
        self.form.choose_layer(layer)
        self.session.show(Results.of_run(run, slide), layer)
        self.run_bar.say(run.note or f"{_counted(run)} · {run.path.name}")
        if run.unfinished:
            self.run_bar.say("This run is unfinished: Run goes on with the cells that are left.")

    def _on_image(self, layer: Image | None) -> None:
        self.sample.setVisible(layer is None)
        self.estimate.show_for(layer)
        self.run_bar.run.setEnabled(layer is not None)
        if layer is None:
            self.run_bar.say("Open a blood or marrow image, or try the sample smear.")
        else:
            self.run_bar.say("")

    def _on_click(self, world: np.ndarray, modifiers: frozenset[str]) -> None:
        """Select the cell under a click; without a run, encode just that cell."""
        results, source = self.session.results, self.session.source
        layer = self.form.layer
        if results is not None and results.run is not None and layer is source:
            label = results.label_at(*pixel_at(source, world))
            if "Shift" not in modifiers:
                self.session.select(label)
            elif label is not None:
                self.session.select_also(label)
            return
        if layer is None or self.jobs.busy or not self.isVisible():
            return
        yx = pixel_at(layer, world)
        request = self._request()
        if request is None or not all(
            0 <= at < side for at, side in zip(yx, request.slide.shape, strict=True)
        ):
            return
        known = results if source is layer else None
        self._working_on = layer, request.slide, request
        self.jobs.start(lambda cancelled: encode_clicked(request, known, yx, cancelled))

    def _on_layer_removed(self, event: Any) -> None:
        if self.jobs.busy and event.value is self._working_on[0]:
            # Its results would have nowhere to be shown; what is stored stays on disk.
            self.jobs.abandon()
            self.run_bar.set_working(False)
            self.run_bar.say("The image was removed; Run goes on once it is open again.")


def _counted(run: Run) -> str:
    return "1 cell" if len(run) == 1 else f"{len(run):,} cells"


def _farewell(
    viewer: Any,
    click: Any,
    runners: tuple[JobRunner, ...],
    listening: tuple[Subscriptions, ...],
) -> Callable[[], None]:
    """Make a function that survives the dock, and undoes what it left in the viewer."""

    def undo() -> None:
        for subscriptions in listening:
            subscriptions.end()
        if click in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(click)
        for key in ("N", "P"):
            viewer.bind_key(key, None)
        for jobs in runners:
            jobs.abandon()

    return undo
