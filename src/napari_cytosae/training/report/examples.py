"""Which concepts a report shows, and on which images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.models import SparseAutoencoder

STRONGEST: Final = "strongest"
ALIKE: Final = "most alike"
DRAWN: Final = "drawn at random"

_FEWEST_IMAGES: Final = 3
"""A concept that is active on fewer images has no examples to judge it by."""


@dataclass(frozen=True, eq=False)
class ConceptExample:
    """A concept and the images on which it is strongest.

    Parameters
    ----------
    concept
        Its id.
    group
        Why it is shown: ``"strongest"``, ``"most alike"`` or ``"drawn at random"``.
    share
        Share of images on which it is active.
    mean
        Mean over these images of its mean over tokens.
    monosemanticity
        See `napari_cytosae.training.metrics.monosemanticity`; None where it is not known.
    images
        Rows of the images, strongest first.
    maps
        (images, side, side): its activation on each patch.
    labels
        Of the images; None without labels.
    """

    concept: int
    group: str
    share: float
    mean: float
    monosemanticity: float | None
    images: tuple[int, ...]
    maps: NDArray[np.float32]
    labels: tuple[str, ...] | None = None


def pick_examples(
    sae: SparseAutoencoder,
    tokens_of: Callable[[int], NDArray[np.float32]],
    profiles: csr_array,
    *,
    monosemanticity: NDArray[np.float64] | None = None,
    labels: Sequence[str] | None = None,
    per_group: int = 4,
    images: int = 6,
    seed: int = 0,
) -> list[ConceptExample]:
    """Pick concepts to look at: the strongest, those whose images are most alike, and a random draw.

    The random ones are there so that nobody judges an autoencoder by its best concepts alone. Only
    concepts that are active on at least three images are considered; none is shown twice.

    Parameters
    ----------
    sae
        The autoencoder.
    tokens_of
        Gives one image's tokens, (tokens, d_model), the class token first.
    profiles
        (images, d_sae): mean activations over tokens.
    monosemanticity
        (d_sae,); without it there is no group of those most alike.
    labels
        One per image.
    per_group, images
        How many concepts of each group, and images of each concept.
    seed
        Of the random draw.
    """
    columns = profiles.tocsc()
    active = np.diff(columns.indptr)
    sums = np.asarray(profiles.sum(0)).ravel()
    mean = sums / np.maximum(active, 1)
    there = np.flatnonzero(active >= _FEWEST_IMAGES)
    chosen: dict[int, str] = {}
    orders = [(STRONGEST, there[np.argsort(-mean[there], kind="stable")])]
    if monosemanticity is not None:
        known = there[~np.isnan(monosemanticity[there])]
        orders.append((ALIKE, known[np.argsort(-monosemanticity[known], kind="stable")]))
    orders.append((DRAWN, np.random.default_rng(seed).permutation(there)))
    for group, order in orders:
        free = [int(concept) for concept in order if int(concept) not in chosen]
        chosen |= dict.fromkeys(free[:per_group], group)
    strongest = {concept: _strongest_images(columns, concept, images) for concept in chosen}
    maps = _maps(sae, tokens_of, strongest)
    examples = []
    for concept, group in chosen.items():
        rows = strongest[concept]
        score = None if monosemanticity is None else float(monosemanticity[concept])
        examples.append(
            ConceptExample(
                concept,
                group,
                float(active[concept]) / profiles.shape[0],
                float(mean[concept]),
                None if score is None or np.isnan(score) else score,
                rows,
                np.stack([maps[concept, row] for row in rows]),
                None if labels is None else tuple(labels[row] for row in rows),
            )
        )
    return examples


def _strongest_images(columns: Any, concept: int, count: int) -> tuple[int, ...]:
    part = slice(columns.indptr[concept], columns.indptr[concept + 1])
    order = np.argsort(-columns.data[part], kind="stable")[:count]
    return tuple(int(row) for row in columns.indices[part][order])


def _maps(
    sae: SparseAutoencoder,
    tokens_of: Callable[[int], NDArray[np.float32]],
    strongest: dict[int, tuple[int, ...]],
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Compute each concept's map on its images; each image is encoded once."""
    wanted: dict[int, list[int]] = {}
    for concept, rows in strongest.items():
        for row in rows:
            wanted.setdefault(row, []).append(concept)
    found = {}
    for row, concepts in wanted.items():
        tokens = torch.from_numpy(np.ascontiguousarray(tokens_of(row), np.float32))
        side = max(int((len(tokens) - 1) ** 0.5), 1)
        with torch.no_grad():
            values = sae.encode_concepts(tokens, concepts).numpy()
        patches = values[1:] if len(values) == side * side + 1 else values[:1]
        for place, concept in enumerate(concepts):
            found[concept, row] = patches[:, place].reshape(
                (side, side) if len(patches) > 1 else (1, 1)
            )
    return found
