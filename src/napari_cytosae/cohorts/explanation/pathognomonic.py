"""Cells that show what is specific to a disease, however few they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.cell_table import CellTable, cell_table, runs_of
from napari_cytosae.cohorts.comparison import Comparison
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import CohortError


@dataclass(frozen=True, eq=False)
class SpecificConcepts:
    """Concepts that cells of one group show, and cells of the other hardly do.

    Parameters
    ----------
    group
        What the group is called.
    table
        ``concept_id``, ``name``, ``name_suggested``, ``share_first`` and ``share_second`` (cells
        with the concept above τ, of all cells of each group), ``patients_first``, ``delta``, ``q``
        and ``weight``, the logarithm of the ratio of the shares; the largest first.
    names
        Of concepts.
    threshold
        τ.
    d_sae
        Concepts of the SAE.
    """

    group: str
    table: pd.DataFrame
    names: Names
    threshold: float
    d_sae: int

    @property
    def weights(self) -> NDArray[np.float64]:
        """(d_sae,) weights; 0 for concepts that are not specific."""
        weights = np.zeros(self.d_sae)
        weights[self.table["concept_id"].to_numpy(np.int64)] = self.table["weight"]
        return weights


def specific_concepts(
    barcodes: Barcodes,
    comparison: Comparison,
    *,
    q: float = 0.05,
    min_delta: float = 0.3,
    k: int = 50,
) -> SpecificConcepts:
    """Choose the concepts that are specific to the first group of a comparison.

    Parameters
    ----------
    barcodes
        That were compared.
    comparison
        The disease against all others, say.
    q
        False discovery rate.
    min_delta
        Cliff's delta at least.
    k
        How many at most: those whose cells are most specific.

    Raises
    ------
    CohortError
        Where no concept is.
    """
    table = comparison.table
    chosen = table[(table["q"] <= q) & (table["delta"] >= min_delta)]
    n_cells = barcodes.patients["n_cells"].to_numpy(np.float64)
    n_first = n_cells[comparison.in_first].sum()
    n_second = n_cells[comparison.in_second].sum()
    # Half a cell more keeps a concept that the others never show from weighing infinitely.
    first = (chosen["cells_first"].to_numpy(np.float64) + 0.5) / (n_first + 1)
    second = (chosen["cells_second"].to_numpy(np.float64) + 0.5) / (n_second + 1)
    found = chosen[["concept_id", "name", "name_suggested", "patients_first", "delta", "q"]].assign(
        share_first=chosen["cells_first"] / n_first,
        share_second=chosen["cells_second"] / n_second,
        weight=np.log(first / second),
    )
    found = found[found["weight"] > 0].sort_values("weight", ascending=False, kind="stable").head(k)
    if found.empty:
        raise CohortError(
            f"No concept is specific to {comparison.first} (false discovery rate {q:g}, Cliff's "
            f"delta {min_delta:g} or more): its cells cannot be told. Compare more patients, or "
            "allow a larger rate."
        )
    return SpecificConcepts(
        comparison.first,
        found.reset_index(drop=True),
        barcodes.names,
        barcodes.threshold,
        barcodes.d_sae,
    )


def rank_cells(cells: CellTable, specific: SpecificConcepts, k: int = 50) -> pd.DataFrame:
    """Rank cells by the specific concepts that they show.

    A cell's score is the sum of the weights of the specific concepts that it shows above τ: were
    concepts independent, the log-likelihood ratio of the cell. Ties go to the stronger cell.

    Parameters
    ----------
    cells
        Counted with the same τ.
    specific
        What to look for.
    k
        Cells at most; cells that show none of the concepts are never listed.

    Returns
    -------
    DataFrame
        ``label``, ``score``, ``concepts`` (how many it shows), and ``concept_id`` and ``concept``
        (title) of the most specific one.

    Raises
    ------
    CohortError
        Where the cells are of another SAE.
    """
    if cells.count.shape[1] != specific.d_sae:
        raise CohortError("These cells are of another autoencoder than the cohort's.")
    ids = specific.table["concept_id"].to_numpy(np.int64)
    weights = specific.table["weight"].to_numpy(np.float64)
    shown = cells.count[:, ids].toarray() > 0
    score = shown @ weights
    strength = (cells.mean[:, ids].toarray() * shown) @ weights
    order = np.lexsort((cells.labels, -strength, -score))
    order = order[score[order] > 0][:k]
    best = ids[np.argmax(shown[order] * weights, axis=1)] if order.size else np.zeros(0, np.int64)
    return pd.DataFrame(
        {
            "label": cells.labels[order],
            "score": score[order],
            "concepts": shown[order].sum(axis=1),
            "concept_id": best,
            "concept": [specific.names.title(int(concept)) for concept in best],
        }
    )


def rank_run(run: Run, specific: SpecificConcepts, k: int = 50) -> pd.DataFrame:
    """Rank the cells of one slide, see `rank_cells`."""
    return rank_cells(cell_table(run, specific.threshold), specific, k)


def pathognomonic_cells(
    barcodes: Barcodes,
    specific: SpecificConcepts,
    patient: str,
    k: int = 50,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Rank all cells of a patient, see `rank_cells`; with ``run`` and ``image``.

    Raises
    ------
    CohortError
        Where the patient's runs are not at hand.
    """
    tables = []
    for run, images in runs_of(barcodes, patient, folder):
        table = rank_run(run, specific, k)
        of_label = dict(zip(run.table["label"], images, strict=True))
        table.insert(0, "image", [of_label[label] for label in table["label"]])
        table.insert(0, "run", str(run.path))
        tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    return found.sort_values("score", ascending=False, kind="stable", ignore_index=True).head(k)
