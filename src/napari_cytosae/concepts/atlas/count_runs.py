"""Count the cells of stored runs; several threads read ahead and sum up, one counts."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.accumulator import Accumulator, CellIds, source_key
from napari_cytosae.concepts.atlas.collector import Collector
from napari_cytosae.concepts.atlas.evidence_counts import (
    BlockMeasures,
    EvidenceAccumulator,
    read_measures,
)
from napari_cytosae.concepts.atlas.evidence_where import WhereTotals, count_where
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.concepts.atlas.sources import RunSource
from napari_cytosae.concepts.atlas.token_counts import TokenBlock, TokenCounts
from napari_cytosae.concepts.shards import ShardReader
from napari_cytosae.errors import AtlasError, Cancelled

_CELLS_AT_ONCE = 256  # counts of one task are added to the others' in a fraction of its time
_FIRST_CELLS = 128
"""Cells that are counted before others are begun. What the first cells offer to the lists of best
cells is nearly everything; with some cells in the lists, later ones offer little."""
_SHARE_AHEAD = 0.5  # of the cells counted so far, how many may be counted ahead of the lists


_of_thread = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Some shards of a run, and the key of the run.

    Parameters
    ----------
    source
        The run.
    paths
        The shards.
    start
        Number of the first among the run's.
    n_cells
        Cells in them, where none is missing.
    last
        Whether the run ends with them.
    """

    source: RunSource
    paths: list[Path]
    start: int
    n_cells: int
    last: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """Cells that were counted apart: totals of all, and what was found in each shard.

    Parameters
    ----------
    totals
        What `count_tokens` added to.
    where, n_known
        What `count_where` added to, and of how many cells; None without evidence.
    parts
        By shard.
    """

    totals: NDArray[np.int64]
    where: WhereTotals | None
    n_known: int
    parts: list["_Part"]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What was found in one shard: its cells, their counts, and what was measured of them.

    `drawn` says which cells are kept for rank correlations.
    """

    cells: NDArray[np.int64]
    counted: TokenCounts
    measured: BlockMeasures | None
    drawn: NDArray[np.bool_] | None


def count_runs(
    sources: list[RunSource],
    labels: Labels,
    collector: Collector,
    workers: int,
    cancelled: Callable[[], bool],
) -> Iterator[bool]:
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
        Threads that read and sum up.
    cancelled
        Asked between shards.

    Yields
    ------
    bool
        After every shard, whether the collector holds whole runs only, and may be saved.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    AtlasError, RunError
        Where a run cannot be read, or has no such labels.
    """
    accumulator, evidence = collector.accumulator, collector.evidence
    accumulator.expect(sum(len(source.run) for source in sources))
    running: deque[tuple[_Task, Future[_Done]]] = deque()
    waiting = deque(sources)
    ahead = 0
    with ThreadPoolExecutor(workers) as pool:
        tasks = (task for source in sources for task in _tasks(source, accumulator))
        try:
            while waiting:
                source = waiting.popleft()
                row, classes = _begin(source, labels, collector)
                n_counted = 0
                whole = not source.run.shard_paths()
                while not whole:
                    most = max(_FIRST_CELLS, _SHARE_AHEAD * accumulator.n_images)
                    while (
                        len(running) <= 2 * workers
                        and ahead <= most
                        and (task := next(tasks, None)) is not None
                    ):
                        running.append((task, pool.submit(_count, task, accumulator, evidence)))
                        ahead += task.n_cells
                    if cancelled():
                        raise Cancelled("Stopped.")
                    task, future = running.popleft()
                    done = future.result()
                    ahead -= task.n_cells
                    parts = []
                    for part in done.parts:
                        stop = n_counted + len(part.cells)
                        of_part = classes[n_counted:stop]
                        key = source_key(source.identity)
                        ids = CellIds.of_source(row, key, part.cells, of_part)
                        parts.append((part.counted, ids))
                        n_counted = stop
                        if evidence is not None and part.measured is not None:
                            evidence.draw(part.counted, ids, part.measured, part.drawn)
                    accumulator.add(done.totals, parts)
                    if evidence is not None and done.where is not None:
                        evidence.add(done.where, done.n_known)
                    whole = task.last
                    if not whole:
                        yield False
                if n_counted != len(source.run):
                    raise AtlasError(
                        f"{source.run.path} should hold {len(source.run):,} cells, but only "
                        f"{n_counted:,} are there. Analyse the same image again: it computes what "
                        "is missing."
                    )
                yield True
        finally:
            for _, future in running:
                future.cancel()


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


def _tasks(source: RunSource, accumulator: Accumulator) -> Iterator[_Task]:
    """Cut a run into tasks, the first ones of an atlas small."""
    of_shard = source.run.manifest.shard_cells
    paths = source.run.shard_paths()
    starts = source.run.plan.starts
    start = 0
    while start < len(paths):
        at_once = min(_CELLS_AT_ONCE, max(1, int(_SHARE_AHEAD * accumulator.n_images)))
        stop = min(start + max(1, at_once // of_shard), len(paths))
        n_cells = int(starts[stop] - starts[start])
        yield _Task(source, paths[start:stop], start, n_cells, stop == len(paths))
        start = stop


def _count(task: _Task, accumulator: Accumulator, evidence: EvidenceAccumulator | None) -> _Done:
    """Read shards and count their cells, apart from the others; in a thread of its own."""
    if not hasattr(_of_thread, "reader"):
        _of_thread.reader = ShardReader()
    totals = accumulator.no_totals()
    where, n_known = None, 0
    parts = []
    for index, path in enumerate(task.paths, start=task.start):
        shard = _of_thread.reader.read(path)
        cells = shard.labels.copy()
        block = TokenBlock(shard.indptr, shard.concept_ids, shard.values)
        keys = np.full(len(cells), source_key(task.source.identity))
        measured, drawn = None, None
        if evidence is not None:
            measured = read_measures(task.source.run, index, cells)
        if evidence is not None and measured is not None:
            drawn = evidence.wanted(measured, keys, cells)
            where = evidence.no_totals() if where is None else where
            n_known += count_where(block, measured.points, where)
        counted = accumulator.count(block, keys, cells, totals, drawn)
        parts.append(_Part(cells, counted, measured, drawn))
    return _Done(totals, where, n_known, parts)
