"""Whether what activates one concept looks alike."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.errors import TrainingError


def monosemanticity(
    profiles: csr_array | NDArray[np.float32], embeddings: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Give each concept's monosemanticity score.

    ``MS = Σ_{n<m} ã_n ã_m s_nm / Σ_{n<m} ã_n ã_m``, where ã are a concept's activations over
    images, scaled to 0 … 1, and s_nm is the cosine of the embeddings of images n and m (Pach et al.
    2025, "Sparse Autoencoders Learn Monosemantic Features in Vision-Language Models"). In
    the paper, the embeddings come from another encoder than the one that is explained.

    Parameters
    ----------
    profiles
        (images, concepts), not negative.
    embeddings
        (images, d); need not have length one.

    Returns
    -------
    (concepts,) float64
        NaN for concepts that are active on fewer than two images.

    Raises
    ------
    TrainingError
        The two are not about the same images, or an embedding is zero or no number.
    """
    if len(embeddings) != profiles.shape[0]:
        raise TrainingError(
            f"There are {profiles.shape[0]} profiles, but {len(embeddings)} embeddings."
        )
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise TrainingError("Embeddings must be numbers, and none of them zero.")
    unit = embeddings / lengths
    a = csr_array(profiles, dtype=np.float64).tocsc()
    if a.nnz and a.data.min() < 0:
        raise TrainingError("Activations must not be negative.")
    scaled = _between_0_and_1(a)
    # Σ_{n≠m} ã_n ã_m e_n · e_m = ‖Σ ã_n e_n‖² − Σ ã_n², as unit vectors have s_nn = 1.
    own = np.asarray(scaled.multiply(scaled).sum(0)).ravel()
    total = np.asarray(scaled.sum(0)).ravel()
    together = ((scaled.T @ unit) ** 2).sum(1)
    pairs = total**2 - own
    score = np.full(a.shape[1], np.nan)
    # One active image leaves no pair but rounding.
    there = np.diff(scaled.tocsc().indptr) > 1
    there &= pairs > 0
    score[there] = (together[there] - own[there]) / pairs[there]
    return score


def _between_0_and_1(a: csr_array) -> csr_array:
    """Scale each column to its range. Sparse columns have zeros; dense ones lose their minimum."""
    n = a.shape[0]
    top = np.asarray(a.max(0).todense()).ravel() if a.nnz else np.zeros(a.shape[1])
    full = np.diff(a.indptr) == n
    low = np.zeros(a.shape[1])
    for column in np.flatnonzero(full):
        low[column] = a.data[a.indptr[column] : a.indptr[column + 1]].min()
    columns = np.repeat(np.arange(a.shape[1]), np.diff(a.indptr))
    span = np.where(top > low, top - low, 1)
    scaled = a.copy()
    scaled.data = (a.data - low[columns]) / span[columns]
    scaled.eliminate_zeros()
    return scaled
