"""How far reviewers agree, beyond what chance would bring, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.review.sheet import RATINGS, ReviewSheet
from napari_cytosae.errors import NamesError

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Kappa:
    """A chance-corrected agreement.

    Parameters
    ----------
    value
        1 where all agree, 0 where they do as chance would; NaN where everybody always says the
        same one thing, and chance cannot be told from agreement.
    low, high
        95 % interval: percentiles over concepts drawn anew with replacement.
    concepts
        How many it rests on.
    """

    value: float
    low: float
    high: float
    concepts: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far several reviewers agree.

    Parameters
    ----------
    reviewers
        Their names, in the order of the sheets.
    pairs
        Cohen's kappa of each two of them, over the concepts that both have rated.
    fleiss
        Fleiss' kappa of all, over the concepts that all have rated; None for fewer than two.
    shares
        Of all ratings, the share of each of `RATINGS`.
    same_name
        Over pairs of reviewers and concepts that both have named: how often the names are the same
        but for case. NaN where there are none.
    """

    reviewers: tuple[str, ...]
    pairs: dict[tuple[str, str], Kappa]
    fleiss: Kappa | None
    shares: dict[str, float]
    same_name: float


def cohen_kappa(first: Sequence[str], second: Sequence[str], *, seed: int = 0) -> Kappa:
    """Compute Cohen's kappa of two raters.

    ``κ = (p_o − p_e) / (1 − p_e)``, ``p_o`` being the share of concepts on which they agree and
    ``p_e`` that which their own frequencies would give (Cohen 1960, "A coefficient of agreement for
    nominal scales").

    Parameters
    ----------
    first, second
        (n,) ratings of the same concepts.
    seed
        Of the interval's draws.

    Raises
    ------
    NamesError
        Nothing is rated.
    """
    if not len(first):
        raise NamesError("Cohen's kappa needs at least one concept that both have rated.")
    names = sorted({*first, *second})
    codes = np.array([[names.index(a), names.index(b)] for a, b in zip(first, second, strict=True)])
    size = len(names)

    def kappa(rows: NDArray[np.int64]) -> float:
        table = np.zeros((size, size))
        np.add.at(table, (rows[:, 0], rows[:, 1]), 1)
        table /= table.sum()
        return _corrected(float(np.trace(table)), float(table.sum(1) @ table.sum(0)))

    return _with_interval(codes.reshape(-1, 2), kappa, seed)


def fleiss_kappa(counts: NDArray[np.integer], *, seed: int = 0) -> Kappa:
    """Compute Fleiss' kappa of any number of raters.

    With n ratings of each concept, ``P_i = (Σ_j n_ij² − n) / (n (n − 1))`` and ``p_j`` the share of
    all ratings that are j: ``κ = (mean P − Σ p_j²) / (1 − Σ p_j²)`` (Fleiss 1971, "Measuring nominal
    scale agreement among many raters").

    Parameters
    ----------
    counts
        (concepts, categories): how many raters said what; all rows have the same sum, at least 2.
    seed
        Of the interval's draws.

    Raises
    ------
    NamesError
        Concepts have different numbers of ratings, or fewer than two.
    """
    table = np.asarray(counts, np.float64)
    raters = table.sum(1)
    if not len(table) or (raters != raters[0]).any() or raters[0] < 2:
        raise NamesError("Fleiss' kappa needs as many ratings of each concept, and at least two.")
    n = float(raters[0])

    def kappa(rows: NDArray[np.float64]) -> float:
        observed = float(((rows**2).sum(1) - n).mean() / (n * (n - 1)))
        shares = rows.sum(0) / rows.sum()
        return _corrected(observed, float((shares**2).sum()))

    return _with_interval(table, kappa, seed)


def compare_sheets(sheets: Sequence[ReviewSheet], *, seed: int = 0) -> Agreement:
    """Compare what reviewers said of the same concepts.

    Raises
    ------
    NamesError
        There are fewer than two, they are of different autoencoders or of different concepts, or
        two are of one reviewer.
    """
    if len(sheets) < 2:
        raise NamesError("Agreement needs the sheets of two reviewers or more.")
    if len({sheet.sae_digest for sheet in sheets if sheet.sae_digest}) > 1:
        raise NamesError("These sheets are of different autoencoders: their concepts differ.")
    names = tuple(sheet.reviewer for sheet in sheets)
    if len(set(names)) < len(names):
        raise NamesError("Two sheets are of one reviewer; say in each who filled it in.")
    if len({frozenset(sheet.concepts) for sheet in sheets}) > 1:
        raise NamesError("These sheets are of different reviews: they ask for different concepts.")
    ratings = [sheet.ratings() for sheet in sheets]
    pairs = {}
    for (one, a), (other, b) in combinations(zip(names, ratings, strict=True), 2):
        both = sorted(a.keys() & b.keys())
        if both:
            pairs[one, other] = cohen_kappa([a[c] for c in both], [b[c] for c in both], seed=seed)
    whole = sorted(set.intersection(*(set(each) for each in ratings)))
    counts = np.array(
        [[sum(each[c] == name for each in ratings) for name in RATINGS] for c in whole], int
    )
    fleiss = fleiss_kappa(counts, seed=seed) if len(whole) else None
    every = [rating for each in ratings for rating in each.values()]
    same = [
        a.answers[c].name.casefold() == b.answers[c].name.casefold()
        for a, b in combinations(sheets, 2)
        for c in a.answers.keys() & b.answers.keys()
        if a.answers[c].name and b.answers[c].name
    ]
    return Agreement(
        names,
        pairs,
        fleiss,
        {name: every.count(name) / max(len(every), 1) for name in RATINGS},
        float(np.mean(same)) if same else float("nan"),
    )


def _corrected(observed: float, expected: float) -> float:
    return float("nan") if expected >= 1 else (observed - expected) / (1 - expected)


def _with_interval(rows: NDArray[Any], kappa: Callable[[NDArray[Any]], float], seed: int) -> Kappa:
    rng = np.random.default_rng(seed)
    drawn = [kappa(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(RESAMPLES)]
    known = [value for value in drawn if np.isfinite(value)]
    low, high = np.quantile(known, (0.025, 0.975)) if known else (np.nan, np.nan)
    return Kappa(kappa(rows), float(low), float(high), len(rows))
