import threading
import time

import pytest

from napari_cytosae.concepts.prefetch import prefetch


def _workers():
    return [thread for thread in threading.enumerate() if thread.name == "cytosae-prefetch"]


def test_items_come_prepared_and_in_order():
    assert list(prefetch(range(50), lambda x: x * x)) == [x * x for x in range(50)]


def test_no_more_than_depth_items_wait():
    prepared = []
    stream = prefetch(range(100), lambda x: prepared.append(x) or x, depth=2)
    next(stream)
    time.sleep(0.2)
    # one handed over, two in the queue, one in the thread's hands
    assert len(prepared) <= 4
    stream.close()


@pytest.mark.parametrize("fails", ["source", "prepare"])
def test_a_failure_comes_out_at_its_own_item(fails):
    def source():
        yield from range(3)
        if fails == "source":
            raise OSError("the slide went away")
        yield 3

    def prepare(item):
        if item == 3:
            raise OSError("the slide went away")
        return item

    seen = []
    with pytest.raises(OSError, match="went away"):
        seen.extend(prefetch(source(), prepare))
    stream = prefetch(source(), prepare)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="went away"):
        next(stream)
    assert not _workers()


def test_closing_in_the_middle_ends_the_thread():
    stream = prefetch(iter(int, 1), lambda x: x + 1)  # without end
    next(stream)
    assert _workers()
    stream.close()
    assert not _workers()
