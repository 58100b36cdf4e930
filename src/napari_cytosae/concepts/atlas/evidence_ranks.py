"""Spearman's rank correlation of every measure with every concept, over sampled cells.

A concept is absent from most cells, and those are all of one rank: ranks are worked out for the
cells that have it only. Twice a mean rank is a whole number, so numerators and sums of squares are
exact.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import stdtr
from scipy.stats import rankdata

from napari_cytosae.concepts.atlas.enrichment import FALSE_DISCOVERY_RATE, benjamini_hochberg
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES, MeasuredCells

LEAST_MEASURED: Final = 20
"""Fewer cells that have the measure do not tell a correlation."""
LEAST_ACTIVE: Final = 10
"""Nor do fewer of them that have the concept."""


@dataclass(frozen=True, slots=True, eq=False)
class Correlations:
    """Spearman's ρ of each concept with each measure; NaN where too few cells tell it.

    Parameters
    ----------
    rho, p, q
        (d_sae, m) in the order of `MEASURES`: the correlation; chance of one as large or larger
        without any (two-sided, by Student's t with n − 2 degrees of freedom); false discovery rate
        over all pairs that were tested.
    cells
        (m,) int64 sampled cells that have the measure.
    active
        (d_sae, m) int32 those of them that have the concept; 0 where a pair was not tested.
    """

    rho: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    cells: NDArray[np.int64]
    active: NDArray[np.int32]

    @property
    def found(self) -> NDArray[np.bool_]:
        """(d_sae, m) which pairs are correlated at `FALSE_DISCOVERY_RATE`."""
        return np.nan_to_num(self.q, nan=1.0) <= FALSE_DISCOVERY_RATE


def correlate(sample: MeasuredCells, d_sae: int) -> Correlations:
    """Correlate the ranks of all concepts with those of all measures.

    Cells in which a measure is not possible are left out for that measure. Equal values share the
    mean of their ranks, cells without a concept among them.

    Parameters
    ----------
    sample
        Measured cells.
    d_sae
        Number of concepts.
    """
    shape = (d_sae, len(MEASURES))
    rho = np.full(shape, np.nan)
    active = np.zeros(shape, np.int32)
    known = np.isfinite(sample.measures)
    cells = known.sum(axis=0)
    ids, rows, bits = _by_concept(sample)
    tested = [place for place in range(len(MEASURES)) if cells[place] >= LEAST_MEASURED]
    groups: dict[bytes, list[int]] = {}
    for place in tested:
        groups.setdefault(known[:, place].tobytes(), []).append(place)
    for places in groups.values():
        of_group = known[:, places[0]]
        kept = of_group[rows]
        found, n_active = _rho(
            ids[kept], (np.cumsum(of_group) - 1)[rows[kept]], bits[kept],
            sample.measures[of_group][:, places], d_sae,
        )  # fmt: skip
        found[n_active < LEAST_ACTIVE] = np.nan
        rho[:, places] = found
        active[:, places] = np.where(np.isfinite(found), n_active[:, None], 0)
    p = _p_values(rho, cells)
    q = np.full(shape, np.nan)
    told = np.isfinite(p)
    q[told] = benjamini_hochberg(p[told])
    return Correlations(rho, p, q, cells.astype(np.int64), active)


def no_correlations(d_sae: int) -> Correlations:
    """Give the correlations of no cell."""
    return correlate(MeasuredCells.empty(), d_sae)


def _by_concept(
    sample: MeasuredCells,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Sort all activations by concept and then by value: concepts, rows, and both in one number."""
    rows = np.repeat(np.arange(len(sample)), np.diff(sample.indptr))
    values = sample.values.astype(np.float32)
    # Floats above 0 sort as their bits do.
    both = (sample.concept_ids.astype(np.uint64) << np.uint64(32)) | values.view(np.uint32)
    order = np.argsort(both, kind="stable")
    return sample.concept_ids[order].astype(np.int64), rows[order], both[order]


def _rho(
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
    both: NDArray[np.uint64],
    measures: NDArray[np.float64],
    d_sae: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Correlate sorted activations with measures of n cells that all have them.

    Returns
    -------
    rho : (d_sae, m) float64
        NaN where a concept or a measure is the same in all cells.
    active : (d_sae,) int64
    """
    n = len(measures)
    active = np.bincount(ids, minlength=d_sae)
    if not len(ids):
        return np.full((d_sae, measures.shape[1]), np.nan), active
    absent = n - active
    # Twice the rank: twice the place of the concept's first, plus those of the first and last of
    # equals. Absent cells come before, all with the rank (absent + 1) / 2.
    first_of = np.concatenate([[0], np.cumsum(active)])[ids]
    changes = np.flatnonzero(np.diff(both, prepend=both[:1] + np.uint64(1)))
    ends = np.append(changes[1:], len(both))
    starts, stops = (np.repeat(x, ends - changes) for x in (changes, ends))
    ranks = 2 * absent[ids] + (starts - first_of + 1) + (stops - first_of)
    above_absent = csr_array(
        (ranks - (absent[ids] + 1), (ids, rows)), shape=(d_sae, n), dtype=np.int64
    )
    of_measures = (2 * rankdata(measures, axis=0)).astype(np.int64) - (n + 1)  # sums up to 0
    products = above_absent @ of_measures
    squares = np.bincount(ids, (ranks - (n + 1.0)) ** 2, minlength=d_sae)
    squares += absent * (absent - n) ** 2.0
    spread = squares[:, None] * (of_measures**2).sum(axis=0).astype(np.float64)
    rho = np.full(products.shape, np.nan)
    np.divide(products, np.sqrt(spread), out=rho, where=spread > 0)
    return np.clip(rho, -1.0, 1.0), active


def _p_values(rho: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give two-sided p-values by Student's t with n − 2 degrees of freedom."""
    freedom = np.maximum(cells - 2, 1)
    with np.errstate(divide="ignore"):
        t = np.abs(rho) * np.sqrt(freedom / ((1.0 - rho) * (1.0 + rho)))
    p: NDArray[np.float64] = np.minimum(1.0, 2.0 * stdtr(freedom, -t))
    return p
