"""The cells that show each concept best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.measures import NO_LABEL
from napari_cytosae.concepts.cell import GRID

NO_SOURCE = -1
NO_PATCH = -1


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """For each concept the k cells or images with the largest mean over tokens, largest first.

    Parameters
    ----------
    values
        (d_sae, k) float64 image scores; 0 where fewer than k images have any.
    sources
        (d_sae, k) int32 row of the data set's sources; `NO_SOURCE` in published sets.
    cells
        (d_sae, k) int64 label of the cell in its run; in published sets the image's index.
    patches
        (d_sae, k) int16 where the concept is largest, ``16 * row + column``; `NO_PATCH` where that
        is not known or only the class token has the concept.
    labels
        (d_sae, k) int32 index into the data set's classes; `NO_LABEL` without one.
    """

    values: NDArray[np.float64]
    sources: NDArray[np.int32]
    cells: NDArray[np.int64]
    patches: NDArray[np.int16]
    labels: NDArray[np.int32]

    @classmethod
    def empty(cls, d_sae: int, k: int) -> "References":
        """Give places that nothing fills yet."""
        shape = (d_sae, k)
        return cls(
            np.zeros(shape),
            np.full(shape, NO_SOURCE, np.int32),
            np.full(shape, -1, np.int64),
            np.full(shape, NO_PATCH, np.int16),
            np.full(shape, NO_LABEL, np.int32),
        )

    @property
    def k(self) -> int:
        """Places for each concept."""
        return int(self.values.shape[1])

    @property
    def filled(self) -> NDArray[np.bool_]:
        """(d_sae, k) which places hold a cell."""
        return self.values > 0

    def patch_places(
        self, at: tuple[NDArray[np.intp], NDArray[np.intp]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Give row and column of some references' patches, and whether each is known."""
        patches = self.patches[at].astype(np.int64)
        return patches // GRID, patches % GRID, patches != NO_PATCH

    def first(self, k: int) -> "References":
        """Give the first k places only."""
        return References(
            self.values[:, :k],
            self.sources[:, :k],
            self.cells[:, :k],
            self.patches[:, :k],
            self.labels[:, :k],
        )

    def hubs(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Count for each image in how many concepts' references it stands.

        One image that fills thousands of lists says more about itself (blurred, crowded, stained
        oddly) than about those concepts.

        Returns
        -------
        sources : (n,) int32
        cells : (n,) int64
        places : (n,) int64
            How many lists the image is in; the largest first.
        """
        filled = self.filled
        pairs = np.stack([self.sources[filled].astype(np.int64), self.cells[filled]], axis=1)
        if not len(pairs):
            none = np.zeros(0, np.int64)
            return none.astype(np.int32), none, none
        images, counts = np.unique(pairs, axis=0, return_counts=True)
        order = np.lexsort((images[:, 1], images[:, 0], -counts))
        return images[order, 0].astype(np.int32), images[order, 1], counts[order]
