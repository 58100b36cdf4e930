"""What is to be done next: tiles to look through, shards to encode, what is looked at first."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from napari_cytosae.cells.grid import Box

# How many cells may wait to be encoded before the search for more makes a pause: enough that the
# model never waits, few enough that a processor is not busy with what is not needed yet.
MOST_WAITING_CELLS = 4096
# A waiting side looks this often whether the work was ended from outside.
_LOOK_AGAIN_S = 0.1

InView = Callable[[], Box | None]
"""Tells the box of level 0 that is looked at; asked whenever something new is begun."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardTask:
    """A shard that is to be encoded.

    Parameters
    ----------
    path
        Its file.
    table
        Its rows of the table of cells.
    place
        Box of the cells, in level-0 px.
    """

    path: Path
    table: pd.DataFrame
    place: Box


@dataclass(frozen=True, slots=True)
class TileTask:
    """A tile that is to be looked through for cells."""

    number: int
    place: Box


Task = TypeVar("Task", ShardTask, TileTask)


class Schedule:
    """Hands out tiles and shards to the threads that ask, those in view first.

    In which order they are handed out changes nothing of the result.

    Parameters
    ----------
    tiles
        Tiles that are still to be looked through; none where all cells are known.
    in_view
        Tells what is looked at.
    """

    def __init__(self, tiles: Iterable[TileTask] = (), in_view: InView = lambda: None) -> None:
        self._changed = threading.Condition()
        self._tiles = {task.number: task for task in tiles}
        self._at_work = 0
        self._shards: dict[str, ShardTask] = {}
        self._waiting_cells = 0
        self._in_view = in_view
        self._closed = False

    # -- tiles -----------------------------------------------------------------------------------

    def next_tile(self) -> TileTask | None:
        """Wait for a tile to look through; None where there is none left."""
        with self._changed:
            while self._tiles and not self._closed:
                task = _first(self._tiles.values(), view := self._in_view())
                seen = view is not None and _meets(task.place, view)
                # What is looked at is found at once, however much waits.
                if self._waiting_cells < MOST_WAITING_CELLS or seen:
                    del self._tiles[task.number]
                    self._at_work += 1
                    return task
                self._changed.wait(_LOOK_AGAIN_S)
            return None

    def tile_done(self, shards: Iterable[ShardTask]) -> None:
        """Take the shards of a tile that was handed out."""
        with self._changed:
            self._at_work -= 1
        self.add(shards)

    @property
    def tiles_left(self) -> int:
        """Tiles that have not been looked through to the end."""
        with self._changed:
            return len(self._tiles) + self._at_work

    # -- shards ----------------------------------------------------------------------------------

    def add(self, shards: Iterable[ShardTask]) -> None:
        """Add shards that are to be encoded."""
        with self._changed:
            for task in shards:
                self._shards[task.path.name] = task
                self._waiting_cells += len(task.table)
            self._changed.notify_all()

    def next_shard(self) -> ShardTask | None:
        """Wait for a shard to encode; None where none will come any more."""
        with self._changed:
            while not self._closed:
                if self._shards:
                    task = _first(self._shards.values(), self._in_view())
                    del self._shards[task.path.name]
                    self._waiting_cells -= len(task.table)
                    self._changed.notify_all()
                    return task
                if not self._tiles and not self._at_work:
                    return None
                self._changed.wait(_LOOK_AGAIN_S)
            return None

    @property
    def shards_left(self) -> int:
        """Shards that wait."""
        with self._changed:
            return len(self._shards)

    def wait_for_work(self, seconds: float) -> bool:
        """Wait until there is a shard, or until none will come; False where it takes longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self._shards or self._closed or not (self._tiles or self._at_work)),
                seconds,
            )

    def close(self) -> None:
        """Hand out nothing more: whoever waits gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _first(tasks: Iterable[Task], view: Box | None) -> Task:
    """Choose what lies in view, the nearest to its middle first; else what comes first."""
    tasks = list(tasks)
    if view is None:
        return tasks[0]
    seen = [task for task in tasks if _meets(task.place, view)]
    if not seen:
        return tasks[0]
    middle = (view[0] + view[2]) / 2, (view[1] + view[3]) / 2
    return min(seen, key=lambda task: _distance(task.place, middle))


def _meets(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _distance(box: Box, point: tuple[float, float]) -> float:
    return ((box[0] + box[2]) / 2 - point[0]) ** 2 + ((box[1] + box[3]) / 2 - point[1]) ** 2
