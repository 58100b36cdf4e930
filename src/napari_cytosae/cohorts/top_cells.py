"""The cells that show each concept best, merged from many images without keeping all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TopCells:
    """For each concept a few cells, the best first; a flat table.

    Parameters
    ----------
    k
        Cells kept for each concept.
    concept_ids
        (n,) int64, ascending.
    values
        (n,) float32 means over tokens, descending within a concept.
    images
        (n,) int32 row of the cohort's images.
    labels
        (n,) int64 label of the cell in its run.
    """

    k: int
    concept_ids: NDArray[np.int64]
    values: NDArray[np.float32]
    images: NDArray[np.int32]
    labels: NDArray[np.int64]

    @classmethod
    def none(cls) -> "TopCells":
        """Give the table without any cell."""
        return cls.of([], [], [], 0, 0)

    @classmethod
    def of(
        cls,
        concept_ids: ArrayLike,
        values: ArrayLike,
        labels: ArrayLike,
        images: ArrayLike,
        k: int,
    ) -> "TopCells":
        """Choose the best of many cells; ties go to the earlier image, then the smaller label."""
        ids = np.asarray(concept_ids, np.int64)
        strengths = np.asarray(values, np.float32)
        label = np.asarray(labels, np.int64)
        image = np.broadcast_to(np.asarray(images, np.int32), ids.shape)
        order = np.lexsort((label, image, -strengths, ids))
        order = order[strengths[order] > 0]
        rank = np.arange(order.size) - np.searchsorted(ids[order], ids[order])
        best = order[rank < k]
        return cls(k, ids[best], strengths[best], image[best].astype(np.int32), label[best])

    def __len__(self) -> int:
        return len(self.concept_ids)

    def merged(self, other: "TopCells") -> "TopCells":
        """Keep the best of two tables."""
        return TopCells.of(
            np.concatenate([self.concept_ids, other.concept_ids]),
            np.concatenate([self.values, other.values]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.images, other.images]),
            max(self.k, other.k),
        )

    def of_concept(self, concept_id: int) -> "TopCells":
        """Give the cells of one concept."""
        first, last = np.searchsorted(self.concept_ids, [concept_id, concept_id + 1])
        chosen = slice(int(first), int(last))
        return TopCells(
            self.k,
            self.concept_ids[chosen],
            self.values[chosen],
            self.images[chosen],
            self.labels[chosen],
        )
