"""How a classification is done."""

from dataclasses import dataclass

from napari_cytosae.cohorts.barcodes import STATISTICS, Per, Statistic
from napari_cytosae.errors import CohortError

C_GRID = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Inverse penalties to choose from. Features have variance 1 / (their number), so that the same
penalties fit ten concepts and ten thousand."""

CURVE = tuple(10.0 ** (power / 2) for power in range(-12, 1))
"""Mean activations that concepts are kept above, 1e-6 … 1, for the paper's curve."""


@dataclass(frozen=True, slots=True)
class ClassificationOptions:
    """How patients are told apart.

    Parameters
    ----------
    statistic, per
        Which barcodes, see `Barcodes.values`.
    by
        What is predicted: ``"diagnosis"`` or a covariate of words.
    groups
        A covariate whose values are never on both sides of a fold: with the site, every patient is
        predicted by a model that has seen no patient of the same site.
    folds, repeats
        Outer folds, and how often the patients are dealt to them anew.
    inner_folds
        Folds, within the patients that are fitted to, that choose the penalty.
    c_grid
        Inverse penalties to choose from.
    min_mean_activation
        Concepts whose mean activation over the fitted patients is below are left out.
    min_patients
        Concepts that fewer of the fitted patients have are left out.
    most_concepts
        Keep so many at most: those that differ most between the classes of the fitted patients
        (Kruskal and Wallis' H).
    balanced
        Whether classes count alike whatever their numbers of patients. Probabilities are then those
        of a cohort in which all classes are equally frequent.
    n_permutations
        Shuffles of the diagnoses, each cross-validated once; 0 for none.
    curve
        Mean activations of the curve; empty for none.
    curve_repeats
        Repeats of each point of the curve, and of the comparisons by site.
    seed
        The same seed deals the same folds.
    """

    statistic: Statistic = "count"
    per: Per = "cells"
    by: str = "diagnosis"
    groups: str | None = None
    folds: int = 5
    repeats: int = 10
    inner_folds: int = 3
    c_grid: tuple[float, ...] = C_GRID
    min_mean_activation: float = 0.0
    min_patients: int = 3
    most_concepts: int | None = None
    balanced: bool = True
    n_permutations: int = 100
    curve: tuple[float, ...] = CURVE
    curve_repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise CohortError(f"There is no barcode of {self.statistic}s.")
        if self.folds < 2 or self.inner_folds < 2:
            raise CohortError("Cross-validation needs two folds or more.")
        if self.repeats < 1 or self.curve_repeats < 1:
            raise CohortError("Cross-validation needs one repeat or more.")
        if not self.c_grid or min(self.c_grid) <= 0:
            raise CohortError("Inverse penalties (C) are numbers above 0; give one or more.")
        if self.most_concepts is not None and self.most_concepts < 1:
            raise CohortError("Keep one concept or more.")
        if self.n_permutations < 0 or self.min_patients < 0 or self.min_mean_activation < 0:
            raise CohortError(
                "Numbers of permutations and of patients, and mean activations, are not negative."
            )
