"""Long work beside the window: progress as values, cancel, late answers dropped."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import count
from threading import Event
from typing import Any

from qtpy.QtCore import QObject, Signal
from superqt.utils import create_worker

from napari_cytosae.errors import Cancelled

# A job gets a function that tells whether it was cancelled, and yields what the views may show.
Job = Callable[[Callable[[], bool]], Iterator[Any]]


class _JobEnded(Exception):
    """How a job ended early, with the job's number.

    The worker thread passes any exception on but RuntimeError, which it takes for the window's
    death; torch raises little else, so whatever a job raises travels as the cause of this.
    """

    def __init__(self, job_id: int) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class JobRunner(QObject):
    """Run generators in a worker thread, and hand what they yield to the main thread.

    A new job takes the place of the one that runs: the older one is cancelled, and nothing that it
    still yields reaches anybody.
    """

    started = Signal()
    yielded = Signal(object)
    failed = Signal(object)  # the exception
    finished = Signal(bool)  # True: to the end; False: cancelled

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ids = count()
        self._current: int | None = None
        self._cancel = Event()
        # A worker that nobody holds is collected in mid-run.
        self._workers: dict[int, Any] = {}

    @property
    def busy(self) -> bool:
        """Whether a job runs whose results are awaited."""
        return self._current is not None

    @property
    def idle(self) -> bool:
        """Whether no thread works any more, not even for a job that was cancelled."""
        return not self._workers

    def start(self, job: Job) -> None:
        """Start a job; one that runs is cancelled."""
        self._cancel.set()
        self._cancel = Event()
        self._current = job_id = next(self._ids)
        worker = create_worker(_numbered, job_id, job, self._cancel.is_set, _start_thread=False)
        self._workers[job_id] = worker
        # Bound methods of a QObject are called in its thread, the main one; a lambda's would not be.
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        self.started.emit()
        worker.start()

    def cancel(self) -> None:
        """Ask the job to stop; what it has stored is kept."""
        self._cancel.set()

    def abandon(self) -> None:
        """Cancel, and drop whatever still comes: the views are going away."""
        self._current = None
        self._cancel.set()

    def _on_yielded(self, numbered: tuple[int, Any]) -> None:
        job_id, value = numbered
        if job_id == self._current:
            self.yielded.emit(value)

    def _on_returned(self, job_id: int) -> None:
        self._workers.pop(job_id, None)
        if job_id == self._current:
            self._current = None
            self.finished.emit(True)

    def _on_errored(self, ended: _JobEnded) -> None:
        self._workers.pop(ended.job_id, None)
        if ended.job_id != self._current:
            return
        self._current = None
        if isinstance(ended.__cause__, Cancelled):
            self.finished.emit(False)
        else:
            self.failed.emit(ended.__cause__)


def _numbered(
    job_id: int, job: Job, cancelled: Callable[[], bool]
) -> Generator[tuple[int, Any], None, int]:
    try:
        for value in job(cancelled):
            if cancelled():
                raise Cancelled("stopped")
            yield job_id, value
    except Exception as error:
        raise _JobEnded(job_id) from error
    return job_id
