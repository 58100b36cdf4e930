"""What differs between two cells, concept by concept."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from napari_cytosae.concepts.cell import CellActivations
from napari_cytosae.errors import RunError


@dataclass(frozen=True, slots=True)
class ConceptDifference:
    """One concept in two cells.

    Parameters
    ----------
    concept_id
        The concept.
    first, second
        Mean activation over the tokens of either cell (the paper's image score); 0 where the
        concept is not active.
    name
        The concept's name, empty where it has none.
    """

    concept_id: int
    first: float
    second: float
    name: str = ""

    @property
    def difference(self) -> float:
        """How much stronger it is in the first cell; negative where it is weaker."""
        return self.first - self.second


def compare_cells(
    first: CellActivations,
    second: CellActivations,
    k: int | None = None,
    *,
    names: Mapping[int, str] | None = None,
) -> list[ConceptDifference]:
    """Rank the concepts of two cells by how much they differ, the largest difference first.

    The differences of all concepts add up to what the two cells' profiles differ in, so that the
    list leaves nothing out; equal differences are ordered by id.

    Parameters
    ----------
    first, second
        Two cells that were encoded with the same SAE.
    k
        How many at most; all that are active in either cell without it.
    names
        Names of concept ids.

    Raises
    ------
    RunError
        Where the cells are of different SAEs.
    """
    if first.d_sae != second.d_sae:
        raise RunError(
            f"The two cells are of different SAEs ({first.d_sae} and {second.d_sae} concepts): "
            "their concepts have nothing in common."
        )
    summaries = [cell.summary(threshold=0.0) for cell in (first, second)]
    ids = np.union1d(summaries[0].concept_ids, summaries[1].concept_ids)
    means = np.zeros((2, len(ids)), np.float64)
    for row, summary in enumerate(summaries):
        means[row, np.searchsorted(ids, summary.concept_ids)] = summary.mean
    order = np.lexsort((ids, -np.abs(means[0] - means[1])))[:k]
    return [
        ConceptDifference(int(ids[i]), float(means[0, i]), float(means[1, i]),
                          names.get(int(ids[i]), "") if names else "")
        for i in order
    ]  # fmt: skip
