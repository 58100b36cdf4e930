"""Extraction on Dask: every piece of work is a task, on this machine or on a cluster of the user's."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from napari_cytosae.cohorts.extraction.plan import Unit
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.cohorts.extraction.unit import UnitFacts, UnitResult, do_unit
from napari_cytosae.cohorts.sums import BRANCHES, Sums, add_up
from napari_cytosae.errors import Cancelled, CohortError

if TYPE_CHECKING:
    from distributed import Client, Future

Result = TypeVar("Result")

# How often the wish to stop is asked for while workers work.
_POLL_S = 0.1


def dask_available() -> bool:
    """Tell whether ``napari-cytosae[distributed]`` is installed."""
    return find_spec("distributed") is not None


def dask_workers(
    scheduler: str | None = None,
    *,
    n_workers: int | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
) -> "DaskWorkers":
    """Connect to workers; use it as a context, which lets them go at its end.

    Parameters
    ----------
    scheduler
        Address of a scheduler that runs already, ``tcp://host:8786``; its workers must see the same
        files and have this package. Without it workers are started on this machine.
    n_workers
        Workers to start; without it one per GPU, or one for every four processor cores.
    threads
        Threads of each started worker's arithmetic; without it the cores are shared out.
    client
        A client of a cluster of one's own (SLURM, Kubernetes, …); it is not closed.

    Raises
    ------
    CohortError
        Where Dask is not installed, or the scheduler cannot be reached.
    """
    if not dask_available():
        raise CohortError(
            'Workers need Dask: pip install "napari-cytosae[distributed]". Without it, one image '
            "after another is analysed in this process."
        )
    if client is not None:
        return DaskWorkers(client)
    from distributed import Client

    if scheduler is not None:
        try:
            return DaskWorkers(Client(scheduler, timeout="20s"), owns=True)
        except (OSError, ValueError, TypeError) as error:
            raise CohortError(
                f"The scheduler {scheduler} cannot be reached ({error}). Start it with: dask "
                "scheduler, and give the address it prints."
            ) from error
    from distributed import LocalCluster

    n_gpus = _n_gpus()
    cores = os.cpu_count() or 1
    count = n_workers if n_workers is not None else n_gpus or max(1, cores // 4)
    if count < 1:
        raise CohortError(f"{count} workers can do nothing; give 1 or more.")
    cluster = LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        # A model is as large as it is: the limit would only kill workers that do their job.
        memory_limit=0,
    )
    return DaskWorkers(
        Client(cluster),
        owns=True,
        cluster=cluster,
        n_gpus=n_gpus,
        threads=threads if threads is not None else max(1, cores // count),
    )


class DaskWorkers:
    """Workers of a Dask cluster.

    A piece that a lost worker was at is done again by another; pieces that are finished lie on
    disk and cost nothing. Sums are added up on the workers, as a tree whose shape the cohort
    decides, so that their number changes no bit.
    """

    def __init__(
        self,
        client: "Client",
        *,
        owns: bool = False,
        cluster: Any = None,
        n_gpus: int = 0,
        threads: int | None = None,
    ) -> None:
        self.client = client
        self._owns = owns
        self._cluster = cluster
        self._n_gpus = n_gpus
        self._threads = threads
        self._results: dict[Unit, Future[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dashboard(self) -> str:
        """Address of the page that shows the workers at work; empty where there is none."""
        return str(self.client.dashboard_link or "")

    @property
    def n_workers(self) -> int:
        """Workers at present."""
        return len(self.client.ncores())

    def close(self) -> None:
        """Let the workers go; those of a client that was given stay."""
        self._results.clear()
        if self._owns:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close()

    def do(
        self,
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[UnitFacts]:
        """Do every piece, in whatever order, and tell of each as soon as it is done.

        Raises
        ------
        Cancelled
            When `cancelled` says so; pieces at work are given up.
        CohortError
            Where the workers are lost.
        """
        waiting: dict[Future[Any], Unit] = {}
        for unit in units:
            key = f"cytosae-unit-{_content_key(unit, settings)}"
            result = self.client.submit(
                _do_on_worker, unit, settings, self._n_gpus, self._threads, key=key, pure=True
            )
            self._results[unit] = result
            waiting[self.client.submit(_facts, result, key=f"{key}-facts")] = unit
        for unit, facts in self._as_they_come(waiting, cancelled):
            if facts.error:
                self._results.pop(unit)
            yield facts

    def each(
        self,
        function: Callable[[Unit, ExtractionSettings, Callable[[], bool]], Result],
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[Unit, Result]]:
        """Call a function of pieces on the workers, and give what it says of each as it comes.

        Raises
        ------
        Cancelled
            When `cancelled` says so; pieces at work are given up.
        CohortError
            Where the workers are lost.
        """
        waiting: dict[Future[Any], Unit] = {
            self.client.submit(
                _call_on_worker, function, unit, settings, self._n_gpus, self._threads, pure=False
            ): unit
            for unit in units
        }
        yield from self._as_they_come(waiting, cancelled)

    def _as_they_come(
        self, waiting: "dict[Future[Any], Unit]", cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Unit, Any]]:
        from distributed import as_completed

        left = as_completed(list(waiting))
        try:
            while not left.is_empty():
                if cancelled():
                    raise Cancelled("Extraction was cancelled.")
                batch = left.next_batch(block=False)
                if not batch:
                    time.sleep(_POLL_S)
                for future in batch:
                    yield waiting[future], _result_of(future, waiting[future])
        finally:
            if not left.is_empty():
                with suppress(OSError):  # the scheduler may be gone
                    self.client.cancel([*waiting, *self._results.values()], force=True)

    def sums(self, units: Sequence[Unit]) -> Sums:
        """Add up the cells of pieces that are done, on the workers."""
        level = [self.client.submit(_sums, self._results[unit]) for unit in units]
        while len(level) > 1:
            level = [
                self.client.submit(_merged, level[start : start + BRANCHES])
                for start in range(0, len(level), BRANCHES)
            ]
        total: Sums = level[0].result()
        for unit in units:
            self._results.pop(unit).release()
        return total


def _result_of(future: "Future[Any]", unit: Unit) -> Any:
    if future.status != "finished":
        error = future.exception() if future.status == "error" else None
        raise CohortError(
            f"{unit.name} could not be analysed by any worker ({error or future.status}). "
            "What is finished is kept: start the same extraction again."
        ) from error
    return future.result()


def _content_key(unit: Unit, settings: ExtractionSettings) -> str:
    """Key a piece by its files as they are now: one that has changed since is done anew."""
    stamps = []
    for source in unit.sources:
        try:
            status = source.stat()
            stamps.append((str(source), status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append((str(source), -1, -1))
    return sha256(repr((unit, settings, stamps)).encode()).hexdigest()[:32]


def _do_on_worker(
    unit: Unit, settings: ExtractionSettings, n_gpus: int, threads: int | None
) -> UnitResult:
    return _call_on_worker(do_unit, unit, settings, n_gpus, threads)


def _call_on_worker(
    function: Callable[[Unit, ExtractionSettings, Callable[[], bool]], Result],
    unit: Unit,
    settings: ExtractionSettings,
    n_gpus: int,
    threads: int | None,
) -> Result:
    if threads is not None:
        _use_threads(threads)
    if n_gpus and settings.device == "auto":
        from distributed import get_worker

        settings = replace(settings, device=f"cuda:{int(get_worker().name) % n_gpus}")
    return function(unit, settings, _never)


def _never() -> bool:
    return False


@cache
def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _facts(result: UnitResult) -> UnitFacts:
    return result.facts


def _sums(result: UnitResult) -> Sums:
    assert result.sums is not None  # pieces that failed are not summed
    return result.sums


def _merged(parts: list[Sums]) -> Sums:
    return add_up(parts)


def _n_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
