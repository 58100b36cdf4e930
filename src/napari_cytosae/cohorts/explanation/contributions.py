"""What a patient's prediction is made of, concept by concept."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.classification.model import CohortModel
from napari_cytosae.errors import CohortError


@dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction and its parts.

    Parameters
    ----------
    patient
        Who.
    classes
        Of the model.
    table
        One row per concept of the model: ``concept_id``, ``name``, ``name_suggested``, ``value`` (of
        the patient's barcode), ``typical`` (mean of the fitted patients) and ``z`` (their distance
        in standard deviations).
    contributions
        (classes, concepts) that add up, with the intercepts, to the logits.
    intercepts
        (classes,) logits of a patient whose every concept is typical.
    """

    patient: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    contributions: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    @property
    def logits(self) -> NDArray[np.float64]:
        """(classes,) logits: intercepts and all contributions."""
        return np.asarray(self.intercepts + self.contributions.sum(axis=1))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(classes,) probabilities."""
        return np.asarray(softmax(self.logits))

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return self.classes[int(self.logits.argmax())]

    def evidence(self, name: str | None = None, against: str | None = None) -> pd.DataFrame:
        """Rank the concepts by what they contribute to one class.

        Parameters
        ----------
        name
            The class; the predicted one without it.
        against
            Another class: contributions are then to the log-odds of the two.

        Returns
        -------
        DataFrame
            The table with ``contribution``, the largest first in size.
        """
        k = self._place(name or self.predicted)
        found = self.contributions[k]
        if against is not None:
            found = found - self.contributions[self._place(against)]
        order = np.argsort(-np.abs(found), kind="stable")
        table = self.table.assign(contribution=found)
        return table.iloc[order].reset_index(drop=True)

    def _place(self, name: str) -> int:
        if name not in self.classes:
            raise CohortError(f"There is no class “{name}”; there are {', '.join(self.classes)}.")
        return self.classes.index(name)


def explain(model: CohortModel, barcodes: Barcodes, patient: str) -> Explanation:
    """Take a patient's prediction apart.

    Parameters
    ----------
    model
        That predicts; for a patient of the cohort it was made of, better one that has not seen
        them, see `fold_models`.
    barcodes
        That hold the patient.
    patient
        Its id.

    Raises
    ------
    CohortError
        Where there is no such patient, or the barcodes do not fit the model.
    """
    values = patient_values(model, barcodes, patient)
    z = (values - model.mean) / model.scale
    names = model.names.columns(model.d_sae)
    table = pd.DataFrame(
        {
            "concept_id": model.concept_ids,
            **{name: column[model.concept_ids] for name, column in names.items()},
            "value": values,
            "typical": model.mean,
            "z": z,
        }
    )
    return Explanation(patient, model.classes, table, model.weights * z, model.intercepts)


def patient_values(model: CohortModel, barcodes: Barcodes, patient: str) -> NDArray[np.float64]:
    """Give a patient's barcode over the model's concepts, (k,)."""
    if patient not in barcodes.patients.index:
        raise CohortError(f"There is no patient {patient} in these barcodes.")
    row = int(np.flatnonzero(barcodes.patients.index == patient)[0])
    return np.asarray(model.values(barcodes.select([row]))[0], np.float64)
