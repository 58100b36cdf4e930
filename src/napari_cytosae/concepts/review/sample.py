"""Which concepts are reviewed: some of every kind, drawn before anybody has looked."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from napari_cytosae.errors import AtlasError


def sample_concepts(
    mean_activation: NDArray[np.floating],
    frequency: NDArray[np.floating],
    *,
    clusters: int = 10,
    per_cluster: int = 5,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Draw concepts from every region of mean activation and frequency.

    Concepts are clustered by k-means over the logarithms of both, each brought to unit variance,
    and as many are drawn from each cluster (10 × 5 in the paper's expert validation).

    Parameters
    ----------
    mean_activation, frequency
        (d_sae,); concepts where either is 0 or no number are never drawn.
    clusters, per_cluster
        How many of each.
    seed
        Of the clustering, the draw and the order.

    Returns
    -------
    (n,) ids in an order that tells nothing; fewer than clusters · per_cluster where there are fewer.

    Raises
    ------
    AtlasError
        No concept is active, or a number is not possible.
    """
    if clusters < 1 or per_cluster < 1:
        raise AtlasError("A review needs at least one cluster and one concept of each.")
    mean, often = np.asarray(mean_activation, float), np.asarray(frequency, float)
    usable = np.flatnonzero(np.isfinite(mean) & np.isfinite(often) & (mean > 0) & (often > 0))
    if not len(usable):
        raise AtlasError("No concept of this atlas is active: there is nothing to review.")
    points = np.log(np.column_stack([mean[usable], often[usable]]))
    points = (points - points.mean(0)) / np.maximum(points.std(0), 1e-12)
    rng = np.random.default_rng(seed)
    count = min(clusters, len(np.unique(points, axis=0)))
    labels = KMeans(count, n_init=4, random_state=seed).fit_predict(points)
    drawn = [rng.permutation(usable[labels == cluster])[:per_cluster] for cluster in range(count)]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)
