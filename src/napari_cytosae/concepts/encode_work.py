"""Shards of a run from their cells: crops cut, encoded and written side by side."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from napari_cytosae.cells import CropBatch, CropGeometry, iter_crops
from napari_cytosae.cells.crops import RegionSource
from napari_cytosae.concepts.cell import CellActivations
from napari_cytosae.concepts.encode import EncodedBatch, EncodeOptions, encode_crops
from napari_cytosae.concepts.schedule import Schedule, ShardTask
from napari_cytosae.concepts.shard_writer import ShardWriter
from napari_cytosae.errors import Cancelled
from napari_cytosae.models import Bundle

# While nothing can be encoded yet, whoever waits hears so this often.
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is there to be encoded yet."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardEncoder:
    """What encoding the shards of one run needs.

    Parameters
    ----------
    slide
        What crops are cut from.
    bundle, options
        The model, and how it runs.
    geometry, microns_per_pixel
        How crops are cut.
    """

    slide: RegionSource
    bundle: Bundle
    options: EncodeOptions
    geometry: CropGeometry
    microns_per_pixel: float | None

    def encode(
        self, schedule: Schedule, cancelled: Callable[[], bool] = lambda: False
    ) -> Generator[EncodedBatch | Waiting, None, None]:
        """Encode what a schedule hands out, until it has nothing more.

        One thread cuts and resizes crops, the caller's runs the model, and one writes. Closing the
        generator closes the schedule; shards that are complete are written before it ends.

        Yields
        ------
        EncodedBatch or Waiting
            `Waiting` now and then while the schedule has no shard yet.

        Raises
        ------
        Cancelled
            When `cancelled` says so.
        RunError
            Where a shard cannot be written.
        """
        in_work: deque[ShardTask] = deque()

        def batches() -> Iterator[CropBatch]:
            # Batches are cut shard by shard, so that a resumed run forms the very same ones.
            while (task := schedule.next_shard()) is not None:
                in_work.append(task)
                yield from iter_crops(
                    self.slide,
                    task.table,
                    self.geometry,
                    batch_cells=self.options.batch_cells,
                    microns_per_pixel=self.microns_per_pixel,
                )

        waiting: list[CellActivations] = []
        with ExitStack() as stack:
            writer = stack.enter_context(ShardWriter(self.bundle.d_sae))
            encoded = encode_crops(batches(), self.bundle, self.options, cancelled)
            stack.callback(encoded.close)
            # Runs before the others: the thread that cuts crops may be waiting for a shard.
            stack.callback(schedule.close)
            while True:
                while not in_work and not schedule.wait_for_work(_WAIT_S):
                    if cancelled():
                        raise Cancelled("The analysis was cancelled.")
                    yield Waiting()
                batch = next(encoded, None)
                if batch is None:
                    break
                waiting.extend(batch.cells())
                if len(waiting) == len(in_work[0].table):
                    writer.put(in_work.popleft().path, waiting, 1 + schedule.shards_left)
                    waiting = []
                yield batch
                writer.check()
