"""What counts say about a concept: frequency, strength, and how alike its references' labels are.

The definitions are upstream's (`PatchSAE <https://github.com/dynamical-inference/patchsae>`_, which
CytoSAE builds on), without what is a slip there: 0/0 gives no NaN, and a place that no image fills
is empty instead of "image 0".
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_EPSILON = 1e-9
"""Upstream adds it inside the logarithm, so that a share of 0 costs nothing."""

NO_LABEL = -1
"""The class of a cell that has no label, and of a place among the references that is not filled."""


def ratio(part: NDArray[np.number], whole: NDArray[np.number] | float) -> NDArray[np.float64]:
    """Divide, with 0 where there is nothing to divide by."""
    wholes = np.broadcast_to(np.asarray(whole, np.float64), part.shape)
    divided: NDArray[np.float64] = np.zeros(part.shape)
    np.divide(part, wholes, out=divided, where=wholes > 0)
    return divided


def missing_where_nan(values: NDArray[np.float64]) -> pd.arrays.FloatingArray:
    """Turn NaN into pandas' missing value, which tables leave empty."""
    missing = np.isnan(values)
    return pd.arrays.FloatingArray(np.where(missing, 0.0, values), missing)


def label_entropy(values: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the entropy of the reference images' labels, weighted by activation.

    A label's share is the sum of its images' activations over the sum of all; the entropy is
    −Σ share · ln(share + 10⁻⁹), as upstream has it. Images without a label are left out.

    Parameters
    ----------
    values
        (n, k) image scores of the references; 0 where a place is not filled.
    labels
        (n, k) their classes, `NO_LABEL` where there is none.

    Returns
    -------
    (n,) float64
        In nats; NaN where no reference has a label.
    """
    weights = np.where(labels != NO_LABEL, values, 0.0).astype(np.float64)
    total = weights.sum(axis=1)
    entropy = np.zeros(len(weights))
    # Each image stands for its share of its label's term: no table of all classes is needed.
    for place in range(labels.shape[1]):
        same = labels == labels[:, [place]]
        share = ratio((weights * same).sum(axis=1), total)
        entropy -= ratio(weights[:, place], total) * np.log(share + _EPSILON)
    entropy = np.maximum(entropy, 0.0)  # 10⁻⁹ inside the logarithm takes a pure one just below 0
    entropy[total == 0] = np.nan
    return entropy


def top_class(
    values: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Find the class that most of the references have.

    Ties go to the class with more activation, then to the one with the smaller index.

    Parameters
    ----------
    values, labels
        As in `label_entropy`.

    Returns
    -------
    classes : (n,) int32
        `NO_LABEL` where no reference has a label.
    hits, labelled : (n,) int64
        References of that class, and references with any label. Their ratio is the purity.
    """
    filled = (labels != NO_LABEL) & (values > 0)
    best = np.full(len(labels), NO_LABEL, np.int32)
    hits = np.zeros(len(labels), np.int64)
    strength = np.zeros(len(labels))
    for place in range(labels.shape[1]):
        label = np.where(filled[:, place], labels[:, place], NO_LABEL)
        same = filled & (labels == label[:, None])
        count = same.sum(axis=1)
        weight = np.where(same, values, 0.0).sum(axis=1)
        more = (count > hits) | (
            (count == hits) & ((weight > strength) | ((weight == strength) & (label < best)))
        )
        better = filled[:, place] & more
        best[better], hits[better], strength[better] = label[better], count[better], weight[better]
    return best, hits, filled.sum(axis=1)
