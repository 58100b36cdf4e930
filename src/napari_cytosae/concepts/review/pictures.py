"""What a reviewer sees of a concept: cells and where it is active in them, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.atlas import Atlas
from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.atlas.reference_maps import ReferenceMaps
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture, ReferencePictures
from napari_cytosae.concepts.manifest import MANIFEST_NAME
from napari_cytosae.errors import AtlasError


@dataclass(frozen=True, slots=True, eq=False)
class BlindPicture:
    """One cell, without label, value, data set, cell number or file name.

    Parameters
    ----------
    crop
        (S, S, 3) uint8.
    concept_map
        (16, 16) float32 activations by patch; None where they are not known.
    """

    crop: NDArray[np.uint8]
    concept_map: NDArray[np.float32] | None


def blind_pictures(
    atlas: Atlas,
    concept_id: int,
    k: int,
    pictures: ReferencePictures,
    maps: ReferenceMaps | None = None,
) -> Iterator[BlindPicture]:
    """Yield the cells that show a concept best, as far as their images are at hand.

    Data sets are mixed, in an order drawn by the concept's number, so that not even the camera says
    which is which, and everybody sees the same.

    Parameters
    ----------
    atlas
        The atlas.
    concept_id
        The concept.
    k
        References of each data set.
    pictures
        What cuts them out.
    maps
        What says where the concept is in cells whose activations were not kept; None leaves it open.

    Yields
    ------
    BlindPicture
    """
    found: list[tuple[DataSet, ReferencePicture]] = [
        (data, picture) for data in atlas for picture in pictures.of(data, concept_id, k)
    ]
    for index in np.random.default_rng(concept_id).permutation(len(found)):
        data, picture = found[index]
        if maps is not None:
            picture = maps.add_to(data, picture)
        if picture.crop is not None:
            yield BlindPicture(picture.crop, picture.concept_map)


def with_pictures(atlas: Atlas, k: int) -> NDArray[np.bool_]:
    """Tell of which concepts at least one reference's image is at hand.

    Files are looked for, not read.

    Parameters
    ----------
    atlas
        The atlas.
    k
        References of each data set that count.

    Returns
    -------
    (d_sae,) mask.
    """
    mask = np.zeros(atlas.d_sae, bool)
    for data in atlas:
        filled = data.references.filled[:, :k]
        if data.info.kind == "published":
            mask |= filled.any(axis=1) & _linked(data)
        else:
            # One more at the end, for references that are of no source (-1).
            there = np.array([*_sources_at_hand(data), False])
            mask |= (filled & there[data.references.sources[:, :k]]).any(axis=1)
    return mask


def _linked(data: DataSet) -> bool:
    try:
        return bool(data.published_images)
    except AtlasError:  # the folder is no longer what it was
        return False


def _sources_at_hand(data: DataSet) -> Iterator[bool]:
    sources = data.sources
    runs = data.info.kind == "runs"
    for path, image in zip(sources.paths, sources.images, strict=True):
        yield Path(image).exists() and (not runs or (Path(path) / MANIFEST_NAME).is_file())
