"""Cohorts whose truth is known: planted disease concepts, sites, and cells that are rare."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit

from napari_cytosae.cohorts.barcodes import Barcodes, build_barcodes
from napari_cytosae.cohorts.cell_table import CellTable
from napari_cytosae.cohorts.sums import Sums
from napari_cytosae.cohorts.table import Cohort, Patient
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.errors import CohortError

THRESHOLD = 0.2


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What a made cohort is like.

    Parameters
    ----------
    patients
        How many patients each diagnosis has. The first diagnosis is the control: nothing is planted
        in it.
    n_concepts
        Concepts, all told.
    n_planted
        Concepts that each diagnosis but the first has in more of its cells.
    log_odds
        By how much: added to the log-odds that a cell shows a planted concept.
    between_patients
        Standard deviation of the log-odds between patients of one diagnosis.
    median_cells, spread_cells
        Median, and standard deviation of the logarithm, of the number of cells per patient.
    n_sites
        Sites that patients come from.
    site_log_odds
        Standard deviation of what a site adds to the log-odds of a quarter of the concepts.
    confounding
        0: a patient's site is drawn at random. 1: the diagnosis decides it.
    rare_one_in
        In patients of the second diagnosis one cell in so many (at least one) shows a concept that
        no other cell has; 0 for none.
    """

    patients: Mapping[str, int] = field(
        default_factory=lambda: {"healthy": 20, "disease A": 20, "disease B": 20}
    )
    n_concepts: int = 400
    n_planted: int = 10
    log_odds: float = 1.2
    between_patients: float = 0.4
    median_cells: float = 200.0
    spread_cells: float = 0.8
    n_sites: int = 1
    site_log_odds: float = 0.0
    confounding: float = 0.0
    rare_one_in: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticCohort:
    """A made cohort and the truth about it.

    Parameters
    ----------
    barcodes
        What an extraction would give; the covariate ``site`` with it.
    cells
        Each patient's cells, labelled from 1.
    planted
        Ids of the concepts that each diagnosis has more of.
    of_sites
        Ids of the concepts that sites change.
    rare_concept
        Id of the concept of the rare cells, None without.
    rare_cells
        Patient ids and labels of the rare cells.
    """

    barcodes: Barcodes
    cells: tuple[CellTable, ...]
    planted: Mapping[str, NDArray[np.int64]]
    of_sites: NDArray[np.int64]
    rare_concept: int | None
    rare_cells: frozenset[tuple[str, int]]


def make_cohort(options: SyntheticOptions | None = None, seed: int = 0) -> SyntheticCohort:
    """Draw a cohort.

    A cell shows a concept with a probability whose log-odds are the concept's own, plus the
    patient's, the site's and, where it is planted, the diagnosis'. Where it is shown, the number of
    tokens above τ and the values are drawn the same way for all.

    Parameters
    ----------
    options
        What it is like.
    seed
        The same seed draws the same cohort.

    Raises
    ------
    CohortError
        Where more concepts are to be planted than there are.
    """
    options = options or SyntheticOptions()
    rng = np.random.default_rng(seed)
    n = options.n_concepts
    diagnoses = list(options.patients)
    needed = options.n_planted * (len(diagnoses) - 1) + bool(options.rare_one_in)
    if needed > n:
        raise CohortError(f"{needed} concepts are to be planted, and there are {n} in all.")
    base = logit(rng.beta(0.8, 8.0, n).clip(0.01, 0.9))
    free = rng.permutation(n)
    rare = int(free[-1]) if options.rare_one_in else None
    planted = {
        name: np.sort(free[k * options.n_planted : (k + 1) * options.n_planted])
        for k, name in enumerate(diagnoses[1:])
    }
    site_effects = np.zeros((options.n_sites, n))
    of_sites = np.sort(rng.choice(n, n // 4, replace=False))
    site_effects[:, of_sites] = rng.normal(
        0.0, options.site_log_odds, (options.n_sites, of_sites.size)
    )
    tokens = rng.uniform(2.0, 40.0, n)
    patients: list[Patient] = []
    sums: list[Sums] = []
    tables: list[CellTable] = []
    rare_cells: set[tuple[str, int]] = set()
    for d, (diagnosis, count) in enumerate(options.patients.items()):
        for _ in range(count):
            row = len(patients)
            decided = rng.random() < options.confounding
            site = d % options.n_sites if decided else int(rng.integers(options.n_sites))
            n_cells = max(
                5, round(options.median_cells * np.exp(options.spread_cells * rng.normal()))
            )
            odds = base + site_effects[site] + rng.normal(0.0, options.between_patients, n)
            odds[planted.get(diagnosis, np.zeros(0, int))] += options.log_odds
            shown = rng.random((n_cells, n)) < expit(odds)
            name = f"{diagnosis} {row:03d}"
            if rare is not None:
                shown[:, rare] = False
                if d == 1:
                    which = rng.choice(n_cells, max(1, round(n_cells / options.rare_one_in)), False)
                    shown[which, rare] = True
                    rare_cells |= {(name, int(cell) + 1) for cell in which}
            table = _draw_cells(shown, tokens, rng)
            sums.append(Sums.of_matrices(table.count, table.mean, table.maximum, table.labels, row))
            tables.append(table)
            patients.append(Patient(name, diagnosis, (Path(name),), {"site": f"site {site}"}))
    barcodes = build_barcodes(Cohort(tuple(patients), "made"), sums, THRESHOLD)
    return SyntheticCohort(barcodes, tuple(tables), planted, of_sites, rare, frozenset(rare_cells))


def _draw_cells(
    shown: NDArray[np.bool_], tokens: NDArray[np.float64], rng: np.random.Generator
) -> CellTable:
    cells, concepts = np.nonzero(shown)
    count = 1 + rng.poisson(tokens[concepts]).clip(max=N_TOKENS - 1)
    mean_above = 0.2 + rng.gamma(2.0, 0.2, cells.size)
    largest = mean_above * (1 + rng.random(cells.size))

    def matrix(values: NDArray[np.generic]) -> csr_array:
        return csr_array((values, (cells, concepts)), shape=shown.shape)

    return CellTable(
        matrix(count),
        matrix(count * mean_above / N_TOKENS),
        matrix(largest),
        np.arange(1, len(shown) + 1),
    )
