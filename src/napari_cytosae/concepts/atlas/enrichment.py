"""Whether a concept's references are of one class more often than chance would have it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from napari_cytosae.concepts.atlas.measures import NO_LABEL

FALSE_DISCOVERY_RATE = 0.05
"""A class counts as enriched where at most this share of such findings is expected to be false."""


@dataclass(frozen=True, slots=True, eq=False)
class Enrichment:
    """For each concept the class that its references have most beyond chance.

    Parameters
    ----------
    classes
        (d_sae,) int32 index of the class; `NO_LABEL` where no reference has a label.
    hits, labelled
        (d_sae,) int64: references of that class, and references with a label.
    p
        (d_sae,) chance of at least so many hits were the references drawn from all images without
        return (hypergeometric), times the number of classes that were tried; 1 without labels.
    q
        (d_sae,) false discovery rate over all concepts at which it would be called enriched.
    """

    classes: NDArray[np.int32]
    hits: NDArray[np.int64]
    labelled: NDArray[np.int64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """(d_sae,) whether the class is enriched at `FALSE_DISCOVERY_RATE`."""
        return self.q <= FALSE_DISCOVERY_RATE


def find_enrichment(
    values: NDArray[np.floating], labels: NDArray[np.integer], class_sizes: tuple[int, ...]
) -> Enrichment:
    """Test each concept's references against the frequencies of the classes.

    Parameters
    ----------
    values, labels
        (d_sae, k) scores and classes of the references; 0 and `NO_LABEL` where there are none.
    class_sizes
        Images of each class in the data set.
    """
    sizes = np.asarray(class_sizes, np.int64)
    n_images, n_classes = int(sizes.sum()), int((sizes > 0).sum())
    d_sae, k = labels.shape
    filled = (values > 0) & (labels != NO_LABEL)
    labelled = filled.sum(axis=1)
    # Few combinations of class, hits and references occur: each is worked out once.
    chance = np.ones((len(sizes), k + 1, k + 1))
    hits_of, references_of = np.meshgrid(np.arange(k + 1), np.arange(k + 1), indexing="ij")
    for label, size in enumerate(sizes):
        at_most = np.minimum(references_of, n_images)
        chance[label] = hypergeom.sf(hits_of - 1, n_images, size, at_most)
    best = np.full(d_sae, NO_LABEL, np.int32)
    hits = np.zeros(d_sae, np.int64)
    p = np.ones(d_sae)
    for place in range(k):
        there = filled[:, place]
        tried = np.where(there, labels[:, place], 0)
        count = (filled & (labels == tried[:, None])).sum(axis=1)
        here = np.where(there, chance[tried, count, labelled], 1.0)
        better = there & (
            (best == NO_LABEL)
            | (here < p)
            | ((here == p) & ((count > hits) | ((count == hits) & (tried < best))))
        )
        best[better], hits[better], p[better] = tried[better], count[better], here[better]
    p = np.minimum(1.0, p * max(1, n_classes))
    q = np.ones(d_sae)
    tested = labelled > 0
    q[tested] = benjamini_hochberg(p[tested])
    return Enrichment(best, hits, labelled, p, q)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn p-values into false discovery rates (Benjamini and Hochberg 1995, step up).

    Parameters
    ----------
    p
        (n,) p-values.

    Returns
    -------
    (n,) float64
        For each the smallest rate at which it is among the findings.
    """
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q
