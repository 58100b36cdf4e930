"""Barcodes: patients × concepts, and what diseases have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, vstack

from napari_cytosae.cohorts.sums import Sums
from napari_cytosae.cohorts.table import Cohort, named
from napari_cytosae.cohorts.top_cells import TopCells
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.errors import CohortError

Statistic = Literal["count", "presence", "mean", "max"]
STATISTICS: tuple[Statistic, ...] = ("count", "presence", "mean", "max")
Per = Literal["cells", "concepts"]

_SUMS = ("counts", "cells", "active", "means", "maxima")


@dataclass(frozen=True, eq=False)
class Barcodes:
    """One barcode per patient.

    Parameters
    ----------
    patients
        Index ``patient``; ``diagnosis``, ``n_cells``, ``n_images`` and covariates.
    images
        One row per image: ``patient``, ``image``, ``run`` (both as paths), ``n_cells``.
    counts, cells, active, means, maxima
        (patients, d_sae) sums over each patient's cells, see `Sums`.
    top
        (patients) the best cells of each patient.
    threshold
        τ.
    provenance
        Bundle, digests, cells and versions.
    stored_names
        Names of concepts as they stood when the barcodes were made.
    """

    patients: pd.DataFrame
    images: pd.DataFrame
    counts: csr_array
    cells: csr_array
    active: csr_array
    means: csr_array
    maxima: csr_array
    top: tuple[TopCells, ...]
    threshold: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    stored_names: Names = field(default_factory=lambda: Names({}))

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def d_sae(self) -> int:
        """Concepts of the SAE."""
        return int(self.counts.shape[1])

    @property
    def diagnosis(self) -> NDArray[np.object_]:
        """(patients,) diagnosis of each patient."""
        return self.patients["diagnosis"].to_numpy(object)

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """Every diagnosis, sorted; unknown ones left out."""
        return tuple(sorted({str(d) for d in self.diagnosis if d}))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates."""
        own = ("diagnosis", "n_cells", "n_images")
        return tuple(str(name) for name in self.patients if name not in own)

    @cached_property
    def names(self) -> Names:
        """Name of every concept that has one, as the SAE's dictionary has them now."""
        from napari_cytosae.cohorts.names import current_names

        return current_names(self.provenance.get("sae_digest"), self.stored_names)

    @cached_property
    def concept_ids(self) -> NDArray[np.int64]:
        """Concepts that are active in any cell, ascending."""
        return np.flatnonzero(np.asarray(self.active.sum(axis=0)).ravel()).astype(np.int64)

    @cached_property
    def mean_activation(self) -> NDArray[np.float64]:
        """(d_sae,) mean of the cells' means, over the cells in which a concept is active.

        Upstream's ``sae_mean_acts``; 0 where a concept is never active.
        """
        total = np.asarray(self.means.sum(axis=0)).ravel()
        n_active = np.asarray(self.active.sum(axis=0)).ravel()
        return np.asarray(total / np.maximum(n_active, 1), np.float64)

    def values(self, statistic: Statistic = "count", per: Per = "cells") -> csr_array:
        r"""Give the barcodes, (patients, d_sae) float64.

        Parameters
        ----------
        statistic
            ``"count"``: the paper's barcode,
            :math:`a_p[s] = \frac{1}{N_p} \sum_i \sum_j \mathbb{1}(h_{ij}[s] > \tau)`.
            ``"presence"``: share of cells with any token above τ. ``"mean"``, ``"max"``: mean over
            cells of their mean, or largest, value over tokens.
        per
            ``"concepts"`` divides counts by the number of concepts instead of cells, as upstream's
            code does; such barcodes grow with the number of cells.

        Raises
        ------
        CohortError
            Where there is no such statistic.
        """
        if statistic not in STATISTICS or per not in ("cells", "concepts"):
            raise CohortError(
                f"There is no barcode {statistic} per {per}; choose one of {named(STATISTICS)}, "
                "per cells or (counts only) per concepts."
            )
        if per == "concepts":
            if statistic != "count":
                raise CohortError("Only counts can be divided by the number of concepts.")
            return csr_array(self.counts.astype(np.float64) / self.d_sae)
        sums = {"count": "counts", "presence": "cells", "mean": "means", "max": "maxima"}
        matrix = csr_array(getattr(self, sums[statistic]), dtype=np.float64, copy=True)
        n_cells = self.patients["n_cells"].to_numpy(np.float64)
        matrix.data /= np.repeat(n_cells, np.diff(matrix.indptr))
        return matrix

    def dense(
        self,
        concept_ids: ArrayLike | None = None,
        statistic: Statistic = "count",
        per: Per = "cells",
    ) -> NDArray[np.float64]:
        """Give the barcodes of some concepts, (patients, n); of those active anywhere by default."""
        ids = self.concept_ids if concept_ids is None else np.asarray(concept_ids, np.int64)
        return np.asarray(self.values(statistic, per)[:, ids].toarray())

    def of_diseases(
        self, statistic: Statistic = "count", per: Per = "cells"
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Average the barcodes of each disease's patients, each patient counting once.

        Returns
        -------
        diagnoses : tuple of str
        barcodes : (n, d_sae) float64
        """
        values = self.values(statistic, per)
        rows = [
            np.asarray(values[self.diagnosis == d].mean(axis=0)).ravel() for d in self.diagnoses
        ]
        return self.diagnoses, np.stack(rows) if rows else np.zeros((0, self.d_sae))

    def select(self, rows: ArrayLike) -> "Barcodes":
        """Keep some patients: a mask, or rows in a new order.

        Raises
        ------
        CohortError
            Where none is left.
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        if not chosen.size:
            raise CohortError("No patient is left: choose other patients.")
        kept = {name: csr_array(getattr(self, name)[chosen]) for name in _SUMS}
        return replace(
            self,
            patients=self.patients.iloc[chosen],
            top=tuple(self.top[row] for row in chosen),
            **kept,
        )

    def best_cells(
        self, concept_id: int, rows: ArrayLike | None = None, k: int = 8
    ) -> pd.DataFrame:
        """List the cells that show a concept best, at most four of each patient.

        Parameters
        ----------
        concept_id
            The concept.
        rows
            Mask or rows of patients; all without it.
        k
            Cells at most.

        Returns
        -------
        DataFrame
            ``patient``, ``diagnosis``, ``run``, ``image``, ``label`` and ``activation`` (mean over
            tokens), the best first.
        """
        chosen = np.arange(len(self)) if rows is None else np.arange(len(self))[np.asarray(rows)]
        merged = TopCells.none()
        for row in chosen:
            merged = merged.merged(replace(self.top[row].of_concept(concept_id), k=k))
        found = self.images.iloc[merged.images].reset_index(drop=True)
        diagnoses = self.patients["diagnosis"].reindex(found["patient"]).to_numpy(object)
        return pd.DataFrame(
            {
                "patient": found["patient"],
                "diagnosis": diagnoses,
                "run": found["run"],
                "image": found["image"],
                "label": merged.labels,
                "activation": merged.values,
            }
        )


def build_barcodes(
    cohort: Cohort,
    sums: Sequence[Sums],
    threshold: float,
    *,
    images: pd.DataFrame | None = None,
    provenance: Mapping[str, Any] | None = None,
    names: Names | None = None,
) -> Barcodes:
    """Gather the sums of a cohort's patients.

    Parameters
    ----------
    cohort
        The patients.
    sums
        One per patient, in order.
    threshold
        τ that tokens were counted with.
    images
        See `Barcodes`; made from the cohort where not given.
    provenance, names
        See `Barcodes`.

    Raises
    ------
    CohortError
        Where a patient has no cells, or there are not as many sums as patients.
    """
    if len(sums) != len(cohort):
        raise CohortError(f"{len(sums)} sums were given for {len(cohort)} patients.")
    empty = [
        p.patient_id for p, part in zip(cohort.patients, sums, strict=True) if not part.n_cells
    ]
    if empty:
        raise CohortError(
            f"No cell was found for {named(empty)}: leave these patients out, or give their cells."
        )
    widths = {part.d_sae for part in sums}
    if len(widths) > 1:
        raise CohortError(f"Patients were analysed with SAEs of {named(sorted(widths))} concepts.")
    d_sae = widths.pop()

    def stacked(name: str) -> csr_array:
        rows = [
            csr_array((getattr(part, name), part.concept_ids, [0, part.concept_ids.size]),
                      shape=(1, d_sae))
            for part in sums
        ]  # fmt: skip
        matrix = csr_array(vstack(rows, format="csr"))
        matrix.eliminate_zeros()
        return matrix

    table = cohort.table()
    table.insert(1, "n_cells", [part.n_cells for part in sums])
    if images is None:
        images = (
            cohort.image_table().reindex(columns=["patient", "image"]).assign(run="", n_cells=0)
        )
    return Barcodes(
        table,
        images,
        stacked("counts"),
        stacked("cells"),
        stacked("active"),
        stacked("means"),
        stacked("maxima"),
        tuple(part.top for part in sums),
        float(threshold),
        dict(provenance or {}),
        names or Names({}),
    )
