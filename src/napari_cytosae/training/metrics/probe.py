"""What a linear classifier can tell from tokens, profiles or reconstructions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import TrainingError


@dataclass(frozen=True, slots=True)
class ProbeAccuracy:
    """How well a linear probe tells labels on images that it was not fitted to.

    Parameters
    ----------
    balanced
        Mean over labels of the share of their images that is told rightly, mean over folds.
    folds
        Each fold's.
    """

    balanced: float
    folds: tuple[float, ...]


def probe_accuracy(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    swapped: NDArray[np.float32] | None = None,
    groups: NDArray[np.int64] | None = None,
    folds: int = 5,
    c: float = 0.01,
    seed: int = 0,
) -> ProbeAccuracy:
    """Cross-validate a linear probe.

    Logistic regression on features that are standardised by the fitting fold, labels weighted to
    count alike (Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
    probes").

    Parameters
    ----------
    features
        (images, d).
    labels
        (images,).
    swapped
        (images, d): what the probe, fitted to `features`, is shown instead on the left-out fold.
        With class tokens x and their reconstructions x̂, this is the accuracy that remains when x̂
        stands in place of x.
    groups
        (images,): images of one group (a patient, a slide) are never on both sides.
    folds
        At most as many as the rarest label has images (or groups).
    c
        Inverse strength of the L2 penalty.
    seed
        Of the folds.

    Raises
    ------
    TrainingError
        There are fewer than two labels, or a label with fewer than two images.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shown = features if swapped is None else swapped
    classes, counts = np.unique(labels, return_counts=True)
    if len(features) != len(labels) or shown.shape != features.shape:
        raise TrainingError("A probe needs one label, and one vector of each kind, per image.")
    if len(classes) < 2:
        raise TrainingError("A probe needs images of at least two labels.")
    owner = np.arange(len(labels)) if groups is None else groups
    rarest = min(len(np.unique(owner[labels == label])) for label in classes)
    if rarest < 2 or counts.min() < 2:
        raise TrainingError("A probe needs at least two images, or two groups, of each label.")
    splits = StratifiedGroupKFold(min(folds, rarest), shuffle=True, random_state=seed)
    found = []
    for fit, left in splits.split(features, labels, owner):
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=c, class_weight="balanced", max_iter=2000),
        )
        probe.fit(features[fit], labels[fit])
        found.append(float(balanced_accuracy_score(labels[left], probe.predict(shown[left]))))
    return ProbeAccuracy(float(np.mean(found)), tuple(found))
