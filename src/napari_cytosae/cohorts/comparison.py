"""Compare two groups of patients, concept by concept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.cohorts.barcodes import Barcodes, Per, Statistic
from napari_cytosae.cohorts.rank_tests import benjamini_hochberg, family_wise_p, rank_test
from napari_cytosae.cohorts.table import named
from napari_cytosae.errors import CohortError

REST = "all others"


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """How groups are compared.

    Parameters
    ----------
    statistic, per
        Which barcodes, see `Barcodes.values`.
    min_patients
        Concepts that fewer patients have, in both groups together, are not tested: they cannot
        differ, and every test makes the others harder. Groups are not looked at for this.
    within
        A covariate: patients are compared with patients of the same value only.
    n_permutations
        Deals of patients to groups for the family-wise p-values.
    seed
        Of the deals.
    """

    statistic: Statistic = "count"
    per: Per = "cells"
    min_patients: int = 3
    within: str | None = None
    n_permutations: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two groups, compared.

    Parameters
    ----------
    first, second
        What the groups are called.
    in_first, in_second
        (patients,) masks over the barcodes' patients.
    table
        One row per tested concept, the smallest p first: ``concept_id``; ``name`` and
        ``name_suggested``; ``mean_first``, ``mean_second`` and ``difference`` of the barcodes;
        ``delta`` (Cliff's delta, above 0 where the first group has more), ``u``, ``z``, ``p``, ``q``
        (Benjamini and Hochberg) and ``p_family`` (max-statistic of permutations);
        ``patients_first``, ``patients_second`` with the concept above τ in any cell, and
        ``cells_first``, ``cells_second``, the cells behind it.
    null
        Largest absolute z of every permutation.
    exact
        Whether ``p`` is exact or the normal approximation.
    n_concepts
        Concepts that are active in any cell of the two groups; those not tested were too rare.
    options
        How it was done.
    """

    first: str
    second: str
    in_first: NDArray[np.bool_]
    in_second: NDArray[np.bool_]
    table: pd.DataFrame
    null: NDArray[np.float64]
    exact: bool
    n_concepts: int
    options: ComparisonOptions

    def significant(self, q: float = 0.05) -> pd.DataFrame:
        """Give the rows whose q-value is at most `q`."""
        return self.table[self.table["q"] <= q]

    def top(self, k: int = 20) -> pd.DataFrame:
        """Give the k most different concepts."""
        return self.table.head(k)


def compare(
    barcodes: Barcodes,
    first: str | ArrayLike,
    second: str | ArrayLike | None = None,
    *,
    by: str = "diagnosis",
    options: ComparisonOptions | None = None,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Compare two groups of patients.

    Parameters
    ----------
    barcodes
        Of all patients.
    first, second
        Values of the column `by`, or masks over the patients. Without a second group, all patients
        that are not in the first (and whose value is known).
    by
        ``"diagnosis"`` or a covariate.
    options
        How to compare.
    names
        What to call the groups, where they are masks.

    Raises
    ------
    CohortError
        Where a group is empty or unknown, the two share patients, or no concept is left to test.
    """
    options = options or ComparisonOptions()
    in_first, name_first = _group(barcodes, first, by, "first group")
    if second is None:
        known = _column(barcodes, by) != ""
        in_second, name_second = known & ~in_first, REST
    else:
        in_second, name_second = _group(barcodes, second, by, "second group")
    if names is not None:
        name_first, name_second = names
    shared = in_first & in_second
    if shared.any():
        who = named(barcodes.patients.index[shared])
        raise CohortError(f"The two groups share patients ({who}); give groups that do not.")
    if not (in_first.any() and in_second.any()):
        empty = name_first if not in_first.any() else name_second
        raise CohortError(f"There are no patients in {empty}: a comparison needs two groups.")
    return _compare(barcodes, in_first, in_second, (name_first, name_second), options)


def _compare(
    barcodes: Barcodes,
    in_first: NDArray[np.bool_],
    in_second: NDArray[np.bool_],
    names: tuple[str, str],
    options: ComparisonOptions,
) -> Comparison:
    rows = np.flatnonzero(in_first | in_second)
    first = in_first[rows]
    chosen = barcodes.select(rows)
    values = chosen.dense(statistic=options.statistic, per=options.per)
    ids = chosen.concept_ids
    enough = (values > 0).sum(axis=0) >= options.min_patients
    if not enough.any():
        raise CohortError(
            f"No concept is active in {options.min_patients} patients: lower the number of patients "
            "that a concept needs, or compare more patients."
        )
    values, tested = values[:, enough], ids[enough]
    strata = None if options.within is None else _column(chosen, options.within)
    result = rank_test(values, first, strata)
    p_family, null = family_wise_p(
        values, first, strata, n_permutations=options.n_permutations, seed=options.seed
    )
    cells = chosen.cells[:, tested].toarray()
    columns = chosen.names.columns(chosen.d_sae)
    table = pd.DataFrame(
        {
            "concept_id": tested,
            **{name: column[tested] for name, column in columns.items()},
            "mean_first": values[first].mean(axis=0),
            "mean_second": values[~first].mean(axis=0),
            "difference": values[first].mean(axis=0) - values[~first].mean(axis=0),
            "delta": result.delta,
            "u": result.u,
            "z": result.z,
            "p": result.p,
            "q": benjamini_hochberg(result.p),
            "p_family": p_family,
            "patients_first": (cells[first] > 0).sum(axis=0),
            "patients_second": (cells[~first] > 0).sum(axis=0),
            "cells_first": cells[first].sum(axis=0),
            "cells_second": cells[~first].sum(axis=0),
        }
    )
    order = np.lexsort((tested, -np.abs(result.delta), -np.abs(result.z), result.p))
    return Comparison(
        *names,
        in_first,
        in_second,
        table.iloc[order].reset_index(drop=True),
        null,
        result.exact,
        len(ids),
        options,
    )


def correlate_patients(
    barcodes: Barcodes,
    concept_ids: ArrayLike | None = None,
    statistic: Statistic = "count",
    *,
    ranks: bool = True,
) -> NDArray[np.float64]:
    """Correlate patients' barcodes with each other, (patients, patients).

    Parameters
    ----------
    barcodes
        Of the patients.
    concept_ids
        Concepts; those active anywhere by default.
    statistic
        Which barcodes.
    ranks
        Spearman's correlation; Pearson's otherwise, which the few most frequent concepts decide.
    """
    from scipy.stats import rankdata

    values = barcodes.dense(concept_ids, statistic)
    if values.shape[1] < 2:
        raise CohortError("Patients cannot be correlated over fewer than two concepts.")
    if ranks:
        values = rankdata(values, axis=1)
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1))
    # A patient in whom all concepts are equal is like nobody, not an error.
    unit = centred / np.where(length > 0, length, 1.0)[:, np.newaxis]
    correlation: NDArray[np.float64] = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def cluster_order(correlation: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order patients so that similar ones lie side by side (average linkage, optimal leaves)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(correlation) < 3:
        return np.arange(len(correlation))
    distance = 1 - (correlation + correlation.T) / 2
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(np.maximum(distance, 0.0)), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), np.int64)


def diagnosis_order(
    diagnosis: Sequence[str], correlation: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Order patients by diagnosis, and within each by similarity."""
    labels = np.asarray(diagnosis, object)
    order = []
    for label in sorted(set(labels.tolist())):
        rows = np.flatnonzero(labels == label)
        order.append(rows[cluster_order(correlation[np.ix_(rows, rows)])])
    return np.concatenate(order)


def _group(
    barcodes: Barcodes, group: str | ArrayLike, by: str, what: str
) -> tuple[NDArray[np.bool_], str]:
    if isinstance(group, str):
        column = _column(barcodes, by)
        values = sorted({str(value) for value in column if value != ""})
        if group not in values:
            raise CohortError(f"There is no {by} “{group}”; there are {named(values, 12)}.")
        return np.asarray(column == group), group
    mask = np.asarray(group)
    if mask.dtype != bool or mask.shape != (len(barcodes),):
        raise CohortError(
            f"The {what} is given by a value of {by}, or by one True or False for each of the "
            f"{len(barcodes)} patients."
        )
    return mask, what


def _column(barcodes: Barcodes, by: str) -> NDArray[np.object_]:
    """Give a column as words; unknown values are empty."""
    if by not in barcodes.patients or by == "n_cells":
        known = named(["diagnosis", *barcodes.covariates], 12)
        raise CohortError(f"The cohort has no column “{by}”; it has {known}.")
    column = barcodes.patients[by]
    words = ["" if value is None or value != value else str(value) for value in column]
    return np.array(words, object)
