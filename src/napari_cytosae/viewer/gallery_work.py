"""What fills a gallery, in a worker thread: a concept's best cells, here and in the atlas."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cytosae.concepts.atlas import ReferenceMaps, ReferencePicture, ReferencePictures
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.viewer.results import Results

THIS_SLIDE = ""
"""Name of the section of the slide on show."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section begins: which data set, how many tiles will come, and what is said of it.

    `n_more` counts the cells that have the concept and for which nobody has asked yet.
    """

    data_set: str
    title: str
    n_tiles: int
    n_more: int = 0


@dataclass(frozen=True, slots=True)
class GalleryRequest:
    """Whose best cells, and how many of the slide on show and of each data set."""

    concept_id: int
    k_slide: int
    k: int
    atlas: Atlas | None
    results: Results | None
    maps: ReferenceMaps | None = None  # computes masks of cells whose activations were not kept


def fill_gallery(
    request: GalleryRequest, cancelled: Callable[[], bool]
) -> Generator[Section | ReferencePicture, None, None]:
    """Yield each section and its pictures, the slide on show first."""
    if request.results is not None and request.results.run is not None:
        yield from _of_slide(request, request.results, cancelled)
    if request.atlas is None:
        return
    if request.maps is not None:
        keep_triton_out()
    with ReferencePictures() as pictures:
        for data in request.atlas.data_sets:
            found = data.top(request.concept_id, request.k)
            labels = found["label"][found["label"] != ""].value_counts()
            title = data.name
            if len(labels):
                title += f" · {labels.index[0]} {labels.iloc[0]}/{len(found)}"
            n_more = len(data.top(request.concept_id)) - len(found)
            yield Section(data.name, title, len(found), n_more)
            for picture in pictures.of(data, request.concept_id, request.k):
                if cancelled():
                    return
                yield picture if request.maps is None else request.maps.add_to(data, picture)


def _of_slide(
    request: GalleryRequest, results: Results, cancelled: Callable[[], bool]
) -> Iterator[Section | ReferencePicture]:
    assert results.run is not None
    strengths = results.strengths(request.concept_id)
    labels = np.array(list(strengths), np.int64)
    values = np.array(list(strengths.values()))
    best = np.lexsort((labels, -values))
    best = best[values[best] > 0]
    n_with, best = len(best), best[: request.k_slide]
    title = f"this slide · in {n_with:,} of {len(values):,} cells"
    yield Section(THIS_SLIDE, title, len(best), n_with - len(best))
    for rank, index in enumerate(best):
        if cancelled():
            return
        label = int(labels[index])
        crop, missing = None, ""
        try:
            crop = results.crop(label)
        except (CytoSAEError, OSError) as error:
            missing = str(error)
        yield ReferencePicture(
            data_set=THIS_SLIDE,
            rank=rank,
            concept_id=request.concept_id,
            value=float(values[index]),
            label="",
            cell=label,
            image="",
            run=results.run.path,
            crop=crop,
            concept_map=results.run.concept_map(label, request.concept_id),
            missing=missing,
        )
