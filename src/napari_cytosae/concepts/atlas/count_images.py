"""Encode images whole, as data sets of single-cell images are, and count them; no run is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_cytosae.cells import CropBatch, CropGeometry, iter_crops, whole_image
from napari_cytosae.concepts.atlas.accumulator import CellIds, source_key
from napari_cytosae.concepts.atlas.collector import Collector
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.concepts.atlas.sources import identity_of_image
from napari_cytosae.concepts.atlas.token_counts import TokenBlock
from napari_cytosae.concepts.encode import EncodeOptions, encode_crops
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.errors import ImageError
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide

_ONE = np.ones(1, np.int64)  # the label of the only cell of an image that is taken whole


@dataclass(frozen=True, slots=True)
class Skipped:
    """Images that were passed over, and why."""

    known: list[str]
    unreadable: list[str]


def count_images(
    images: Sequence[Path],
    labels: Labels,
    collector: Collector,
    bundle: Bundle,
    options: EncodeOptions,
    skipped: Skipped,
    cancelled: Callable[[], bool],
) -> Iterator[int]:
    """Encode images, each as one crop, and count them.

    Activations are rounded to half precision, as those of a run that analyses the image with
    ``cells="whole"`` are.

    Parameters
    ----------
    images
        Files. Those whose content the collector knows are passed over.
    labels
        Their classes.
    collector
        Where they are counted; whole images only, so it may be saved at any time.
    bundle, options
        The model, and how it runs.
    skipped
        Takes the paths of images that were passed over.
    cancelled
        Asked between batches.

    Yields
    ------
    int
        Images that are done with since the last time.
    """
    identities: dict[int, str] = {}
    waiting = set[str]()

    def batches() -> Iterator[CropBatch]:
        crops: list[CropBatch] = []
        for number, path in enumerate(images):
            try:
                with Slide.open(path) as slide:
                    identity = identity_of_image(slide.digest, slide.microns_per_pixel)
                    if identity in collector or identity in waiting:
                        skipped.known.append(str(path))
                        continue
                    table = whole_image(slide.shape).table.assign(label=number)
                    crops.extend(iter_crops(slide, table, CropGeometry(whole=True)))
            except ImageError:
                skipped.unreadable.append(str(path))
                continue
            waiting.add(identity)
            identities[number] = identity
            if len(crops) >= options.batch_cells:
                yield _joined(crops)
                crops = []
        if crops:
            yield _joined(crops)

    accumulator = collector.accumulator
    done = 0
    with closing(encode_crops(batches(), bundle, options, cancelled)) as encoded:
        for batch in encoded:
            for cell in batch.cells():
                path = images[cell.label]
                name = str(path.resolve())
                identity = identities.pop(cell.label)
                shard = Shard.from_cells([cell], bundle.d_sae)
                words = labels.of_cells(path, name, _ONE, None)
                row = collector.add_source(identity, name, name, 1)
                classes = collector.classes_of(words)
                block = TokenBlock(shard.indptr, shard.concept_ids, shard.values)
                ids = CellIds.of_source(row, source_key(identity), _ONE, classes)
                totals = accumulator.no_totals()
                accumulator.add(
                    totals, [(accumulator.count(block, ids.keys, ids.cells, totals), ids)]
                )
            last = int(batch.labels[-1]) + 1
            yield last - done
            done = last
    yield len(images) - done


def _joined(crops: list[CropBatch]) -> CropBatch:
    return CropBatch(
        np.concatenate([crop.labels for crop in crops]),
        np.concatenate([crop.boxes for crop in crops]),
        [pixels for crop in crops for pixels in crop.pixels],
    )
