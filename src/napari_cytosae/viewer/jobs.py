"""Long work beside the window: progress as values, cancel, late answers dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any

from qtpy.QtCore import QObject, Signal
from superqt.utils import create_worker

from napari_cytosae.errors import Cancelled

# A job gets a function that tells whether it was cancelled, and yields what the views may show.
Job = Callable[[Callable[[], bool]], Generator[Any, None, None]]


@dataclass(frozen=True, slots=True)
class _Broke:
    """How a job ended early.

    It travels as a value: an exception that leaves the worker is raised once more in the window's
    event loop, and a RuntimeError, which is most of what torch raises, is taken for the window's
    death and swallowed.
    """

    error: Exception


class JobRunner(QObject):
    """Run generators in a worker thread, and hand what they yield to the main thread.

    A new job takes the place of the one that runs: the older one is cancelled, nothing that it
    still yields reaches anybody, and the new one begins when it has let go of what it holds (a run
    folder has room for one).
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
        self._worker: Any = None
        self._waiting: Any = None

    @property
    def busy(self) -> bool:
        """Whether a job runs whose results are awaited."""
        return self._current is not None

    @property
    def idle(self) -> bool:
        """Whether no thread works any more, not even for a job that was cancelled."""
        return self._worker is None

    def start(self, job: Job) -> None:
        """Start a job; one that runs is cancelled."""
        self._cancel.set()
        self._cancel = Event()
        self._current = job_id = next(self._ids)
        worker = create_worker(_numbered, job_id, job, self._cancel.is_set, _start_thread=False)
        # Bound methods of a QObject are called in its thread, the main one; a lambda's are not.
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        self.started.emit()
        if self._worker is None:
            self._begin(worker)
        else:
            self._waiting = worker

    def _begin(self, worker: Any) -> None:
        self._worker, self._waiting = worker, None
        worker.start()

    def cancel(self) -> None:
        """Ask the job to stop; what it has stored is kept."""
        self._cancel.set()

    def abandon(self) -> None:
        """Cancel, and drop whatever still comes: the views are going away."""
        self._current = self._waiting = None
        self._cancel.set()

    def _on_yielded(self, numbered: tuple[int, Any]) -> None:
        job_id, value = numbered
        if job_id != self._current:
            return
        if not isinstance(value, _Broke):
            self.yielded.emit(value)
            return
        self._current = None
        if isinstance(value.error, Cancelled):
            self.finished.emit(False)
        else:
            self.failed.emit(value.error)

    def _on_returned(self, job_id: int) -> None:
        self._worker = None
        if self._waiting is not None:
            self._begin(self._waiting)
        if job_id == self._current:
            self._current = None
            self.finished.emit(True)


def _numbered(
    job_id: int, job: Job, cancelled: Callable[[], bool]
) -> Generator[tuple[int, Any], None, int]:
    try:
        # Closed, not left to the collector: it may hold a folder's lock.
        with closing(job(cancelled)) as values:
            for value in values:
                if cancelled():
                    raise Cancelled("stopped")
                yield job_id, value
    except Exception as error:
        yield job_id, _Broke(error)
    return job_id


def told(work: Callable[[Callable[[Any], None]], Any]) -> Generator[Any, None, None]:
    """Run work that calls back, and yield what it tells and returns.

    It runs in a thread of its own, since a callback cannot yield; where nobody reads any more, what
    it still tells is dropped.
    """
    waiting: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            waiting.put(("done", work(lambda value: waiting.put(("told", value)))))
        except BaseException as error:
            waiting.put(("broke", error))

    thread = threading.Thread(target=run, name="cytosae-work")
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "broke":
                raise value
            yield value
            if kind == "done":
                return
    finally:
        thread.join()
