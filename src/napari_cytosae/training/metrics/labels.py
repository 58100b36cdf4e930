"""What concepts have to do with labels: purity, entropy, and how well one concept tells a label."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from napari_cytosae.errors import TrainingError

Profiles: TypeAlias = "csr_array | NDArray[np.float32]"


def _label_mass(profiles: Profiles, labels: NDArray[np.int64], top: int) -> NDArray[np.float64]:
    """Sum each concept's activation over its strongest images by label: (concepts, labels)."""
    a = csr_array(profiles).tocsc()
    if len(labels) != a.shape[0]:
        raise TrainingError(f"There are {a.shape[0]} profiles, but {len(labels)} labels.")
    _, codes = np.unique(labels, return_inverse=True)
    mass = np.zeros((a.shape[1], codes.max(initial=-1) + 1))
    for concept in range(a.shape[1]):
        part = slice(a.indptr[concept], a.indptr[concept + 1])
        values, images = a.data[part], a.indices[part]
        strongest = np.argsort(-values, kind="stable")[:top]
        np.add.at(mass[concept], codes[images[strongest]], np.maximum(values[strongest], 0))
    return mass


def label_entropy(
    profiles: Profiles, labels: NDArray[np.int64], top: int = 10
) -> NDArray[np.float64]:
    """Give the entropy of the labels of each concept's strongest images.

    ``H = −Σ_c p_c ln p_c``, p_c the share of label c in the summed activation of the concept's
    `top` images: PatchSAE's and CytoSAE's label entropy. 0 where all carry one label, ln(labels)
    where they are even.

    Returns
    -------
    (concepts,) float64, in nats; NaN for concepts that are active on no image.
    """
    mass = _label_mass(profiles, labels, top)
    total = mass.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = mass / total
        terms = np.where(share > 0, share * np.log(share), 0.0)
    return np.where(total[:, 0] > 0, -terms.sum(1), np.nan)


def label_purity(
    profiles: Profiles, labels: NDArray[np.int64], top: int = 10
) -> NDArray[np.float64]:
    """Give the share of the commonest label in the summed activation of each concept's top images.

    Purity as of clusters (Manning, Raghavan and Schütze 2008, "Introduction to Information
    Retrieval", section 16.3), an image counting by its activation.

    Returns
    -------
    (concepts,) float64; NaN for concepts that are active on no image.
    """
    mass = _label_mass(profiles, labels, top)
    total = mass.sum(1)
    return np.where(total > 0, mass.max(1, initial=0) / np.where(total > 0, total, 1), np.nan)


def concept_auroc(scores: Profiles, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the AUROC with which each concept alone tells each label from the others.

    Mann and Whitney's statistic over the product of the two groups' sizes; ties count half.

    Parameters
    ----------
    scores
        (images, concepts).
    labels
        (images,).

    Returns
    -------
    (concepts, labels) float64
        In the order of ``numpy.unique(labels)``; NaN for a label that all images carry.
    """
    onehot = _one_hot(labels, scores.shape[0])
    return np.concatenate(
        [_auroc(_ranks(block), onehot) for block in _blocks(scores)] or [np.empty((0, 0))]
    )


@dataclass(frozen=True, slots=True, eq=False)
class ConceptTests:
    """Which concepts tell a label better than chance.

    Parameters
    ----------
    classes
        (labels,): the labels, sorted.
    auroc
        (concepts, labels).
    p_value
        (concepts, labels): the share of permutations, the observed one included, whose AUROC is at
        least as far from 0.5. None can be below ``1 / (permutations + 1)``.
    significant
        (concepts, labels) bool, after Benjamini and Hochberg over all of them.
    permutations
        How many were made.
    """

    classes: NDArray[np.int64]
    auroc: NDArray[np.float64]
    p_value: NDArray[np.float64]
    significant: NDArray[np.bool_]
    permutations: int


def score_concepts(
    scores: Profiles,
    labels: NDArray[np.int64],
    *,
    permutations: int = 999,
    false_discovery_rate: float = 0.05,
    seed: int = 0,
) -> ConceptTests:
    """Test every concept against every label.

    The null keeps each concept's activations and shuffles the labels of images (Good 2005,
    "Permutation, Parametric and Bootstrap Tests of Hypotheses"); p-values count the observed
    labelling as one of the permutations (Phipson and Smyth 2010). Concepts that are active nowhere
    have AUROC 0.5 and p-value 1. Over all concepts and labels together, the false discovery rate
    is held by Benjamini and Hochberg's procedure. With d_sae concepts, a p-value of 0.05 / d_sae
    may be needed for a first discovery: give as many permutations as that takes.
    """
    onehot = _one_hot(labels, scores.shape[0])
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(onehot)) for _ in range(permutations)]
    found, p_values = [], []
    for block in _blocks(scores):
        ranks = _ranks(block)
        observed = _auroc(ranks, onehot)
        # Sums of half ranks are exact in float64; their quotients need not be, to the last bit.
        reached = np.abs(observed - 0.5) - 1e-12
        count = np.ones_like(observed)
        for order in orders:
            count += np.abs(_auroc(ranks, onehot[order]) - 0.5) >= reached
        found.append(observed)
        p_values.append(count / (permutations + 1))
    auroc = np.concatenate(found)
    p_value = np.where(np.isnan(auroc), np.nan, np.concatenate(p_values))
    significant = rejected_by_benjamini_hochberg(p_value.ravel(), false_discovery_rate)
    return ConceptTests(
        np.unique(labels), auroc, p_value, significant.reshape(p_value.shape), permutations
    )


def rejected_by_benjamini_hochberg(
    p_values: NDArray[np.float64], false_discovery_rate: float = 0.05
) -> NDArray[np.bool_]:
    """Tell which hypotheses are rejected at a false discovery rate.

    Step-up: all with ``p ≤ p_(k)``, k the largest with ``p_(k) ≤ k q / m`` (Benjamini and Hochberg
    1995). Valid for independent or positively dependent tests. NaN is no test.
    """
    known = ~np.isnan(p_values)
    ordered = np.sort(p_values[known])
    limits = false_discovery_rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    passed = np.flatnonzero(ordered <= limits)
    if not len(passed):
        return np.zeros(p_values.shape, bool)
    return np.asarray(known & (np.nan_to_num(p_values, nan=np.inf) <= ordered[passed[-1]]))


def _one_hot(labels: NDArray[np.int64], images: int) -> NDArray[np.float64]:
    if len(labels) != images:
        raise TrainingError(f"There are {images} profiles, but {len(labels)} labels.")
    classes, codes = np.unique(labels, return_inverse=True)
    return np.asarray(np.eye(len(classes))[codes])


def _blocks(scores: Profiles, size: int = 1024) -> list[NDArray[np.float32]]:
    """Cut concepts into dense blocks."""
    columns = scores.tocsc() if isinstance(scores, csr_array) else scores
    cut = (columns[:, first : first + size] for first in range(0, scores.shape[1], size))
    return [part if isinstance(part, np.ndarray) else part.toarray() for part in cut]


def _ranks(block: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(rankdata(block, axis=0))


def _auroc(ranks: NDArray[np.float64], onehot: NDArray[np.float64]) -> NDArray[np.float64]:
    n1 = onehot.sum(0)
    n0 = len(onehot) - n1
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((ranks.T @ onehot - n1 * (n1 + 1) / 2) / (n1 * n0))
