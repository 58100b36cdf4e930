"""Patients dealt to folds: every class in every fold where that can be, groups never torn apart."""

import warnings

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cohorts.table import named
from napari_cytosae.errors import CohortError

Split = tuple[NDArray[np.int64], NDArray[np.int64]]

FEWEST = 3
"""Patients (or groups) of a class without which nothing can be cross-validated twice over."""


def deal(
    labels: NDArray[np.int64],
    groups: NDArray[np.object_] | None,
    folds: int,
    seed: int,
) -> list[Split]:
    """Split patients into folds.

    Parameters
    ----------
    labels
        (patients,) classes.
    groups
        (patients,) groups that stay together, or None.
    folds
        How many; fewer where the rarest class has fewer patients, or groups.
    seed
        Of the deal.

    Returns
    -------
    list of (fitted, left out) rows
        Empty where two folds are not possible.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = min(folds, _rarest(labels, groups))
    if count < 2:
        return []
    if groups is None:
        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
        splits = splitter.split(labels, labels)
    else:
        # Beyond what both classes and groups allow, groups win; sklearn warns where a fold lacks one.
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        splits = splitter.split(labels, labels, groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [
            (fitted.astype(np.int64), left.astype(np.int64))
            for fitted, left in splits
            if left.size and np.unique(labels[fitted]).size > 1
        ]


def check(
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    groups: NDArray[np.object_] | None,
    by: str,
    group_name: str | None,
) -> None:
    """Refuse what cannot be cross-validated, in words.

    Raises
    ------
    CohortError
        Where there are fewer than two classes, or a class has too few patients or groups.
    """
    if len(classes) < 2:
        raise CohortError(
            f"All patients have one {by} ({named(classes) or 'none'}); telling apart needs two."
        )
    few = [
        f"{name} ({np.sum(labels == k)})"
        for k, name in enumerate(classes)
        if np.sum(labels == k) < FEWEST
    ]
    if few:
        raise CohortError(
            f"Too few patients of {named(few)}: each {by} needs {FEWEST} or more. Leave it out, "
            "or put it together with another."
        )
    if groups is None:
        return
    torn = [
        f"{name} ({named(sorted(set(groups[labels == k].tolist())))})"
        for k, name in enumerate(classes)
        if len(set(groups[labels == k].tolist())) < 2
    ]
    if torn:
        raise CohortError(
            f"All patients of {named(torn)} have one {group_name}: what the {by} does and what the "
            f"{group_name} does cannot be told apart in this cohort."
        )


def _rarest(labels: NDArray[np.int64], groups: NDArray[np.object_] | None) -> int:
    present = np.unique(labels)
    if groups is None:
        return int(min(np.sum(labels == k) for k in present))
    return min(len(set(groups[labels == k].tolist())) for k in present)
