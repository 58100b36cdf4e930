"""Whether another training finds the same concepts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from napari_cytosae.errors import TrainingError


@dataclass(frozen=True, slots=True, eq=False)
class MatchedCosine:
    """How alike two dictionaries are.

    Parameters
    ----------
    cosine
        (n,): of each of the first dictionary's concepts to its partner in the second.
    partner
        (n,): which that is.
    """

    cosine: NDArray[np.float64]
    partner: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The mean over concepts; NaN where there are none."""
        return float(self.cosine.mean()) if len(self.cosine) else float("nan")

    def shared(self, least: float = 0.7) -> float:
        """Give the share of concepts whose partner is at least so alike.

        Paulo and Belrose 2025 ("Sparse Autoencoders Trained on the Same Data Learn Different
        Features") call concepts shared from 0.7.
        """
        return float((self.cosine >= least).mean()) if len(self.cosine) else float("nan")


def matched_cosine(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    *,
    match: Literal["hungarian", "max"] = "hungarian",
) -> MatchedCosine:
    """Match the concepts of two trainings by the cosine of their decoder rows.

    Parameters
    ----------
    first, second
        (n, d_model) and (m, d_model) decoders. Zero rows have cosine 0 with everything.
    match
        ``"hungarian"``: each concept has a partner of its own, such that the sum of cosines is
        largest (Paulo and Belrose 2025); of unequal dictionaries, the smaller one's concepts are
        matched. ``"max"``: the most alike, which several may share: mean max cosine similarity
        (Sharkey et al. 2022, "Taking features out of superposition with sparse autoencoders").
        It is the cheaper by far from about 10,000 concepts.

    Raises
    ------
    TrainingError
        The decoders do not have the same width.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise TrainingError(
            f"Decoders of shapes {first.shape} and {second.shape} cannot be compared: they must "
            "have the same width."
        )
    a, b = _unit(first), _unit(second)
    if match == "hungarian":
        cosine = a @ b.T
        rows, columns = linear_sum_assignment(cosine, maximize=True)
        return MatchedCosine(cosine[rows, columns], columns.astype(np.int64))
    best = np.full(len(a), -np.inf)
    partner = np.zeros(len(a), np.int64)
    for start in range(0, len(a), 1024):
        cosine = a[start : start + 1024] @ b.T
        partner[start : start + 1024] = cosine.argmax(1)
        best[start : start + 1024] = cosine.max(1)
    return MatchedCosine(best, partner)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1))
