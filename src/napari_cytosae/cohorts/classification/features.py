"""What a classifier sees of the patients, and which of it a fold may keep."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.classification.options import ClassificationOptions
from napari_cytosae.errors import CohortError

_CATEGORIES = 12  # a number with so few values (an image's width) may be a code for something


@dataclass(frozen=True, eq=False)
class Features:
    """Patients × features.

    Parameters
    ----------
    name
        What tables call them.
    values
        (patients, n) float64.
    concept_ids
        (n,) ids where the features are concepts, else None.
    means, active
        (patients, n) for concepts: sums of the cells' means, and cells in which the concept is
        active; mean activations of any part of the patients come from them. Without `means` no mean
        activation is asked of a concept.
    """

    name: str
    values: NDArray[np.float64]
    concept_ids: NDArray[np.int64] | None = None
    means: NDArray[np.float64] | None = None
    active: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of_barcodes(cls, barcodes: Barcodes, options: ClassificationOptions) -> "Features":
        """Take the barcodes over the concepts that are active in any patient."""
        ids = barcodes.concept_ids
        return cls(
            "barcodes",
            barcodes.dense(ids, options.statistic, options.per),
            ids,
            np.asarray(barcodes.means[:, ids].toarray(), np.float64),
            np.asarray(barcodes.active[:, ids].toarray(), np.float64),
        )

    @classmethod
    def of_matrix(cls, name: str, matrix: ArrayLike, n_patients: int) -> "Features":
        """Take any other description of the patients, such as their mean raw tokens.

        Raises
        ------
        CohortError
            Where it is no matrix of finite numbers with one row per patient.
        """
        values = np.asarray(matrix, np.float64)
        if values.ndim != 2 or len(values) != n_patients or not values.shape[1]:
            shape = " × ".join(map(str, values.shape))
            raise CohortError(
                f"“{name}” is {shape or 'a number'}; give one row for each of the {n_patients} "
                "patients, in their order."
            )
        if not np.isfinite(values).all():
            raise CohortError(f"“{name}” holds values that are not numbers.")
        return cls(name, values)

    @classmethod
    def of_covariate(cls, name: str, column: pd.Series) -> "Features":
        """Take a covariate: numbers as they are, words and numbers of few values one by one."""
        return cls(name, _encode(column))

    @classmethod
    def joined(cls, name: str, parts: "list[Features]") -> "Features":
        """Put features side by side."""
        return cls(name, np.concatenate([part.values for part in parts], axis=1))

    def keep(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], options: ClassificationOptions
    ) -> NDArray[np.int64]:
        """Choose columns by what the given patients show, and nobody else.

        Parameters
        ----------
        rows
            The patients that are fitted to.
        labels
            (patients,) classes of all.
        options
            How much is kept.
        """
        values = self.values[rows]
        kept = values.max(axis=0, initial=-np.inf) > values.min(axis=0, initial=np.inf)
        if self.active is not None:
            kept &= (values > 0).sum(axis=0) >= min(options.min_patients, len(rows))
            if self.means is not None and options.min_mean_activation > 0:
                n_active = self.active[rows].sum(axis=0)
                mean = self.means[rows].sum(axis=0) / np.maximum(n_active, 1)
                kept &= mean >= options.min_mean_activation
        columns = np.flatnonzero(kept)
        most = options.most_concepts
        if self.concept_ids is not None and most is not None and columns.size > most:
            h = kruskal_h(values[:, columns], labels[rows])
            columns = np.sort(columns[np.argsort(-h, kind="stable")[:most]])
        return columns


def kruskal_h(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Kruskal and Wallis' H of each column, corrected for ties."""
    n = len(values)
    ranks = rankdata(values, axis=0)
    middle = (n + 1) / 2
    between = np.zeros(values.shape[1])
    for label in np.unique(labels):
        own = labels == label
        between += own.sum() * (ranks[own].mean(axis=0) - middle) ** 2
    total = ((ranks - middle) ** 2).sum(axis=0)
    h: NDArray[np.float64] = (n - 1) * between / np.where(total > 0, total, 1.0)
    return h


def words_of(column: pd.Series) -> NDArray[np.object_]:
    """Give a column as words; unknown values are empty."""
    return np.array(
        ["" if value is None or value != value else str(value) for value in column], object
    )


def is_numeric(column: pd.Series) -> bool:
    """Tell whether all known values of a covariate are numbers."""
    known = [value for value in column if value is not None and value == value and value != ""]
    return bool(known) and all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in known
    )


def _encode(column: pd.Series) -> NDArray[np.float64]:
    words = words_of(column)
    parts = []
    numeric = is_numeric(column)
    if numeric:
        numbers = np.array([float(word) if word else np.nan for word in words])
        # Long tails (numbers of cells) are looked at by rank too.
        filled = np.where(np.isnan(numbers), np.nanmean(numbers), numbers)
        parts += [filled, rankdata(filled)]
    levels = sorted(set(words.tolist()))
    if len(levels) <= _CATEGORIES or not numeric:
        parts += [(words == level).astype(np.float64) for level in levels]
    elif "" in levels:
        parts.append((words == "").astype(np.float64))
    return np.stack(parts, axis=1)
