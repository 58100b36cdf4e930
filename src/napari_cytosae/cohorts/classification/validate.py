"""Cross-validation in which every patient is predicted by models that have never seen them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from napari_cytosae.cohorts.classification.features import Features
from napari_cytosae.cohorts.classification.fit import Fit, fit
from napari_cytosae.cohorts.classification.folds import deal
from napari_cytosae.cohorts.classification.options import ClassificationOptions
from napari_cytosae.cohorts.classification.scores import score


@dataclass(frozen=True, eq=False)
class Validation:
    """What repeated, nested cross-validation gives.

    Parameters
    ----------
    name
        Of the features.
    folds
        One row per fold: ``repeat``, ``fold``, ``patients``, ``concepts`` (features that were kept),
        ``c``, and the scores of its patients.
    probabilities
        (repeats, patients, classes) of every patient when left out.
    fits
        Classifiers of the first repeat with the rows that each left out.
    """

    name: str
    folds: pd.DataFrame
    probabilities: NDArray[np.float64]
    fits: tuple[tuple[Fit, NDArray[np.int64]], ...]

    def mean(self, name: str) -> float:
        """Average a score over all folds; those without it (AUROC of one class) left out."""
        return float(self.folds[name].mean())

    def sd(self, name: str) -> float:
        """Give a score's standard deviation over all folds."""
        return float(self.folds[name].std(ddof=1)) if len(self.folds) > 1 else 0.0


def cross_validate(
    features: Features,
    labels: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    groups: NDArray[np.object_] | None = None,
    *,
    repeats: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Validation:
    """Cross-validate, again and again with patients dealt anew.

    Parameters
    ----------
    features, labels
        Of all patients; the labels number the classes.
    n_classes
        How many there are.
    options, groups
        See `ClassificationOptions`; `groups` are the values of the covariate.
    repeats
        In place of the options'.
    tick
        Called after every fold; may raise to stop.
    """
    n_repeats = options.repeats if repeats is None else repeats
    rows = []
    fits = []
    probabilities = np.full((n_repeats, len(labels), n_classes), np.nan)
    for repeat in range(n_repeats):
        seed = options.seed + 1000 * repeat
        for number, (fitted, left) in enumerate(deal(labels, groups, options.folds, seed)):
            one = fit(features, labels, fitted, n_classes, options, groups, seed + number + 1)
            found = softmax(one.logits(features.values[left]), axis=1)
            probabilities[repeat, left] = found
            if not repeat:
                fits.append((one, left))
            rows.append(
                {
                    "repeat": repeat,
                    "fold": number,
                    "patients": len(left),
                    "concepts": len(one.columns),
                    "c": one.c,
                    **score(labels[left], found),
                }
            )
            tick()
    missing = np.isnan(probabilities)
    if missing.any():
        # Patients whose group alone held all others' class: nothing is known of them.
        probabilities = np.where(missing, 1 / n_classes, probabilities)
    return Validation(features.name, pd.DataFrame(rows), probabilities, tuple(fits))
