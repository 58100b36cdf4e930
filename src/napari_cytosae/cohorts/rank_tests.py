"""Rank tests of many concepts at once, and what many tests at once mean."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from napari_cytosae.errors import CohortError

MOST_ENUMERATED = 20_000
"""Up to so many ways to deal patients to groups, all are looked at: p-values are exact, ties and all."""

_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class RankTest:
    """Two groups of patients, compared concept by concept.

    Parameters
    ----------
    u
        (n,) Mann–Whitney's U of the first group: pairs in which its patient has the larger value,
        ties half; over strata added up.
    delta
        (n,) Cliff's delta, 2 U / (n₁ n₂) − 1, the rank-biserial correlation: −1 … 1.
    z
        (n,) U in standard deviations from what chance gives, corrected for ties; over strata van
        Elteren's statistic. 0 where all values are equal.
    p
        (n,) two-sided. Exact where there are few ways to deal the patients (`exact`), else by the
        normal approximation with continuity correction.
    exact
        Whether p-values are exact.
    """

    u: NDArray[np.float64]
    delta: NDArray[np.float64]
    z: NDArray[np.float64]
    p: NDArray[np.float64]
    exact: bool


def rank_test(values: ArrayLike, first: ArrayLike, strata: ArrayLike | None = None) -> RankTest:
    """Compare two groups by the Wilcoxon–Mann–Whitney test, within strata by van Elteren's.

    Parameters
    ----------
    values
        (patients, n) values.
    first
        (patients,) bool: the first group; all others are the second.
    strata
        (patients,) labels: patients are compared with patients of their own stratum only (of one
        site, say). Strata without patients of both groups say nothing.

    Raises
    ------
    CohortError
        Where a group is empty, or no stratum has patients of both.
    """
    ranks = _Ranks(values, first, strata)
    u, delta, z = ranks.u(), ranks.delta(), ranks.z(ranks.first)[0]
    exact = ranks.n_deals <= MOST_ENUMERATED
    if not exact:
        p = 2 * norm.sf(np.maximum(np.abs(z) - ranks.continuity, 0.0))
        return RankTest(u, delta, z, np.minimum(p, 1.0), exact)
    extreme = np.zeros(z.size)
    for deals in ranks.all_deals():
        # Ranks are halves and weights are not: equal statistics may differ in the last bit.
        extreme += (np.abs(ranks.z(deals)) >= np.abs(z) - 1e-9).sum(axis=0)
    return RankTest(u, delta, z, extreme / ranks.n_deals, exact)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Give q-values: the least false discovery rate at which each test counts as a discovery.

    Benjamini and Hochberg 1995; p-values that are not numbers stay so and are not counted.
    """
    values = np.asarray(p, np.float64)
    q = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known])]
    scaled = values[order] * order.size / np.arange(1, order.size + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def family_wise_p(
    values: ArrayLike,
    first: ArrayLike,
    strata: ArrayLike | None = None,
    *,
    n_permutations: int = 2000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each concept with the most different concept that chance brings about.

    Patients are dealt to the groups anew, within strata, and each time the largest absolute z
    over all concepts is noted (Westfall and Young's single step): dependence between concepts is kept.

    Parameters
    ----------
    values, first, strata
        See `rank_test`.
    n_permutations
        Deals; where there are no more than that, each is looked at once.
    seed
        Of the deals.

    Returns
    -------
    p : (n,) float64
        Share of deals in which any concept differs as much; with the deal that was found. NaN
        without any deals.
    null : (deals,) float64
        The largest absolute z of each deal.
    """
    ranks = _Ranks(values, first, strata)
    if n_permutations < 1:
        return np.full(np.shape(values)[1], np.nan), np.zeros(0)
    everything = ranks.n_deals <= n_permutations
    deals = ranks.all_deals() if everything else ranks.random_deals(n_permutations, seed)
    null = np.concatenate([np.abs(ranks.z(batch)).max(axis=1, initial=0.0) for batch in deals])
    found = np.abs(ranks.z(ranks.first)[0])
    at_least = null.size - np.searchsorted(np.sort(null), found - 1e-9)
    p = at_least / null.size if everything else (at_least + 1) / (null.size + 1)
    return np.asarray(p, np.float64), null


class _Ranks:
    """Ranks within strata, and the statistic of any way to deal patients to the groups."""

    def __init__(self, values: ArrayLike, first: ArrayLike, strata: ArrayLike | None) -> None:
        matrix = np.asarray(values, np.float64)
        in_first = np.asarray(first, bool)
        if not in_first.any() or in_first.all():
            raise CohortError("Two groups are compared, and one of them has no patients.")
        if not np.isfinite(matrix).all():
            raise CohortError("Values that are compared must be numbers; some are missing.")
        labels = np.zeros(len(in_first), int)
        if strata is not None:
            labels = np.unique(np.asarray(strata).astype(str), return_inverse=True)[1]
        self.rows = [
            rows
            for label in range(int(labels.max()) + 1)
            if in_first[rows := np.flatnonzero(labels == label)].any() and not in_first[rows].all()
        ]
        if not self.rows:
            raise CohortError(
                "No stratum has patients of both groups: the two cannot be told from the covariate."
            )
        self.first = in_first[np.newaxis]
        self.ranks = np.zeros_like(matrix)
        self.n_first = [int(in_first[rows].sum()) for rows in self.rows]
        variance = np.zeros(matrix.shape[1])
        self.expected = np.zeros(matrix.shape[1])
        self.weights = np.zeros(len(in_first))
        step = np.inf
        for rows, n1 in zip(self.rows, self.n_first, strict=True):
            n = rows.size
            ranks = rankdata(matrix[rows], axis=0)
            self.ranks[rows] = ranks
            weight = 1 / (n + 1)
            self.weights[rows] = weight
            self.expected += weight * n1 * (n + 1) / 2
            # Variance of a rank sum with ties, from the ranks themselves.
            spread = ranks.var(axis=0, ddof=1)
            variance += weight**2 * n1 * (n - n1) / n * spread
            step = min(step, weight)
        self.scale = np.sqrt(np.maximum(variance, 0.0))
        self._step = step

    @property
    def n_deals(self) -> int:
        deals = 1
        for rows, n1 in zip(self.rows, self.n_first, strict=True):
            deals *= comb(rows.size, n1)
        return deals

    @property
    def continuity(self) -> NDArray[np.float64]:
        """Half a step of U, in standard deviations."""
        safe = np.where(self.scale > 0, self.scale, np.inf)
        return np.asarray(0.5 * self._step / safe)

    def z(self, deals: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(deals, patients) → (deals, n)."""
        sums = (deals * self.weights) @ self.ranks
        distance = sums - self.expected
        # Constant concepts have no spread, and rounding makes none.
        varies = self.scale > 1e-12
        return np.where(varies, distance / np.where(varies, self.scale, 1.0), 0.0)

    def u(self) -> NDArray[np.float64]:
        total = np.zeros(self.ranks.shape[1])
        for rows, n1 in zip(self.rows, self.n_first, strict=True):
            total += self.first[0, rows] @ self.ranks[rows] - n1 * (n1 + 1) / 2
        return total

    def delta(self) -> NDArray[np.float64]:
        pairs = sum(n1 * (rows.size - n1) for rows, n1 in zip(self.rows, self.n_first, strict=True))
        return 2 * self.u() / pairs - 1

    def all_deals(self) -> Iterator[NDArray[np.bool_]]:
        """Every way to deal the patients to the groups, in batches."""
        batch: list[NDArray[np.bool_]] = []
        for chosen in self._products(0):
            deal = np.zeros(self.first.shape[1], bool)
            deal[chosen] = True
            batch.append(deal)
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    def _products(self, stratum: int) -> Iterator[list[int]]:
        if stratum == len(self.rows):
            yield []
            return
        for members in combinations(self.rows[stratum].tolist(), self.n_first[stratum]):
            for others in self._products(stratum + 1):
                yield [*members, *others]

    def random_deals(self, count: int, seed: int) -> Iterator[NDArray[np.bool_]]:
        """Deals drawn at random, in batches."""
        rng = np.random.default_rng(seed)
        for start in range(0, count, _BATCH):
            size = min(_BATCH, count - start)
            deals = np.zeros((size, self.first.shape[1]), bool)
            for rows, n1 in zip(self.rows, self.n_first, strict=True):
                order = rng.random((size, rows.size)).argsort(axis=1)[:, :n1]
                np.put_along_axis(deals, rows[order], True, axis=1)
            yield deals
