"""Upstream's feature-data folders: the published statistics of the real CytoSAE, as plain tensors.

A folder holds, for every concept, its ten best images (index, score, label), the share of images
where it is active, and its mean activation there. The tensors were saved on a GPU; they are read
here without one, and without running anything that a file may hold.
"""

import csv
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae import __version__
from napari_cytosae.concepts.atlas.class_terms import known_tissue
from napari_cytosae.concepts.atlas.data_set import Counts, DataSet, DataSetInfo, Tissue
from napari_cytosae.concepts.atlas.measures import NO_LABEL, label_entropy
from napari_cytosae.concepts.atlas.published_order import class_sizes_from_references
from napari_cytosae.concepts.atlas.references import NO_PATCH, NO_SOURCE, References
from napari_cytosae.errors import AtlasError

_FILES = {
    "indices": "max_activating_image_indices.pt",
    "labels": "max_activating_image_label_indices.pt",
    "values": "max_activating_image_values.pt",
    "sparsity": "sae_sparsity.pt",
    "means": "sae_mean_acts.pt",
}
_ENTROPY = "top_entropy.pt"
_LARGEST_EXACT_INDEX = 1 << 24
"""Indices are float32, which knows no odd numbers beyond."""
_SAME_ENTROPY = 1e-5
_PUBLISHED_SIZES = frozenset({41_621, 17_092, 171_373, 81_214})
"""Images of mll23, acevedo, bmc and hehr, by which the sets of the published SAE are known."""
STAND_IN_DIGEST = hashlib.sha256(b"the published CytoSAE of 49,152 concepts").hexdigest()
"""What the published sets' concepts are named under while the SAE itself is not at hand."""


def is_published(folder: Path) -> bool:
    """Tell whether a folder looks like upstream's feature data."""
    return any((folder / name).is_file() for name in _FILES.values())


def read_published(
    folder: str | Path,
    *,
    name: str | None = None,
    n_images: int | None = None,
    tissue: Tissue | None = None,
    sae_digest: str | None = None,
) -> DataSet:
    """Read one feature-data folder.

    Beside the tensors, ``classnames.txt`` (one class a line, in the order of the labels) and
    ``class_counts.csv`` (class, number of images) are used where they are there.

    Parameters
    ----------
    folder
        The folder.
    name
        What the data set is called; the folder's name without it.
    n_images
        Number of images that were counted; found from the shares without it, as shares are whole
        numbers of images over it.
    tissue
        ``"blood"`` or ``"bone marrow"``; known for the four published sets.
    sae_digest
        Digest of the SAE, where it is at hand; without it the four published sets have one and the
        same stand-in.

    Raises
    ------
    AtlasError
        Where files are missing or do not fit together.
    CheckpointError
        Where a file is damaged, or would run code.
    """
    folder = Path(folder)
    tensors = {key: _read(folder, file) for key, file in _FILES.items()}
    d_sae, k = _check_shapes(folder, tensors)
    filled = tensors["values"] > 0
    indices, labels = _whole(folder, tensors["indices"]), _whole(folder, tensors["labels"])
    least = int(indices[filled].max(initial=-1)) + 1
    sparsity = tensors["sparsity"].astype(np.float64)
    if n_images is None:
        n_images = count_images(sparsity, least)
        if n_images is None:
            raise AtlasError(
                f"{folder} does not tell how many images it was made from; give the number "
                "(n_images)."
            )
    if n_images < least:
        raise AtlasError(
            f"{folder} refers to image {least - 1}, so it was made from more than {n_images} images."
        )
    images = np.rint(sparsity * n_images).astype(np.int64)
    # Upstream divides 0 by 0 where a concept is never active.
    means = np.where(images > 0, tensors["means"], 0.0).astype(np.float64)
    if not np.isfinite(means).all():
        raise AtlasError(f"{folder / _FILES['means']} has means that are no numbers.")
    references = References(
        np.where(filled, tensors["values"], 0.0).astype(np.float64),
        np.full(filled.shape, NO_SOURCE, np.int32),
        np.where(filled, indices, -1),
        np.full(filled.shape, NO_PATCH, np.int16),
        np.where(filled, labels, NO_LABEL).astype(np.int32),
    )
    classes = _class_names(folder, int(labels[filled].max(initial=-1)) + 1)
    name = name or folder.resolve().name
    notes = _notes(folder, references, n_images)
    sizes, sizes_from = _given_sizes(folder, classes, n_images), "given"
    if not sizes:
        sizes = class_sizes_from_references(references, n_images, len(classes))
        sizes_from = "references" if sizes else ""
    if sae_digest is None and d_sae == 49_152 and n_images in _PUBLISHED_SIZES:
        sae_digest = STAND_IN_DIGEST
    info = DataSetInfo(
        name=name,
        kind="published",
        d_sae=d_sae,
        k=k,
        n_images=n_images,
        classes=classes,
        class_sizes=sizes,
        class_sizes_from=sizes_from,  # type: ignore[arg-type]
        tissue=known_tissue(name) if tissue is None else tissue,
        bundle_name="published CytoSAE",
        sae_digest=sae_digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software_version=__version__,
        notes=notes,
    )
    return DataSet.of(info, Counts(images, means * images), references)


def count_images(sparsity: NDArray[np.float64], least: int, most: int = 20_000_000) -> int | None:
    """Find how many images shares were taken of: every share is a whole number over it.

    Parameters
    ----------
    sparsity
        (d_sae,) shares of images, rounded to float32.
    least
        Smallest number that is possible: the largest index that is referred to, plus 1.
    most
        Where to give up.

    Returns
    -------
    int or None
        The smallest number that makes all shares whole numbers of images; None where none does.
    """
    # Small shares are exact enough: float32 rounds a share by 2⁻²⁴ of itself.
    shares = np.unique(sparsity[(sparsity > 0) & (sparsity < 0.05)])[:64]
    if not len(shares):
        return max(least, 1) if sparsity.size and set(np.unique(sparsity)) <= {0.0, 1.0} else None
    for start in range(max(least, 1), most, 4096):
        numbers = np.arange(start, start + 4096, dtype=np.float64)
        counts = shares[:, None] * numbers
        wrong = np.abs(counts - np.rint(counts)) > 1e-4 + counts * 2.0**-23
        fits = np.flatnonzero(~wrong.any(axis=0) & (np.rint(counts) > 0).all(axis=0))
        if len(fits):
            return start + int(fits[0])
    return None


def _read(folder: Path, file: str) -> NDArray[Any]:
    from napari_cytosae.models.checkpoints import read_array  # reading an atlas needs no torch

    path = folder / file
    if not path.is_file():
        raise AtlasError(
            f"{folder} is no feature-data folder of CytoSAE: it lacks {file}. It should hold "
            f"{', '.join(_FILES.values())}."
        )
    return read_array(path)


def _check_shapes(folder: Path, tensors: dict[str, NDArray[Any]]) -> tuple[int, int]:
    d_sae = tensors["sparsity"].size
    shape = tensors["values"].shape
    if len(shape) != 2 or 0 in shape or shape[0] != d_sae:
        raise AtlasError(
            f"{folder}: the references have the shape {shape} and {d_sae} concepts have a share of "
            "images; there should be one row of references for each."
        )
    for key, wanted in {
        "indices": shape, "labels": shape, "sparsity": (d_sae,), "means": (d_sae,)
    }.items():  # fmt: skip
        if tensors[key].shape != wanted:
            raise AtlasError(
                f"{folder / _FILES[key]} has the shape {tensors[key].shape}, not {wanted}: it is "
                "of another set."
            )
    values, sparsity = tensors["values"], tensors["sparsity"]
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise AtlasError(f"{folder / _FILES['values']} has scores below 0 or that are no numbers.")
    if not ((sparsity >= 0) & (sparsity <= 1)).all():
        raise AtlasError(f"{folder / _FILES['sparsity']} has shares outside 0 to 1.")
    return d_sae, shape[1]


def _whole(folder: Path, numbers: NDArray[Any]) -> NDArray[np.int64]:
    finite = np.isfinite(numbers).all()
    if not finite or (numbers < 0).any() or (numbers != np.floor(numbers)).any():
        raise AtlasError(f"{folder} refers to images or labels that are no whole numbers.")
    return numbers.astype(np.int64)


def _class_names(folder: Path, n_seen: int) -> tuple[str, ...]:
    path = folder / "classnames.txt"
    if not path.is_file():
        return tuple(f"class {label}" for label in range(n_seen))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path} cannot be read ({error}).") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < n_seen:
        raise AtlasError(
            f"{path} names {len(names)} classes, but the references have {n_seen}: it is of "
            "another set."
        )
    return names


def _given_sizes(folder: Path, classes: tuple[str, ...], n_images: int) -> tuple[int, ...]:
    path = folder / "class_counts.csv"
    if not path.is_file():
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file) if row]
        sizes = {row[0]: int(row[1]) for row in rows[1:]}
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise AtlasError(f"{path} cannot be read ({error}).") from error
    if set(sizes) != set(classes) or sum(sizes.values()) != n_images:
        raise AtlasError(
            f"{path} counts {sum(sizes.values()):,} images in {len(sizes)} classes, but the set has "
            f"{n_images:,} in {len(classes)}. Correct it, or take it away."
        )
    return tuple(sizes[name] for name in classes)


def _notes(folder: Path, references: References, n_images: int) -> tuple[str, ...]:
    notes = []
    if n_images > _LARGEST_EXACT_INDEX:
        notes.append("Indices of images above 16,777,216 were rounded where they were written.")
    if (folder / _ENTROPY).is_file():
        stored = _read(folder, _ENTROPY)
        ours = label_entropy(references.values, references.labels)
        known = ~np.isnan(ours)
        apart = 0.0
        if stored.shape == ours.shape and known.any():
            apart = float(np.nanmax(np.abs(stored[known] - ours[known])))
        if stored.shape != ours.shape or apart > _SAME_ENTROPY:
            notes.append(
                f"{_ENTROPY} differs from the entropy of the references' labels by up to "
                f"{apart:.2g}; the latter is shown."
            )
    return tuple(notes)
