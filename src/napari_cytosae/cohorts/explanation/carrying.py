r"""Which cells, and which patches of them, carry a prediction.

A barcode is a mean over cells, and the model is linear in it: a patient's logit is the mean, over
the cells, of the logit that a patient would have whose every cell is like this one. With
:math:`f_i[s]` what cell :math:`i` adds to the barcode,

.. math:: \mathrm{logit} = \frac{1}{N} \sum_i \Big( b - \sum_s \frac{w_s \mu_s}{\sigma_s}
    + \sum_s \frac{w_s}{\sigma_s} f_i[s] \Big),

and :math:`f_i[s]` is itself a sum over the cell's tokens. Nothing is estimated.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.cell_table import CellTable, cell_table, runs_of
from napari_cytosae.cohorts.classification.model import CohortModel
from napari_cytosae.concepts.cell import GRID, N_TOKENS, CellActivations
from napari_cytosae.errors import CohortError


@dataclass(frozen=True, slots=True, eq=False)
class PatchEvidence:
    """What each token of a cell adds to the cell's logits.

    Parameters
    ----------
    base
        (classes,) logits of a cell without any concept.
    class_token
        (classes,) what the class token adds.
    patches
        (classes, 16, 16) what each patch adds.
    """

    base: NDArray[np.float64]
    class_token: NDArray[np.float64]
    patches: NDArray[np.float64]

    @property
    def logits(self) -> NDArray[np.float64]:
        """(classes,) the cell's logits."""
        return np.asarray(self.base + self.class_token + self.patches.sum(axis=(1, 2)))


def cell_evidence(
    model: CohortModel, cells: CellTable, n_cells: int | None = None
) -> NDArray[np.float64]:
    """Give each cell's logits, (cells, classes); their mean over a patient's cells is the patient's.

    Parameters
    ----------
    model
        The model.
    cells
        Counted with the model's τ.
    n_cells
        Cells of the patient; needed where barcodes are divided by the number of concepts only.
    """
    chosen = model.concept_ids
    if model.statistic == "count":
        parts = cells.count[:, chosen]
    elif model.statistic == "presence":
        parts = (cells.count[:, chosen] > 0).astype(np.float64)
    else:
        parts = (cells.mean if model.statistic == "mean" else cells.maximum)[:, chosen]
    base, slopes = _linear(model, n_cells if n_cells is not None else len(cells))
    return np.asarray(parts @ slopes.T + base, np.float64)


def patch_evidence(
    model: CohortModel, cell: CellActivations, n_cells: int | None = None
) -> PatchEvidence:
    """Give what each patch of a cell adds to the cell's logits.

    With barcodes of presence or of largest values, what a concept adds is put where it is strongest.

    Parameters
    ----------
    model
        The model.
    cell
        All activations of the cell.
    n_cells
        See `cell_evidence`.
    """
    if cell.d_sae != model.d_sae:
        raise CohortError("This cell is of another autoencoder than the model's.")
    base, slopes = _linear(model, n_cells or 1)
    place = np.full(model.d_sae, -1, np.int64)
    place[model.concept_ids] = np.arange(model.concept_ids.size)
    token = np.repeat(np.arange(len(cell.indptr) - 1), np.diff(cell.indptr))
    column = place[np.asarray(cell.concept_ids, np.int64)]
    value = np.asarray(cell.values, np.float32).astype(np.float64)
    used = column >= 0
    token, column, value = token[used], column[used], value[used]
    if model.statistic == "count":
        amount = (value > model.threshold).astype(np.float64)
    elif model.statistic == "mean":
        amount = value / N_TOKENS
    else:
        amount = _at_the_strongest(column, value)
        if model.statistic == "presence":
            amount = ((amount > model.threshold) & (amount > 0)).astype(np.float64)
    added: NDArray[np.float64] = np.stack(
        [np.bincount(token, amount * slope[column], minlength=N_TOKENS) for slope in slopes]
    )
    return PatchEvidence(base, added[:, 0], added[:, 1:].reshape(-1, GRID, GRID))


def carriers(
    model: CohortModel,
    barcodes: Barcodes,
    patient: str,
    name: str | None = None,
    k: int = 20,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Rank a patient's cells by how much they speak for a class.

    Parameters
    ----------
    model, barcodes, patient
        See `explain`.
    name
        The class; the predicted one without it.
    k
        Cells at most.
    folder
        The cohort's folder, see `runs_of`.

    Returns
    -------
    DataFrame
        ``run`` and ``image`` (paths), ``label``, ``evidence`` (the cell's logit) and ``concept_id``
        and ``concept`` (title) of what speaks most for the class in it; the largest first.

    Raises
    ------
    CohortError
        Where the patient's runs are not at hand, or do not fit the model.
    """
    row = int(np.flatnonzero(barcodes.patients.index == patient)[0]) if (
        patient in barcodes.patients.index
    ) else -1  # fmt: skip
    if row < 0:
        raise CohortError(f"There is no patient {patient} in these barcodes.")
    if name is None:
        name = str(model.predict(barcodes.select([row]))["predicted"].iloc[0])
    place = model.class_index(name)
    n_cells = int(barcodes.patients["n_cells"].iloc[row])
    tables = []
    for run, images in runs_of(barcodes, patient, folder):
        cells = cell_table(run, model.threshold)
        if not len(cells):
            continue
        if run.d_sae != model.d_sae:
            raise CohortError(f"{run.path} is of another autoencoder than the model's.")
        evidence = cell_evidence(model, cells, n_cells)[:, place]
        best = np.argsort(-evidence, kind="stable")[:k]
        strongest = [_strongest(model, cells, int(at), place, n_cells) for at in best]
        tables.append(
            pd.DataFrame(
                {
                    "run": str(run.path),
                    "image": images[best],
                    "label": cells.labels[best],
                    "evidence": evidence[best],
                    "concept_id": strongest,
                    "concept": [model.names.title(concept) for concept in strongest],
                }
            )
        )
    if not tables:
        raise CohortError(f"No cell of {patient} is left to look at.")
    found = pd.concat(tables, ignore_index=True)
    return found.sort_values("evidence", ascending=False, kind="stable", ignore_index=True).head(k)


def _strongest(model: CohortModel, cells: CellTable, at: int, place: int, n_cells: int) -> int:
    """Find the concept that adds most to a class in one cell."""
    matrix = {"count": cells.count, "presence": cells.count, "mean": cells.mean}.get(
        model.statistic, cells.maximum
    )
    values = matrix[[at]][:, model.concept_ids].toarray().ravel()
    if model.statistic == "presence":
        values = values > 0
    _, slopes = _linear(model, n_cells)
    return int(model.concept_ids[np.argmax(slopes[place] * values)])


def _linear(model: CohortModel, n_cells: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the logits of a cell without concepts, and what one unit of each concept adds."""
    slopes = model.weights / model.scale
    base = model.intercepts - slopes @ model.mean
    if model.per == "concepts":
        slopes = slopes * (n_cells / model.d_sae)
    return base, slopes


def _at_the_strongest(column: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep each concept's largest value, at the first token that has it; 0 elsewhere."""
    amount = np.zeros_like(value)
    order = np.lexsort((np.arange(value.size), -value, column))
    first = order[np.flatnonzero(np.diff(column[order], prepend=-1))]
    amount[first] = value[first]
    return amount
