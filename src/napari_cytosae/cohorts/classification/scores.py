"""How good predictions are: F1, AUROC, calibration and the like."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]

SCORES = {
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "log_loss": "log loss",
    "brier": "Brier score",
}
"""Columns of tables of scores, and what they are called."""


def confusion(truth: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """Count patients, (true class, predicted class)."""
    table = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(table, (truth, predicted), 1)
    return table


def f1_per_class(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give each class's F1, 2 TP / (2 TP + FP + FN); 0 where it is neither there nor predicted."""
    right = np.diag(table).astype(np.float64)
    size = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(2 * right / np.maximum(size, 1))


def auroc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Give the chance that a patient of the class scores above another, ties half; NaN without both."""
    n_in, n_out = int(truth.sum()), int((~truth).sum())
    if not (n_in and n_out):
        return float("nan")
    u = rankdata(scores)[truth].sum() - n_in * (n_in + 1) / 2
    return float(u / (n_in * n_out))


def score(truth: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Score predictions.

    Parameters
    ----------
    truth
        (patients,) classes.
    probabilities
        (patients, classes).

    Returns
    -------
    dict
        The keys of `SCORES`. AUROC is the mean over the classes, each against the rest (those that
        are there); balanced accuracy the mean recall of the classes that are there; the Brier
        score the mean squared distance of the probabilities from the truth, summed over classes.
    """
    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    table = confusion(truth, predicted, n_classes)
    support = table.sum(axis=1)
    there = support > 0
    f1 = f1_per_class(table)
    areas = [auroc(truth == k, probabilities[:, k]) for k in range(n_classes)]
    known = [area for area in areas if not np.isnan(area)]
    own = probabilities[np.arange(len(truth)), truth]
    distance = probabilities - np.eye(n_classes)[truth]
    seen = there | (table.sum(axis=0) > 0)
    return {
        "weighted_f1": float(np.sum(f1 * support) / max(support.sum(), 1)),
        "macro_f1": float(f1[seen].mean()),
        "balanced_accuracy": float((np.diag(table)[there] / support[there]).mean()),
        "accuracy": float(np.mean(predicted == truth)),
        "auroc": float(np.mean(known)) if known else float("nan"),
        "log_loss": float(-np.mean(np.log(np.maximum(own, 1e-15)))),
        "brier": float(np.mean(np.sum(distance**2, axis=1))),
    }


def per_class(truth: Labels, repeats: Probabilities, classes: tuple[str, ...]) -> pd.DataFrame:
    """Score each class, mean and standard deviation over repeats of the cross-validation.

    Parameters
    ----------
    truth
        (patients,) classes.
    repeats
        (repeats, patients, classes) probabilities, each patient left out when predicted.
    classes
        What they are called.

    Returns
    -------
    DataFrame
        Index ``class``; ``patients``, and ``precision``, ``recall``, ``f1`` and ``auroc`` (against
        the rest), each with ``…_sd``.
    """
    found = []
    for probabilities in repeats:
        table = confusion(truth, probabilities.argmax(axis=1), len(classes))
        right = np.diag(table)
        areas = [auroc(truth == k, probabilities[:, k]) for k in range(len(classes))]
        found.append(
            (
                right / np.maximum(table.sum(axis=0), 1),
                right / np.maximum(table.sum(axis=1), 1),
                f1_per_class(table),
                np.array(areas),
            )
        )
    values = np.array(found)
    columns: dict[str, NDArray[np.generic]] = {
        "patients": np.bincount(truth, minlength=len(classes))
    }
    for place, name in enumerate(("precision", "recall", "f1", "auroc")):
        columns[name] = values[:, place].mean(axis=0)
        columns[f"{name}_sd"] = spread(values[:, place])
    return pd.DataFrame(columns, index=pd.Index(classes, name="class", dtype=object))


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard deviation along the first axis; 0 for one value."""
    return np.asarray(values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Whether predictions of 70 % come true in 70 %.

    Parameters
    ----------
    table
        One row per bin: ``confidence`` (mean probability of the predicted class), ``accuracy``
        (share of these predictions that are right), ``patients`` (mean over repeats).
    error
        Expected calibration error: mean distance of the two, weighted by patients.
    """

    table: pd.DataFrame
    error: float


def calibration(truth: Labels, repeats: Probabilities, bins: int = 5) -> Calibration:
    """Compare the confidence of predictions with how often they are right.

    Parameters
    ----------
    truth
        (patients,) classes.
    repeats
        (repeats, patients, classes).
    bins
        Of equally many predictions each, by confidence.
    """
    confidence = repeats.max(axis=2).ravel()
    right = (repeats.argmax(axis=2) == truth).ravel().astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    table = pd.DataFrame(
        {
            "confidence": [confidence[part].mean() for part in parts],
            "accuracy": [right[part].mean() for part in parts],
            "patients": [part.size / len(repeats) for part in parts],
        }
    )
    distance = (table["confidence"] - table["accuracy"]).abs()
    error = float((distance * table["patients"]).sum() / table["patients"].sum())
    return Calibration(table, error)
