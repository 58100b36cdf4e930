"""Tell patients apart by their barcodes, and find out what that is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.classification.features import Features, words_of
from napari_cytosae.cohorts.classification.folds import check
from napari_cytosae.cohorts.classification.options import ClassificationOptions
from napari_cytosae.cohorts.classification.scores import (
    SCORES,
    Calibration,
    calibration,
    confusion,
    per_class,
)
from napari_cytosae.cohorts.classification.shortcuts import (
    across_groups,
    covariate_features,
    notes_on_baselines,
    warnings_of,
)
from napari_cytosae.cohorts.classification.validate import Validation, cross_validate
from napari_cytosae.cohorts.table import named
from napari_cytosae.errors import Cancelled, CohortError

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Classification:
    """A classification and everything to judge it by.

    Parameters
    ----------
    classes
        In the order of all tables and probabilities.
    rows
        (n,) rows of the barcodes' patients that took part: those whose class is known.
    truth
        (n,) classes.
    validation
        Cross-validation of the barcodes.
    null
        (permutations,) weighted F1 with shuffled classes.
    beside
        What the figures are to be held against, one row each, the barcodes first: ``name``, ``kind``
        (``barcodes``, ``matrix`` or ``covariate``), ``features``, and each score with ``…_sd``, over
        the same folds.
    grouped
        See `across_groups`.
    curve
        ``threshold`` (mean activation), ``concepts`` kept (mean over folds), ``weighted_f1`` and
        ``weighted_f1_sd``.
    warnings
        What the reader must know first, a sentence each.
    notes
        What was done otherwise than asked for.
    options
        How it was done.
    """

    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    validation: Validation
    null: NDArray[np.float64]
    beside: pd.DataFrame
    grouped: pd.DataFrame
    curve: pd.DataFrame
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    options: ClassificationOptions

    @property
    def p(self) -> float | None:
        """How often shuffled classes are predicted as well; None without permutations."""
        return _p_of(self.null, self.validation.mean("weighted_f1"))

    @property
    def confusion(self) -> NDArray[np.float64]:
        """(true, predicted) patients, mean over repeats."""
        tables = [
            confusion(self.truth, one.argmax(axis=1), len(self.classes))
            for one in self.validation.probabilities
        ]
        return np.asarray(np.mean(tables, axis=0), np.float64)

    @property
    def per_class(self) -> pd.DataFrame:
        """Scores of each class, see `scores.per_class`."""
        return per_class(self.truth, self.validation.probabilities, self.classes)

    @property
    def calibration(self) -> Calibration:
        """Whether probabilities are true, see `scores.calibration`."""
        return calibration(self.truth, self.validation.probabilities)

    def summary(self) -> pd.DataFrame:
        """Give each score's mean and standard deviation over folds, index ``score``."""
        return pd.DataFrame(
            {
                "mean": [self.validation.mean(name) for name in SCORES],
                "sd": [self.validation.sd(name) for name in SCORES],
            },
            index=pd.Index(SCORES, name="score", dtype=object),
        )

    def predictions(self, barcodes: Barcodes) -> pd.DataFrame:
        """List the patients: ``diagnosis``, ``predicted``, ``agreement`` and a column per class.

        Probabilities are means over repeats; agreement is the share of repeats that predict the
        same.
        """
        probabilities = self.validation.probabilities
        mean = probabilities.mean(axis=0)
        predicted = mean.argmax(axis=1)
        classes = np.array(self.classes, object)
        return pd.DataFrame(
            {
                self.options.by: classes[self.truth],
                "predicted": classes[predicted],
                "agreement": (probabilities.argmax(axis=2) == predicted).mean(axis=0),
                **{f"p {name}": mean[:, k] for k, name in enumerate(self.classes)},
            },
            index=barcodes.patients.index[self.rows],
        )


def classify(
    barcodes: Barcodes,
    options: ClassificationOptions | None = None,
    *,
    beside: Mapping[str, ArrayLike | Barcodes] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Classification:
    """Classify patients by logistic regression on their barcodes, with nested cross-validation.

    Every patient is predicted by models that have not seen them: scales, the choice of concepts and
    the penalty come from the other patients alone.

    Parameters
    ----------
    barcodes
        Of all patients; those whose class is not known are left out.
    options
        How to.
    beside
        Other descriptions of the same patients in the same order, by name: (patients, n) numbers such
        as mean raw tokens, or barcodes of another dictionary, of which the same statistic is taken.
        They go through the same folds. See `read_baselines`.
    progress
        Called with folds done, folds in all, and what is being done.
    cancelled
        Asked after every fold whether to stop.

    Raises
    ------
    CohortError
        Where there are too few patients, or a matrix does not fit.
    Cancelled
        Where `cancelled` said so.
    """
    options = options or ClassificationOptions()
    classes, rows, labels, notes = class_labels(barcodes, options)
    chosen = barcodes.select(rows)
    patients = chosen.patients
    groups = _groups(patients, options)
    check(labels, classes, groups, options.by, options.groups)
    matrices = [
        _beside_features(name, matrix, barcodes, rows, options)
        for name, matrix in (beside or {}).items()
    ]
    counter = _Counter(options, len(matrices), patients, progress, cancelled)
    n = len(classes)
    features = Features.of_barcodes(chosen, options)

    counter.stage = "cross-validation"
    own = cross_validate(features, labels, n, options, groups, tick=counter)
    notes += _fold_notes(own, options)
    counter.stage = "baselines"
    others = [
        ("matrix", cross_validate(one, labels, n, options, groups, tick=counter))
        for one in matrices
    ]
    notes += notes_on_baselines(own, [validation for _, validation in others], options.by)
    covariates = [
        cross_validate(one, labels, n, options, groups, tick=counter)
        for one in covariate_features(patients, options.by)
        if one.name != options.groups
    ]
    counter.stage = "sites"
    grouped = (
        across_groups(features, patients, labels, classes, options, counter)
        if options.groups is None
        else pd.DataFrame(columns=["covariate", "weighted_f1", "note"])
    )
    counter.stage = "shuffles"
    null = _permute(features, labels, n, options, groups, counter)
    counter.stage = "curve"
    curve = _curve(features, labels, n, options, groups, counter)

    found = own.mean("weighted_f1")
    chance = float(np.quantile(null, 0.95)) if null.size else _guessing(labels)
    warnings = warnings_of(
        own, {one.name: one for one in covariates}, grouped, chance, _p_of(null, found), options
    )
    table = _beside([("barcodes", own), *others, *(("covariate", one) for one in covariates)])
    return Classification(
        classes, rows, labels, own, null, table, grouped, curve, warnings, tuple(notes), options
    )


def _beside_features(
    name: str,
    matrix: ArrayLike | Barcodes,
    barcodes: Barcodes,
    rows: NDArray[np.int64],
    options: ClassificationOptions,
) -> Features:
    if not isinstance(matrix, Barcodes):
        whole = Features.of_matrix(name, matrix, len(barcodes))
        return replace(whole, values=whole.values[rows])
    if list(matrix.patients.index) != list(barcodes.patients.index):
        raise CohortError(f"“{name}” holds the barcodes of other patients, or in another order.")
    # Its activations are on a scale of their own, so that no mean activation is asked of it.
    return replace(Features.of_barcodes(matrix.select(rows), options), name=name, means=None)


def class_labels(
    barcodes: Barcodes, options: ClassificationOptions
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Give names of classes, rows and labels of their patients, and notes on who was left out.

    Raises
    ------
    CohortError
        Where there is no such column.
    """
    by = options.by
    for name in (by, options.groups):
        if name is not None and name not in ("diagnosis", *barcodes.covariates):
            known = named(["diagnosis", *barcodes.covariates], 12)
            raise CohortError(f"The cohort has no column “{name}”; it has {known}.")
    if by == options.groups:
        raise CohortError(f"Patients cannot be grouped by the {by} that is to be predicted.")
    words = words_of(barcodes.patients[by])
    rows = np.flatnonzero(words != "").astype(np.int64)
    if not rows.size:
        raise CohortError(f"The {by} of no patient is known.")
    classes, labels = np.unique(words[rows].astype(str), return_inverse=True)
    notes = []
    if rows.size < len(words):
        notes.append(f"{len(words) - rows.size} patients without a {by} were left out.")
    return tuple(map(str, classes)), rows, labels.astype(np.int64), notes


def _groups(patients: pd.DataFrame, options: ClassificationOptions) -> NDArray[np.object_] | None:
    if options.groups is None:
        return None
    values = words_of(patients[options.groups])
    if (values == "").any():
        unknown = named(patients.index[values == ""])
        raise CohortError(f"The {options.groups} of {unknown} is not known: give it.")
    return values


def _fold_notes(own: Validation, options: ClassificationOptions) -> list[str]:
    notes = []
    folds = int(own.folds["fold"].max()) + 1
    if folds < options.folds:
        notes.append(
            f"Patients were dealt to {folds} folds instead of {options.folds}: the rarest class has "
            "no more."
        )
    if not all(fit.tuned for fit, _ in own.fits) and len(options.c_grid) > 1:
        notes.append(
            "The penalty was not tuned where too few patients of a class were left for it."
        )
    if (own.folds["concepts"] == 0).any():
        notes.append("In some folds no concept was left to learn from.")
    return notes


def _permute(
    features: Features,
    labels: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    groups: NDArray[np.object_] | None,
    counter: "_Counter",
) -> NDArray[np.float64]:
    rng = np.random.default_rng(options.seed)
    null = np.zeros(options.n_permutations)
    for number in range(options.n_permutations):
        shuffled = rng.permutation(labels)
        dealt = replace(options, seed=options.seed + 7919 * (number + 1))
        found = cross_validate(
            features, shuffled, n_classes, dealt, groups, repeats=1, tick=counter
        )
        null[number] = found.mean("weighted_f1") if len(found.folds) else 0.0
    return null


def _curve(
    features: Features,
    labels: NDArray[np.int64],
    n_classes: int,
    options: ClassificationOptions,
    groups: NDArray[np.object_] | None,
    counter: "_Counter",
) -> pd.DataFrame:
    rows = []
    for threshold in sorted(options.curve):
        found = cross_validate(
            features,
            labels,
            n_classes,
            replace(options, min_mean_activation=threshold),
            groups,
            repeats=options.curve_repeats,
            tick=counter,
        )
        rows.append(
            {
                "threshold": threshold,
                "concepts": found.mean("concepts"),
                "weighted_f1": found.mean("weighted_f1"),
                "weighted_f1_sd": found.sd("weighted_f1"),
            }
        )
    return pd.DataFrame(rows, columns=["threshold", "concepts", "weighted_f1", "weighted_f1_sd"])


def _beside(validations: list[tuple[str, Validation]]) -> pd.DataFrame:
    rows = []
    for kind, one in validations:
        row: dict[str, object] = {"name": one.name, "kind": kind, "features": one.mean("concepts")}
        for name in SCORES:
            row[name] = one.mean(name)
            row[f"{name}_sd"] = one.sd(name)
        rows.append(row)
    return pd.DataFrame(rows)


def _p_of(null: NDArray[np.float64], found: float) -> float | None:
    if not null.size:
        return None
    return float((1 + np.sum(null >= found - 1e-12)) / (1 + null.size))


def _guessing(labels: NDArray[np.int64]) -> float:
    """Give the expected weighted F1 of guesses that are drawn like the labels."""
    shares = np.bincount(labels) / len(labels)
    return float(np.sum(shares**2))


class _Counter:
    """Counts folds, tells of them, and stops when asked to."""

    def __init__(
        self,
        options: ClassificationOptions,
        n_matrices: int,
        patients: pd.DataFrame,
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        full = 1 + n_matrices + len(covariate_features(patients, options.by))
        cheap = options.curve_repeats * len(options.curve) + options.n_permutations
        self._total = options.folds * (full * options.repeats + cheap)
        self._done = 0
        self._progress = progress
        self._cancelled = cancelled
        self.stage = ""

    def __call__(self) -> None:
        self._done += 1
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("Stopped. Nothing was written.")
        if self._progress is not None:
            self._progress(self._done, max(self._total, self._done), self.stage)
