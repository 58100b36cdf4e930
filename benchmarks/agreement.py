"""How far two encodings of the same cells agree, by the measures of the project's speed table."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from napari_cytosae.concepts import EncodedBatch

TAU = 0.2  # the paper's threshold of presence at a token
LEAST_TOP10 = 0.98
LEAST_COSINE = 0.9999
MOST_FLIPS = 0.03


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two encodings of the same cells have in common.

    Parameters
    ----------
    cells
        Number of cells that have a concept.
    top10
        Mean share of a cell's ten strongest concepts that are the other's as well.
    all_ten
        Share of cells where all ten are the same.
    cosine, least_cosine
        Mean and least cosine of the cells' profiles (mean activation over tokens).
    flips
        Of the (token, concept) pairs above τ in either encoding, the share not in both.
    """

    cells: int
    top10: float
    all_ten: float
    cosine: float
    least_cosine: float
    flips: float

    @property
    def holds(self) -> bool:
        """Whether every bar is met."""
        return self.top10 >= LEAST_TOP10 and self.cosine >= LEAST_COSINE and self.flips < MOST_FLIPS


def agreement(exact: list[EncodedBatch], other: list[EncodedBatch]) -> Agreement:
    """Compare two encodings, batch by batch, of the same cells in the same order."""
    shares, cosines = [], []
    above_either = above_both = 0
    for one, two in zip(exact, other, strict=True):
        first, second = one.activations > TAU, two.activations > TAU
        both = int(first.multiply(second).sum())
        above_both += both
        above_either += int(first.sum()) + int(second.sum()) - both
        for cell, rounded in zip(one.cells(), two.cells(), strict=True):
            mine, its = ({c.concept_id for c in x.active_concepts(k=10)} for x in (cell, rounded))
            if mine:
                shares.append(len(mine & its) / len(mine))
        profiles = [_profiles(batch) for batch in (one, two)]
        lengths = [np.sqrt(p.power(2).sum(axis=1)) for p in profiles]
        dots = profiles[0].multiply(profiles[1]).sum(axis=1)
        cosines += list(dots / np.maximum(lengths[0] * lengths[1], 1e-30))
    return Agreement(
        cells=len(shares),
        top10=float(np.mean(shares)),
        all_ten=float(np.mean([share == 1.0 for share in shares])),
        cosine=float(np.mean(cosines)),
        least_cosine=float(np.min(cosines)),
        flips=1.0 - above_both / max(above_either, 1),
    )


def _profiles(batch: EncodedBatch) -> csr_array:
    tokens, n = batch.activations.shape[0], len(batch)
    each = tokens // n
    sums = csr_array(
        (np.full(tokens, 1.0 / each), (np.arange(tokens) // each, np.arange(tokens))), (n, tokens)
    )
    return csr_array(sums @ batch.activations.astype(np.float64))
