"""The Cohort dock's long work: one task at a time, beside the window, with progress and an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cytosae.cohorts import Comparison
from napari_cytosae.cohorts.classification import Classification, ClassificationOptions
from napari_cytosae.viewer.cohort_export import report_job
from napari_cytosae.viewer.cohort_status import CohortStatus
from napari_cytosae.viewer.cohort_work import (
    Classified,
    OpenedCohort,
    Saved,
    Steps,
    apply_job,
    classify_job,
    open_job,
    save_model_job,
)
from napari_cytosae.viewer.extract_work import ExtractRequest, extract_job
from napari_cytosae.viewer.jobs import Job, JobRunner

_LOOK_MS = 150


class CohortTasks(QObject):
    """Starts tasks, shows how far they are, and hands on what they found."""

    opened = Signal(object)  # an OpenedCohort
    classified = Signal(object)  # a Classified
    changed = Signal()  # a task began or ended
    ended = Signal(bool)  # True: it came to its end

    def __init__(self, status: CohortStatus, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._status = status
        self._steps = Steps()
        self.jobs = JobRunner(self)
        self._look = QTimer(self)
        self._look.setInterval(_LOOK_MS)
        self._look.timeout.connect(self._show_steps)
        self.jobs.started.connect(self.changed)
        self.jobs.yielded.connect(self._on_answer)
        self.jobs.failed.connect(lambda error: self._on_end(str(error), False))
        self.jobs.finished.connect(
            lambda whole: self._on_end(
                None if whole else "Stopped. What is done is kept; start again to go on.", whole
            )
        )
        status.cancel_pressed.connect(self.jobs.cancel)

    def open(self, path: Path) -> None:
        """Read a cohort's folder, or a file of barcodes."""
        self._start(f"Reading {path.name} …", lambda cancelled: open_job(path))

    def extract(self, request: ExtractRequest) -> None:
        """Analyse the images of patients, or go on with it."""
        steps = Steps()
        words = f"Analysing the images of {request.source.name} …"
        self._start(words, lambda cancelled: extract_job(request, steps, cancelled), steps)

    def classify(self, cohort: OpenedCohort, options: ClassificationOptions) -> None:
        """Tell the patients apart."""
        steps, barcodes = Steps(), cohort.barcodes
        self._start(
            "Classifying the patients …",
            lambda cancelled: classify_job(barcodes, options, steps, cancelled),
            steps,
        )

    def apply(self, cohort: OpenedCohort, file: Path) -> None:
        """Predict the patients by a model that was saved."""
        barcodes = cohort.barcodes
        self._start(f"Applying {file.name} …", lambda cancelled: apply_job(barcodes, file))

    def keep(self, cohort: OpenedCohort, found: Classification, file: Path) -> None:
        """Fit a model to all patients and save it."""
        barcodes = cohort.barcodes
        self._start(
            "Fitting the model to all patients …",
            lambda cancelled: save_model_job(barcodes, found, file),
        )

    def report(
        self,
        cohort: OpenedCohort,
        comparison: Comparison | None,
        classified: Classified | None,
        out: Path,
    ) -> None:
        """Write the report."""
        steps = Steps()
        self._start(
            "Writing the report …",
            lambda cancelled: report_job(cohort, comparison, classified, out, steps, cancelled),
            steps,
        )

    def _start(self, words: str, job: Job, steps: Steps | None = None) -> None:
        self._steps = steps or Steps()
        self._look.start()
        self.jobs.start(job)
        self._status.say(words)

    def _show_steps(self) -> None:
        steps = self._steps
        self._status.show_progress(steps.done, steps.total, steps.words)

    def _on_answer(self, answer: Any) -> None:
        if isinstance(answer, OpenedCohort):
            self.opened.emit(answer)
        elif isinstance(answer, Classified):
            self.classified.emit(answer)
        elif isinstance(answer, Saved):
            self._steps = Steps(words=f"Saved {answer.path}")

    def _on_end(self, words: str | None, whole: bool) -> None:
        self._look.stop()
        saved = self._steps.words if self._steps.words.startswith("Saved ") else ""
        self.changed.emit()
        self._status.say(words or saved)
        self.ended.emit(whole)
