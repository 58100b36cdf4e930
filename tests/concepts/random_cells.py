"""Cells with random activations, and dense references to compare with."""

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import N_TOKENS, CellActivations

D_SAE = 64


def random_dense(seed: int, share_active: float = 0.1) -> NDArray[np.float32]:
    """(257, D_SAE) float32 that are exact in float16, most of them 0."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 0.3, (N_TOKENS, D_SAE)) * (rng.random((N_TOKENS, D_SAE)) < share_active)
    return values.astype(np.float16).astype(np.float32)


def cell_from_dense(
    dense: NDArray[np.float32], label: int = 1, box: tuple[float, ...] = (0, 0, 32, 32)
) -> CellActivations:
    """Write a dense (257, d_sae) array as CSR, by hand."""
    tokens, concept_ids = np.nonzero(dense)
    indptr = np.zeros(N_TOKENS + 1, np.int64)
    for token in tokens:
        indptr[token + 1 :] += 1
    return CellActivations(
        label=label,
        box=np.asarray(box, np.float64),
        indptr=indptr,
        concept_ids=concept_ids.astype(np.int32),
        values=dense[tokens, concept_ids],
        d_sae=dense.shape[1],
    )
