"""Prepare the next items of an iterable in one background thread."""

import threading
from collections.abc import Callable, Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

Source = TypeVar("Source")
Prepared = TypeVar("Prepared")

# How long a waiting side sleeps before it looks whether the other side has gone. Nothing waits that
# long in normal work: queue operations wake at once.
_LOOK_AGAIN_S = 0.05


def prefetch(
    items: Iterable[Source], prepare: Callable[[Source], Prepared], depth: int = 2
) -> Generator[Prepared, None, None]:
    """Yield ``prepare(item)`` for every item, in order, prepared ahead by one thread.

    Reading a slide and resizing crops then overlap with the model. At most `depth` prepared items
    wait, so memory stays bounded. The thread ends when the items end, when it fails, or when the
    consumer closes the generator (a cancelled or abandoned job leaves no thread behind).

    Parameters
    ----------
    items
        Consumed in the background thread only.
    prepare
        Called in the background thread on each item.
    depth
        Number of prepared items that may wait.

    Raises
    ------
    Exception
        Whatever `items` or `prepare` raised, re-raised in the consumer at the item's turn.
    """
    queue: Queue[tuple[Prepared | None, BaseException | None]] = Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: tuple[Prepared | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                queue.put(entry, timeout=_LOOK_AGAIN_S)
            except Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put((prepare(item), None))
        except BaseException as error:  # handed over, whatever it is, and raised in the consumer
            put((None, error))
        else:
            put((None, None))

    thread = threading.Thread(target=produce, name="cytosae-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            prepared, error = queue.get()
            if error is not None:
                raise error
            if prepared is None:
                return
            yield prepared
    finally:
        stopped.set()
        thread.join()
