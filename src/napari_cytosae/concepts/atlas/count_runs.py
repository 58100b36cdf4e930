"""Count the cells of stored runs, in this process or in several."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.accumulator import Accumulator, TokenBlock, source_key
from napari_cytosae.concepts.atlas.collector import Collector
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.concepts.atlas.sources import RunSource
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.errors import AtlasError, Cancelled

# Cells that a worker counts before it hands its counts over: some seconds of work, beside which
# handing over 20 MB is little.
_SLICE_CELLS = 32_768
_SLICES_PER_WORKER = 4
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Counted:
    """Runs that are counted from now on, and how many cells that makes."""

    n_cells: int
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """Some shards of a run, for a worker."""

    path: Path
    row: int
    key: np.uint64
    first: int
    last: int
    labels: NDArray[np.int32]


def count_runs(
    sources: list[RunSource],
    labels: Labels,
    collector: Collector,
    workers: int,
    cancelled: Callable[[], bool],
) -> Iterator[Counted]:
    """Count runs one after another.

    Parameters
    ----------
    sources
        Finished runs that the collector does not know yet.
    labels
        The cells' classes.
    collector
        Where they are counted.
    workers
        Processes; 1 counts in this one.
    cancelled
        Asked between shards.

    Yields
    ------
    Counted
        After some cells. Where it is ``complete``, the collector holds whole runs only, and may be
        saved.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    AtlasError, RunError
        Where a run cannot be read, or has no such labels.
    """
    if workers == 1:
        for source in sources:
            yield from _count_here(source, labels, collector, cancelled)
    else:
        yield from _count_elsewhere(sources, labels, collector, workers, cancelled)


def _begin(
    source: RunSource, labels: Labels, collector: Collector
) -> tuple[int, NDArray[np.int32]]:
    """Note a run and the classes of its cells."""
    run = source.run
    table = run.table
    cells = table["label"].to_numpy(np.int64)
    words = labels.of_cells(run.path, source.image, cells, table)
    row = collector.add_source(source.identity, str(run.path.resolve()), source.image, len(run))
    return row, collector.classes_of(words)


def _count_here(
    source: RunSource, labels: Labels, collector: Collector, cancelled: Callable[[], bool]
) -> Iterator[Counted]:
    row, classes = _begin(source, labels, collector)
    key = source_key(source.identity)
    done = 0
    for shard in source.run.shards():
        if cancelled():
            raise Cancelled("Stopped.")
        of_shard = classes[done : done + len(shard.labels)]
        collector.accumulator.add(_block(shard, row, key, of_shard))
        done += len(shard.labels)
        yield Counted(len(shard.labels), complete=False)
    if done != len(source.run):
        raise _incomplete(source.run.path, len(source.run), done)
    yield Counted(0, complete=True)


def _block(shard: Shard, row: int, key: np.uint64, labels: NDArray[np.int32]) -> TokenBlock:
    n = len(shard.labels)
    return TokenBlock(
        sources=np.full(n, row, np.int32),
        keys=np.full(n, key),
        cells=shard.labels,
        labels=labels,
        indptr=shard.indptr,
        concept_ids=shard.concept_ids,
        values=shard.values,
    )


def _incomplete(path: Path, wanted: int, found: int) -> AtlasError:
    return AtlasError(
        f"{path} should hold {wanted:,} cells here, but only {found:,} are there. Analyse the same "
        "image again: it computes what is missing."
    )


def _count_elsewhere(
    sources: list[RunSource],
    labels: Labels,
    collector: Collector,
    workers: int,
    cancelled: Callable[[], bool],
) -> Iterator[Counted]:
    """Let processes count slices, group by group of whole runs."""
    empty = collector.accumulator.empty_copy()
    # Forking a process that has threads, as a viewer has, may hang it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for group in _groups(sources, workers * _SLICES_PER_WORKER * _SLICE_CELLS):
                tasks = _tasks(group, labels, collector)
                running: set[Future[Accumulator]] = set()
                while True:
                    while len(running) <= workers and (task := next(tasks, None)) is not None:
                        running.add(pool.submit(_count_slices, task, empty))
                    if not running:
                        break
                    done, running = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
                    if cancelled():
                        raise Cancelled("Stopped.")
                    for future in done:
                        counted = future.result()
                        collector.add(counted)
                        yield Counted(counted.n_images, complete=False)
                yield Counted(0, complete=True)
        except BrokenExecutor as error:
            raise AtlasError(
                "A process that counted cells was ended from outside, perhaps for want of memory. "
                "Build again with fewer workers; what was saved is gone on with."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _groups(sources: list[RunSource], n_cells: int) -> Iterator[list[RunSource]]:
    group: list[RunSource] = []
    for source in sources:
        group.append(source)
        if sum(len(member.run) for member in group) >= n_cells:
            yield group
            group = []
    if group:
        yield group


def _tasks(group: list[RunSource], labels: Labels, collector: Collector) -> Iterator[list[_Slice]]:
    """Cut runs into slices, and put slices together to tasks of some seconds."""
    task: list[_Slice] = []
    n_cells = 0
    for source in group:
        row, classes = _begin(source, labels, collector)
        manifest = source.run.manifest
        step = max(1, _SLICE_CELLS // manifest.shard_cells)
        for first in range(0, manifest.n_shards, step):
            last = min(first + step, manifest.n_shards)
            cells = slice(first * manifest.shard_cells, last * manifest.shard_cells)
            part = classes[cells]
            task.append(
                _Slice(source.run.path, row, source_key(source.identity), first, last, part)
            )
            n_cells += len(part)
            if n_cells >= _SLICE_CELLS:
                yield task
                task, n_cells = [], 0
    if task:
        yield task


def _count_slices(task: list[_Slice], accumulator: Accumulator) -> Accumulator:
    """Count slices; runs in a process of its own."""
    for part in task:
        run = Run(part.path)
        done = 0
        for shard in run.shards(part.first, part.last):
            labels = part.labels[done : done + len(shard.labels)]
            accumulator.add(_block(shard, part.row, part.key, labels))
            done += len(shard.labels)
        if done != len(part.labels):
            raise _incomplete(run.path, len(part.labels), done)
    accumulator.best.settle()
    return accumulator
