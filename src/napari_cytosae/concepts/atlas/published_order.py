"""Which image of the original folder a published index means.

Upstream lists an image folder (classes sorted by code point, files sorted within them), then
shuffles it with seed 1, which is ``numpy.random.default_rng(1).permutation(n)``: image i of the
published numbers is image ``permutation[i]`` of the sorted list. So images of one class are
neighbours in the sorted list, and the references' labels give the classes' sizes away.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.references import References
from napari_cytosae.errors import AtlasError

SEED = 1
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What upstream's loader takes for an image."""


def sorted_places(indices: NDArray[np.integer], n_images: int) -> NDArray[np.int64]:
    """Give each published index its place in the sorted list of images."""
    order = np.random.default_rng(SEED).permutation(n_images)
    return np.asarray(order[indices], np.int64)


def predicted_labels(indices: NDArray[np.integer], class_sizes: Sequence[int]) -> NDArray[np.int64]:
    """Give the class of each published index, from the classes' sizes alone.

    Parameters
    ----------
    indices
        Published indices.
    class_sizes
        Number of images of each class, in the order of the labels.
    """
    places = sorted_places(indices, sum(class_sizes))
    return np.asarray(np.searchsorted(np.cumsum(class_sizes), places, side="right"), np.int64)


def class_sizes_from_references(
    references: References, n_images: int, n_classes: int
) -> tuple[int, ...]:
    """Read the classes' sizes off the references.

    Sorted by place, references of one class form one block; it ends somewhere between its last
    reference and the next block's first, and half-way is taken. On mll23, whose true sizes are
    known, no size is wrong by more than 2 of 41,621 images.

    Returns
    -------
    tuple of int
        Empty where a class forms more than one block, so that the order must have been another.
    """
    filled = references.filled & (references.labels >= 0)
    if not filled.any():
        return ()
    places, first = np.unique(sorted_places(references.cells[filled], n_images), return_index=True)
    labels = references.labels[filled][first]
    ends = np.flatnonzero(np.diff(labels) != 0)
    blocks = labels[np.append(ends, len(labels) - 1)]
    if len(np.unique(blocks)) != len(blocks):
        return ()
    borders = (places[ends] + places[ends + 1] + 1) // 2
    sizes = np.zeros(n_classes, np.int64)
    sizes[blocks] = np.diff(np.concatenate([[0], borders, [n_images]]))
    return tuple(int(size) for size in sizes)


def list_image_folder(folder: str | Path) -> list[Path]:
    """List a folder's images as upstream does: folders and files sorted by code point.

    Raises
    ------
    AtlasError
        Where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AtlasError(f"{folder} is no folder.")
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES]
    return sorted(files, key=lambda file: file.relative_to(folder).parts)


def resolve_images(
    folder: str | Path, references: References, classes: Sequence[str], n_images: int
) -> list[Path]:
    """Find the file of every published index, and make sure that the folder is the right one.

    Parameters
    ----------
    folder
        The original data set: one folder of images for each class.
    references
        Whose labels must be those of the folders.
    classes
        The published set's classes.
    n_images
        Number of images of the published set.

    Returns
    -------
    list of Path
        One for each published index.

    Raises
    ------
    AtlasError
        Where the folder is another data set, or was changed.
    """
    files = list_image_folder(folder)
    if len(files) != n_images:
        raise AtlasError(
            f"{folder} holds {len(files):,} images, but the published numbers were made from "
            f"{n_images:,}. Choose the original folder with one folder for each class, unchanged."
        )
    order = np.random.default_rng(SEED).permutation(n_images)
    shuffled = [files[place] for place in order]
    filled = references.filled & (references.labels >= 0)
    indices, first = np.unique(references.cells[filled], return_index=True)
    for index, label in zip(indices, references.labels[filled][first], strict=True):
        file = shuffled[index]
        if classes[label] not in file.relative_to(folder).parts[:-1]:
            raise AtlasError(
                f"{folder} is not the data set of these published numbers: image {index} should "
                f"be of class {classes[label]}, but it is {file.relative_to(folder)}."
            )
    return shuffled
