"""Before a long run: about how many cells, how long, how much disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_cytosae.cells.survey import is_field
from napari_cytosae.concepts import Progress
from napari_cytosae.concepts.estimate import Estimate, check_room, in_words
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.analysis_work import (
    AnalysisRequest,
    Downloading,
    ModelReady,
    estimated,
)
from napari_cytosae.viewer.jobs import JobRunner

if TYPE_CHECKING:
    from napari.layers import Image

_STAGES = {
    "open": "Opening …",
    "detect": "Looking at a few tiles …",
    "encode": "Trying a few cells …",
}
_HINT = (
    "Looks at a few tiles and analyses a few cells for trial: about how many cells there are, how\n"
    "long a run takes, and how much disk. Nothing is kept."
)


class EstimateRow(QWidget):
    """A button and what it found; shown for images that take long."""

    model_ready = Signal(object)  # ModelReady

    def __init__(
        self, request: Callable[[], AnalysisRequest], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._request = request
        self._asked: AnalysisRequest | None = None
        self.jobs = JobRunner(self)
        self.button = QPushButton("&Estimate")
        self.button.setToolTip(_HINT)
        self.button.clicked.connect(self._on_pressed)
        self.found = QLabel()
        self.found.setWordWrap(True)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.button)
        row.addWidget(self.found, 1)
        self.jobs.started.connect(lambda: self.button.setText("■ Stop"))
        self.jobs.yielded.connect(self._on_step)
        self.jobs.failed.connect(self._on_failed)
        self.jobs.finished.connect(self._on_finished)
        self.show_for(None)

    def show_for(self, layer: Image | None) -> None:
        """Show the row where an image is large."""
        self.forget()
        self.setVisible(layer is not None and not is_field(_shape(layer)))

    def forget(self) -> None:
        """Drop what was found: it was of another question."""
        if self.jobs.busy:
            self.jobs.abandon()
            self.button.setText("&Estimate")
        self.found.setText("How many cells, how long?")

    def stop(self) -> None:
        """Stop what works, for what is about to need the processor."""
        if self.jobs.busy:
            self.jobs.cancel()

    def _on_pressed(self) -> None:
        if self.jobs.busy:
            self.jobs.cancel()
            return
        try:
            self._asked = request = self._request()
        except CytoSAEError as error:
            self.found.setText(str(error))
            return
        self.found.setText(_STAGES["open"])
        self.jobs.start(lambda cancelled: estimated(request, cancelled))

    def _on_step(self, step: Any) -> None:
        if isinstance(step, Progress):
            self.found.setText(_STAGES.get(step.stage, ""))
        elif isinstance(step, Downloading):
            self.found.setText(f"Fetching {step.name} …")
        elif isinstance(step, ModelReady):
            self.model_ready.emit(step)
        elif isinstance(step, Estimate):
            text = in_words(step)
            try:
                check_room(step, self._asked.out.parent)
            except CytoSAEError as error:
                text = f"{text}. {error}"
            self.found.setText(text[0].upper() + text[1:] + ("" if text.endswith(".") else "."))

    def _on_failed(self, error: Exception) -> None:
        self.button.setText("&Estimate")
        self.found.setText(str(error))

    def _on_finished(self, completed: bool) -> None:
        self.button.setText("&Estimate")
        if not completed:
            self.found.setText("Stopped.")


def _shape(layer: Image) -> tuple[int, int]:
    height, width = np.asarray(layer.data[0].shape if layer.multiscale else layer.data.shape)[:2]
    return int(height), int(width)
