"""Choose a few cells that together show what a run holds."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist, squareform

# Distances between all pairs are held in memory; more cells are sampled down to this many first.
_MOST_COMPARED = 600


def typical_cells(profiles: csr_array, k: int = 8, seed: int = 0) -> NDArray[np.intp]:
    """Group cells by profile, and take from each group the one nearest to the others.

    A group's middle is a better picture of it than an extreme one, which tends to be debris.

    Parameters
    ----------
    profiles
        (cells, concepts): each cell's mean activation over its tokens.
    k
        Most cells to return.
    seed
        Of the sample that is taken where there are very many cells.

    Returns
    -------
    NDArray
        Row numbers, those of the largest group first; fewer than `k` where there are fewer cells.
    """
    n_cells = profiles.shape[0]
    rows = np.arange(n_cells)
    if n_cells <= k:
        return rows
    if n_cells > _MOST_COMPARED:
        sample = np.random.default_rng(seed).choice(n_cells, _MOST_COMPARED, replace=False)
        rows = np.sort(sample)
    used = profiles[rows]
    dense = used[:, np.unique(used.indices)].toarray().astype(np.float64)
    # The square root keeps a few strong concepts from deciding alone (Hellinger's distance, once
    # each profile has length 1). A cell without any active concept stays at the origin.
    dense = np.sqrt(dense / np.maximum(dense.sum(axis=1, keepdims=True), 1e-12))
    distances = pdist(dense)
    groups = fcluster(linkage(distances, "average"), k, "maxclust")
    between = squareform(distances)
    chosen: list[tuple[int, int]] = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        middle = members[between[np.ix_(members, members)].sum(axis=1).argmin()]
        chosen.append((-len(members), int(rows[middle])))
    return np.array([row for _, row in sorted(chosen)], np.intp)
