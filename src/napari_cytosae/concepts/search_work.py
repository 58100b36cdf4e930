"""The search of a slide and the encoding of what it finds, side by side."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from napari_cytosae.concepts.encode import EncodedBatch
from napari_cytosae.concepts.encode_work import ShardEncoder
from napari_cytosae.concepts.schedule import InView, Schedule, ShardTask
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.concepts.steps import MoreCells, Progress
from napari_cytosae.concepts.tile_records import TileRecord
from napari_cytosae.concepts.tile_search import TileSearch
from napari_cytosae.errors import RunError

# More threads find cells faster where a graphics card encodes them; each holds a tile in memory.
_MOST_THREADS = 4


@dataclass(slots=True)
class _Found:
    """What the search threads have found, until the caller takes it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    records: deque[tuple[TileRecord, int]] = field(default_factory=deque)
    damaged_shards: list[str] = field(default_factory=list)
    error: BaseException | None = None


def search_and_encode(
    search: TileSearch,
    encoder: ShardEncoder,
    cancelled: Callable[[], bool] = lambda: False,
    in_view: InView = lambda: None,
) -> Generator[Progress | MoreCells | EncodedBatch, None, None]:
    """Look a slide through and encode its cells, tile by tile, what is in view first.

    Threads look through tiles, one cuts crops, the caller's runs the model, one writes. What
    waits between them is bounded.

    Yields
    ------
    Progress, MoreCells or EncodedBatch
        `MoreCells` once for each tile, also for those that were looked through before.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    CytoSAEError
        Whatever went wrong in any of the threads.
    """
    tiles = search.tiles()
    schedule = Schedule(tiles, in_view)
    found = _Found()
    threads = [
        threading.Thread(
            target=_look_through, args=(search, schedule, found), name="cytosae-search", daemon=True
        )
        for _ in range(max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2, len(tiles))))
    ]
    with ExitStack() as stack:
        stack.callback(_join, threads)
        stack.callback(schedule.close)
        for thread in threads:
            thread.start()
        encoded = encoder.encode(schedule, cancelled)
        stack.callback(encoded.close)
        n_tiles_done = n_found = n_done = 0
        for step in encoded:
            while found.records:
                record, n_before = found.records.popleft()
                n_tiles_done += 1
                n_found += len(record.table)
                n_done += n_before
                yield MoreCells(record.table)
            if isinstance(step, EncodedBatch):
                n_done += len(step)
                yield step
            left = len(tiles) - n_tiles_done
            expected = n_found + round(n_found / max(n_tiles_done, 1) * left)
            yield Progress(
                "encode" if n_found else "detect",
                n_done if n_found else n_tiles_done,
                expected if n_found else len(tiles),
                _damage_note(found),
                approximate=left > 0,
            )
        if found.error is not None:
            raise found.error
        _join(threads)
        while found.records:  # the last tiles, where they have no cells
            yield MoreCells(found.records.popleft()[0].table)


def _look_through(search: TileSearch, schedule: Schedule, found: _Found) -> None:
    try:
        while (tile := schedule.next_tile()) is not None:
            record = search.look_through(tile)
            missing, n_before = _missing(search.shards_of(record), found)
            found.records.append((record, n_before))
            schedule.tile_done(missing)
    except BaseException as error:  # handed over, whatever it is, and raised by the caller
        found.error = error
        schedule.close()


def _missing(tasks: list[ShardTask], found: _Found) -> tuple[list[ShardTask], int]:
    """Leave out the shards that are written already; count their cells."""
    missing, n_before = [], 0
    for task in tasks:
        intact = True
        if task.path.exists():
            intact = is_intact(task)
            if intact:
                n_before += len(task.table)
                continue
            task.path.unlink()
            with found.lock:
                found.damaged_shards.append(task.path.name)
        missing.append(task)
    return missing, n_before


def is_intact(task: ShardTask) -> bool:
    """Tell whether a shard on the disk is whole, and holds the cells that it should."""
    try:
        labels = Shard.read(task.path).labels
    except RunError:
        return False
    return bool(np.array_equal(labels, task.table["label"].to_numpy()))


def _damage_note(found: _Found) -> str:
    with found.lock:
        names, found.damaged_shards = found.damaged_shards, []
    return f"{', '.join(names)} had been damaged and is computed anew." if names else ""


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        if thread.is_alive():
            thread.join()
