"""Sparse activations: what is left of tokens × concepts once the zeros are gone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SparseActivations:
    """Activations in compressed sparse rows, one row per token, concepts ascending in a row.

    Parameters
    ----------
    indptr
        (tokens + 1,) int64: row r's entries are ``indptr[r]`` to ``indptr[r + 1]``.
    indices
        (entries,) int32: concept ids.
    values
        (entries,) float32: activations, all above the threshold.
    shape
        (tokens, concepts).
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    shape: tuple[int, int]

    def to_dense(self) -> NDArray[np.float32]:
        """Write the zeros out: (tokens, concepts) float32."""
        dense = np.zeros(self.shape, np.float32)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        dense[rows, self.indices] = self.values
        return dense
