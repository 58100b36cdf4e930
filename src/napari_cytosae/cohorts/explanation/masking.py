"""What if a concept were absent: ablate it and predict again."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.classification.model import CohortModel
from napari_cytosae.cohorts.explanation.contributions import patient_values
from napari_cytosae.cohorts.table import named
from napari_cytosae.errors import CohortError

To = Literal["absent", "typical"]
MASKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_DRAWS = 5


def what_if(
    model: CohortModel,
    barcodes: Barcodes,
    patient: str,
    concept_ids: ArrayLike,
    to: To = "absent",
) -> pd.DataFrame:
    """Predict a patient again without some concepts.

    Parameters
    ----------
    model, barcodes, patient
        See `explain`.
    concept_ids
        Concepts that are changed, all at once; those that the model does not read change nothing.
    to
        ``"absent"``: no cell shows them. ``"typical"``: they are as in the mean of the fitted
        patients, so that they say nothing.

    Returns
    -------
    DataFrame
        Index ``class``; probability ``before``, ``after`` and their ``change``.

    Raises
    ------
    CohortError
        Where there is no such patient, or no such concept.
    """
    ids = np.unique(np.atleast_1d(np.asarray(concept_ids, np.int64)))
    if ids.size and not 0 <= ids.min() <= ids.max() < model.d_sae:
        raise CohortError(
            f"There is no concept {named(ids[(ids < 0) | (ids >= model.d_sae)])}; their numbers "
            f"go from 0 to {model.d_sae - 1}."
        )
    values = patient_values(model, barcodes, patient)
    changed = np.where(np.isin(model.concept_ids, ids), _replacement(model, to), values)
    before, after = model.probabilities(np.stack([values, changed]))
    return pd.DataFrame(
        {"before": before, "after": after, "change": after - before},
        index=pd.Index(model.classes, name="class", dtype=object),
    )


def masking_curve(
    models: CohortModel | Iterable[tuple[CohortModel, NDArray[np.int64]]],
    barcodes: Barcodes,
    ks: Sequence[int] = MASKS,
    to: To = "typical",
    seed: int = 0,
) -> pd.DataFrame:
    """Mask the concepts that speak most for each patient's prediction, ever more of them.

    The top-k masking of PatchSAE (Lim et al. 2024), on concepts of barcodes: if a few concepts made
    the prediction, it breaks without them and stands on them alone.

    Parameters
    ----------
    models
        One model for all patients, or those of folds with the rows that each has not seen.
    barcodes
        Of the patients.
    ks
        How many concepts.
    to
        What they are set to, see `what_if`.
    seed
        Of the random concepts.

    Returns
    -------
    DataFrame
        ``k``; mean probability, over patients, of the class that was predicted with all concepts,
        ``without`` the k that speak most for it, with ``only`` these (all others typical), and
        without k drawn at random (``random``); and the share of patients whose predicted class
        stays: ``stays_without``, ``stays_only``, ``stays_random``.
    """
    parts = [(models, np.arange(len(barcodes)))] if isinstance(models, CohortModel) else models
    rng = np.random.default_rng(seed)
    kinds = ("without", "only", "random")
    found: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in kinds}
    stays: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in kinds}
    for model, rows in parts:
        values = model.values(barcodes.select(rows))
        predicted = model.logits(values).argmax(axis=1)
        new = _replacement(model, to)
        for one, place in zip(values, predicted, strict=True):
            contributions = model.weights[place] * (one - model.mean) / model.scale
            order = np.argsort(-contributions, kind="stable")
            rank = np.empty(order.size, np.int64)
            rank[order] = np.arange(order.size)
            deals = [rng.permutation(order.size) for _ in range(_DRAWS)]
            masked = {
                "without": [np.where(rank < k, new, one) for k in ks],
                "only": [np.where(rank < k, one, model.mean) for k in ks],
                "random": [np.where(deal < k, new, one) for deal in deals for k in ks],
            }
            for kind, versions in masked.items():
                p = model.probabilities(np.stack(versions))
                shape = (-1, len(ks))
                found[kind].append(p[:, place].reshape(shape).mean(axis=0))
                same = p.argmax(axis=1) == place
                stays[kind].append(same.reshape(shape).mean(axis=0))
    if not found["without"]:
        raise CohortError("There are no patients to predict.")
    columns: dict[str, object] = {"k": list(ks)}
    columns |= {kind: np.mean(found[kind], axis=0) for kind in kinds}
    columns |= {f"stays_{kind}": np.mean(stays[kind], axis=0) for kind in kinds}
    return pd.DataFrame(columns)


def _replacement(model: CohortModel, to: To) -> NDArray[np.float64]:
    if to not in ("absent", "typical"):
        raise CohortError(f"A concept can be made absent or typical, not {to}.")
    return np.zeros_like(model.mean) if to == "absent" else model.mean
