"""Logistic regression with an L2 penalty that the patients themselves choose."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from napari_cytosae.cohorts.classification.features import Features
from napari_cytosae.cohorts.classification.folds import deal
from napari_cytosae.cohorts.classification.options import ClassificationOptions

Matrix = NDArray[np.float64]
_NEVER = -50.0  # log-odds of a class that no fitted patient has


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear classifier of standardised features.

    Logits are centred: over the classes they sum to 0, with two classes they are half the log-odds,
    and softmax gives the probabilities.

    Parameters
    ----------
    columns
        (k,) columns of the features that it reads.
    mean, scale
        (k,) of the fitted patients.
    weights
        (classes, k) per standard deviation.
    intercepts
        (classes,) logits of a patient whose every feature is average.
    c
        Inverse penalty that was chosen.
    tuned
        Whether there were patients enough to choose it.
    """

    columns: NDArray[np.int64]
    mean: Matrix
    scale: Matrix
    weights: Matrix
    intercepts: Matrix
    c: float
    tuned: bool

    def logits(self, values: Matrix) -> Matrix:
        """Give the logits of patients × features, (patients, classes)."""
        z = (values[:, self.columns] - self.mean) / self.scale
        return np.asarray(z @ self.weights.T + self.intercepts)


def fit(
    features: Features,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    groups: NDArray[np.object_] | None = None,
    seed: int = 0,
) -> Fit:
    """Fit to some patients; the penalty is chosen by cross-validation among them.

    Parameters
    ----------
    features, labels
        Of all patients.
    rows
        Those that are fitted to. Columns, means, scales and the penalty come from them alone.
    n_classes
        Classes of the whole cohort.
    options, groups, seed
        See `ClassificationOptions`.
    """
    c, tuned = _choose_c(features, labels, rows, n_classes, options, groups, seed)
    (one,) = _fit_path(features, labels, rows, n_classes, options, [c])
    return Fit(one.columns, one.mean, one.scale, one.weights, one.intercepts, c, tuned)


def _choose_c(
    features: Features,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    groups: NDArray[np.object_] | None,
    seed: int,
) -> tuple[float, bool]:
    """Choose the inverse penalty of the smallest loss on patients left out; ties to the strictest."""
    grid = sorted(options.c_grid)
    middle = grid[len(grid) // 2]
    if len(grid) == 1:
        return middle, False
    own = None if groups is None else groups[rows]
    splits = deal(labels[rows], own, options.inner_folds, seed)
    loss = np.zeros(len(grid))
    for fitted, left in splits:
        there = np.unique(labels[rows[fitted]])
        known = left[np.isin(labels[rows[left]], there)]
        if not known.size:
            continue
        truth = labels[rows[known]]
        weight = _sample_weights(truth, options.balanced)
        path = _fit_path(features, labels, rows[fitted], n_classes, options, grid)
        for place, one in enumerate(path):
            log_p = log_softmax(one.logits(features.values[rows[known]]), axis=1)
            loss[place] -= np.sum(weight * log_p[np.arange(len(truth)), truth])
    if not loss.any():
        return middle, False
    return grid[int(np.argmin(loss))], True


def _fit_path(
    features: Features,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    grid: Sequence[float],
) -> list[Fit]:
    columns = features.keep(rows, labels, options)
    values = features.values[np.ix_(rows, columns)]
    mean, scale = values.mean(axis=0), values.std(axis=0)
    # Equal numbers may differ from their mean in the last bit.
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)
    truth = labels[rows]
    spread = np.sqrt(max(columns.size, 1))
    z = (values - mean) / (scale * spread)
    # The penalty looks alike from every side, so that in the coordinates of the patients' own
    # span, which has no more dimensions than patients, the solution is the same.
    turned, back = _own_span(z)
    fits = []
    for c in grid:
        weights, intercepts = _logistic(turned, truth, n_classes, c, options.balanced)
        fits.append(
            Fit(columns, mean, scale, (weights @ back.T) / spread, intercepts, float(c), True)
        )
    return fits


def _own_span(z: Matrix) -> tuple[Matrix, Matrix]:
    """Give coordinates (patients, r) in the patients' span, and its axes (k, r)."""
    if z.shape[1] <= len(z):
        return z, np.eye(z.shape[1])
    squares, axes = np.linalg.eigh(z @ z.T)
    real = squares > squares.max(initial=0.0) * 1e-12
    lengths = np.sqrt(squares[real])
    return axes[:, real] * lengths, z.T @ (axes[:, real] / lengths)


def _logistic(
    x: Matrix, labels: NDArray[np.int64], n_classes: int, c: float, balanced: bool
) -> tuple[Matrix, Matrix]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    there = np.unique(labels)
    weights = np.zeros((n_classes, x.shape[1]))
    intercepts = np.full(n_classes, _NEVER)
    if len(there) == 1:
        intercepts[there] = 0.0
    elif not x.shape[1]:
        shares = np.array([np.mean(labels == k) for k in there])
        intercepts[there] = 0.0 if balanced else np.log(shares)
    else:
        model = LogisticRegression(
            C=c, class_weight="balanced" if balanced else None, max_iter=5000, tol=1e-6
        )
        with warnings.catch_warnings():
            # What is left after 5,000 steps is far below what a fold's patients decide.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, labels)
        if len(there) == 2:
            weights[there] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
            intercepts[there] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
        else:
            weights[there] = model.coef_
            intercepts[there] = model.intercept_
    if len(there) == n_classes:
        weights -= weights.mean(axis=0)
        intercepts -= intercepts.mean()
    return weights, intercepts


def _sample_weights(labels: NDArray[np.int64], balanced: bool) -> Matrix:
    if not balanced:
        return np.ones(len(labels))
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(len(labels) / (len(counts) * counts[inverse]), np.float64)
