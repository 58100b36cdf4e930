"""The concepts of one cell: which are active, how strongly, and where."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.naming.names import Names, title_of
from napari_cytosae.errors import RunError

GRID = 16
"""Patches per side of a crop: 224 px in patches of 14 px."""
N_PATCHES = GRID * GRID
N_TOKENS = 1 + N_PATCHES
"""The class token and the patches."""


@dataclass(frozen=True, slots=True)
class ActiveConcept:
    """One concept that is active in a cell, or at one patch of it.

    Parameters
    ----------
    concept_id
        The concept's index in the SAE.
    activation
        Mean over all 257 tokens of the cell, class token included (the paper's image score); where
        a patch was asked for, the value at that patch.
    maximum
        Largest value over the tokens of the cell.
    patch_share
        Share of the 256 patches where the concept is active (above 0); the class token is no patch.
    run_frequency
        Share of the run's cells in which the concept is active at any token; NaN without a run.
    name
        The concept's name, empty where it has none.
    suggested
        Whether the name is a suggestion that no person stands behind.
    """

    concept_id: int
    activation: float
    maximum: float
    patch_share: float
    run_frequency: float
    name: str
    suggested: bool = False

    @property
    def title(self) -> str:
        """Number and name, a suggested one marked."""
        return title_of(self.concept_id, self.name, self.suggested)


@dataclass(frozen=True, slots=True)
class CellSummary:
    """Statistics over a cell's tokens of the concepts that are active in it, by ascending id."""

    concept_ids: NDArray[np.int64]
    mean: NDArray[np.float32]
    maximum: NDArray[np.float32]
    count: NDArray[np.int64]
    patches: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CellActivations:
    """Every active concept of one cell at every token, as CSR rows.

    Parameters
    ----------
    label
        The cell's label.
    box
        The crop's box, y0, x0, y1, x1 in level-0 px.
    indptr
        (258,) int64: token ``t`` owns entries ``indptr[t]:indptr[t + 1]``. Token 0 is the class
        token.
    concept_ids
        (nnz,) concept of each entry.
    values
        (nnz,) activation of each entry, above 0.
    d_sae
        Number of concepts of the SAE.
    """

    label: int
    box: NDArray[np.float64]
    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.integer]
    values: NDArray[np.floating]
    d_sae: int

    def summary(self, threshold: float) -> CellSummary:
        """Sum up each active concept over the cell's tokens.

        Parameters
        ----------
        threshold
            τ: `CellSummary.count` counts the tokens above it.
        """
        # Entries sorted by concept, so that each concept's entries are one run; stable, so that
        # sums are taken in token order and come out the same bits every time.
        order = np.argsort(self.concept_ids, kind="stable")
        ids = self.concept_ids[order].astype(np.int64)
        if not ids.size:
            none = np.zeros(0, np.int64)
            return CellSummary(none, none.astype(np.float32), none.astype(np.float32), none, none)
        starts = np.flatnonzero(np.diff(ids, prepend=-1))
        values = self.values[order].astype(np.float32)
        is_patch = order >= self.indptr[1]  # entries of token 0, the class token, come first
        return CellSummary(
            concept_ids=ids[starts].astype(np.int64),
            mean=(np.add.reduceat(values.astype(np.float64), starts) / N_TOKENS).astype(np.float32),
            maximum=np.maximum.reduceat(values, starts),
            count=np.add.reduceat((values > threshold).astype(np.int64), starts),
            patches=np.add.reduceat(is_patch.astype(np.int64), starts),
        )

    def active_concepts(
        self,
        patch: tuple[int, int] | None = None,
        k: int | None = None,
        *,
        frequencies: NDArray[np.floating] | None = None,
        names: Names | None = None,
    ) -> list[ActiveConcept]:
        """Rank the concepts that are active in the cell, or at one patch of it, strongest first.

        Parameters
        ----------
        patch
            (row, column) in the 16 × 16 grid; without it the whole cell counts.
        k
            How many at most; all without it.
        frequencies
            (d_sae,) `run_frequency` of each concept.
        names
            Names of concepts.
        """
        summary = self.summary(threshold=0.0)
        position = np.arange(len(summary.concept_ids))
        activation = summary.mean
        if patch is not None:
            there, values = self._at_patch(patch)
            position = np.searchsorted(summary.concept_ids, there)
            activation = values.astype(np.float32)
        # Ties go to the smaller id, so that a list never changes its order between two looks.
        ranked = np.lexsort((summary.concept_ids[position], -activation))[:k]
        rows = position[ranked]
        ids = summary.concept_ids[rows]
        frequency = np.full(len(ids), np.nan) if frequencies is None else frequencies[ids]
        return [
            ActiveConcept(
                *numbers,
                names.get(numbers[0], "") if names else "",
                numbers[0] in names.suggested if names else False,
            )
            for numbers in zip(
                ids.tolist(),
                activation[ranked].tolist(),
                summary.maximum[rows].tolist(),
                (summary.patches[rows] / N_PATCHES).tolist(),
                frequency.tolist(),
                strict=True,
            )
        ]

    def concept_map(self, concept_id: int) -> NDArray[np.float32]:
        """Give one concept at every patch, (16, 16) float32; 0 where it is not active."""
        entries = np.flatnonzero(self.concept_ids == check_concept(concept_id, self.d_sae))
        tokens = np.searchsorted(self.indptr, entries, side="right") - 1
        flat = np.zeros(N_TOKENS, np.float32)
        flat[tokens] = self.values[entries]
        return flat[1:].reshape(GRID, GRID)

    def _at_patch(self, patch: tuple[int, int]) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        row, column = patch
        if not (0 <= row < GRID and 0 <= column < GRID):
            raise RunError(
                f"Patch {tuple(patch)} is outside the crop: row and column go from 0 to {GRID - 1}."
            )
        token = 1 + GRID * row + column
        entries = slice(self.indptr[token], self.indptr[token + 1])
        return self.concept_ids[entries], self.values[entries]


def check_concept(concept_id: int, d_sae: int) -> int:
    """Return the concept id, or say which ids there are.

    Raises
    ------
    RunError
        Where the SAE has no such concept.
    """
    if not 0 <= concept_id < d_sae:
        raise RunError(
            f"There is no concept {concept_id}: this bundle's concepts go from 0 to {d_sae - 1}."
        )
    return concept_id
