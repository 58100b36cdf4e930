"""Write shards in a thread of its own: the disk is waited for while the model works."""

import threading
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Self

from napari_cytosae.concepts.cell import CellActivations
from napari_cytosae.concepts.shards import Shard

# Shards that may wait: memory stays bounded where the disk is slower than the model.
_DEPTH = 2


class ShardWriter:
    """A thread that writes shards one after another, for as long as the context lasts.

    Whatever was given to it is on the disk when the context ends, unless writing failed.

    Parameters
    ----------
    d_sae
        Number of concepts of the SAE.
    """

    def __init__(self, d_sae: int) -> None:
        self._d_sae = d_sae
        self._queue: Queue[tuple[Path, list[CellActivations], int] | None] = Queue(_DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="cytosae-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self.check()

    def put(self, path: Path, cells: list[CellActivations], shards_left: int) -> None:
        """Give a shard to be written.

        Parameters
        ----------
        path
            Its file.
        cells
            Its cells.
        shards_left
            This shard and those still to come, for the message where the disk is full.

        Raises
        ------
        RunError
            Where an earlier one could not be written.
        """
        self.check()
        self._queue.put((path, cells, shards_left))

    def check(self) -> None:
        """Raise what went wrong in the thread."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            if self._error is not None:
                continue  # what is still in the queue goes; the giver hears of it
            path, cells, shards_left = entry
            try:
                Shard.from_cells(cells, self._d_sae).write(path, shards_left=shards_left)
            except BaseException as error:  # handed over, whatever it is
                self._error = error
