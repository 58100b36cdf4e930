"""What a classifier could cheat on: covariates that tell the classes as well as the cells do."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts.classification.features import Features, is_numeric, words_of
from napari_cytosae.cohorts.classification.folds import check
from napari_cytosae.cohorts.classification.options import ClassificationOptions
from napari_cytosae.cohorts.classification.validate import Validation, cross_validate
from napari_cytosae.errors import CohortError

NUMBERS_OF_CELLS = ("n_cells", "n_images")
ALL_COVARIATES = "all covariates together"
_MOST_GROUPS_SHARE = 0.5


def covariate_features(patients: pd.DataFrame, by: str) -> list[Features]:
    """Describe the patients by each covariate alone, and by all together.

    What does not vary, and what is a name of its own for every patient, is left out.
    """
    parts = []
    for name in patients.columns:
        if name == by or (by != "diagnosis" and name == "diagnosis"):
            continue
        words = words_of(patients[name])
        levels = len(set(words.tolist()))
        if levels < 2 or (not is_numeric(patients[name]) and levels == len(words)):
            continue
        parts.append(Features.of_covariate(str(name), patients[name]))
    known = [part for part in parts if part.name not in NUMBERS_OF_CELLS]
    if len(known) > 1:
        parts.append(Features.joined(ALL_COVARIATES, known))
    return parts


def across_groups(
    features: Features,
    patients: pd.DataFrame,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    options: ClassificationOptions,
    tick: Callable[[], None],
) -> pd.DataFrame:
    """Predict patients of each site by patients of other sites, covariate by covariate.

    Returns
    -------
    DataFrame
        ``covariate``, ``groups`` (values that it has), ``weighted_f1`` and ``weighted_f1_sd`` over
        folds, ``balanced_accuracy``; NaN and a ``note`` where that is not possible.
    """
    rows = []
    for name in patients.columns:
        if name in ("diagnosis", options.by, *NUMBERS_OF_CELLS):
            continue
        values = words_of(patients[name])
        n_groups = len(set(values.tolist()))
        if n_groups < 2 or n_groups > _MOST_GROUPS_SHARE * len(values):
            continue
        row: dict[str, object] = {
            "covariate": str(name),
            "groups": n_groups,
            "weighted_f1": np.nan,
            "weighted_f1_sd": np.nan,
            "balanced_accuracy": np.nan,
            "note": "",
        }
        try:
            check(labels, classes, values, options.by, str(name))
        except CohortError as error:
            row["note"] = str(error)
        else:
            found = cross_validate(
                features, labels, len(classes), options, values,
                repeats=options.curve_repeats, tick=tick,
            )  # fmt: skip
            row["weighted_f1"] = found.mean("weighted_f1")
            row["weighted_f1_sd"] = found.sd("weighted_f1")
            row["balanced_accuracy"] = found.mean("balanced_accuracy")
        rows.append(row)
    columns = ["covariate", "groups", "weighted_f1", "weighted_f1_sd", "balanced_accuracy", "note"]
    return pd.DataFrame(rows, columns=columns)


def warnings_of(
    barcodes: Validation,
    covariates: Mapping[str, Validation],
    grouped: pd.DataFrame,
    chance: float,
    p: float | None,
    options: ClassificationOptions,
) -> tuple[str, ...]:
    """Say what the reader must know before believing the figures.

    Parameters
    ----------
    barcodes
        The classification itself.
    covariates
        Each covariate alone.
    grouped
        See `across_groups`.
    chance
        Weighted F1 that shuffled diagnoses hardly exceed.
    p
        Of the permutations; None without.
    options
        How it was done.
    """
    own, sd = barcodes.mean("weighted_f1"), _uncertainty(barcodes)
    found = []
    for name, other in covariates.items():
        value = other.mean("weighted_f1")
        if value > chance and value >= own - 2 * sd:
            subject = "All covariates together predict"
            if name != ALL_COVARIATES:
                subject = f"{name} alone predicts"
            learned = "them" if name == ALL_COVARIATES else name
            found.append(
                f"{subject} the {options.by} as well as the cells do (weighted F1 "
                f"{value:.2f}; barcodes {own:.2f} ± {sd:.2f}). The classifier may have learned "
                f"{learned}, not the disease."
            )
    for row in grouped.to_dict("records"):
        if row["note"]:
            found.append(str(row["note"]))
        elif row["weighted_f1"] < own - max(2 * sd, 0.05):
            found.append(
                f"Patients of a {row['covariate']} that the model has not seen are predicted worse: "
                f"weighted F1 {row['weighted_f1']:.2f} instead of {own:.2f}."
            )
    if p is not None and p > 0.05:
        found.append(
            f"This is not better than chance: shuffled, the {options.by} is predicted as well in "
            f"{p:.0%} of all shuffles."
        )
    return tuple(found)


def notes_on_baselines(own: Validation, others: Sequence[Validation], by: str) -> list[str]:
    """Say which other descriptions of the patients tell as much as the barcodes, within error."""
    mean, sd = own.mean("weighted_f1"), _uncertainty(own)
    as_good = [
        f"{other.name} ({value:.2f})"
        for other in others
        if (value := other.mean("weighted_f1")) >= mean - sd
    ]
    if not as_good:
        return []
    return [
        f"The {by} is told as well as by the barcodes (weighted F1 {mean:.2f} ± {sd:.2f}) by "
        f"{', '.join(as_good)}: what the concepts add is that they can be looked at."
    ]


def _uncertainty(validation: Validation) -> float:
    """Give the standard error of a share of so many patients, or between repeats where that is more."""
    means = validation.folds.groupby("repeat")["weighted_f1"].mean()
    share = min(max(float(means.mean()), 0.05), 0.95)  # all right, or none, is not certain either
    between = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    return max(between, float(np.sqrt(share * (1 - share) / validation.probabilities.shape[1])))
