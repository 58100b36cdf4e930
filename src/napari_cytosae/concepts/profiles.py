"""A run's cells × concepts table: profiles over tokens, as AnnData."""

from collections.abc import Iterable
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from napari_cytosae.concepts.cell import CellSummary
from napari_cytosae.concepts.manifest import RunManifest
from napari_cytosae.concepts.naming.names import Names


def build_profiles(
    manifest: RunManifest,
    table: pd.DataFrame,
    summaries: Iterable[CellSummary],
    names: Names | None = None,
    focus: NDArray[np.int64] | None = None,
) -> anndata.AnnData:
    """Gather the summaries of a run's cells into one AnnData.

    Parameters
    ----------
    manifest
        The run's provenance; its ``microns_per_pixel`` decides the unit of ``obsm["spatial"]``.
    table
        One row per cell, in the summaries' order.
    summaries
        One per row of the table.
    names
        Names of the concepts.
    focus
        The concepts that were encoded, where they are not all.

    Returns
    -------
    AnnData
        ``X``: mean over all 257 tokens, class token included, float32 CSR. The paper's image score
        is the same mean, and so is upstream's ``sae_mean_acts``. ``layers["max"]``: largest value
        over tokens. ``layers["count"]``: tokens above τ. ``var``: ``frequency``, the share of cells
        in which a concept is active at any token (upstream's ``sae_sparsity``);
        ``mean_activation``, the mean of ``X`` over those cells, 0 where there are none;
        ``max_activation``; ``name`` and ``name_suggested``; ``encoded``, False for
        concepts outside the run's focus, whose zeros say nothing. ``obsm["spatial"]``: x and y of each
        cell's centre, in µm where the pixel size is known, else in level-0 px;
        ``uns["cytosae"]["spatial_unit"]`` says which.
    """
    rows = list(summaries)
    d_sae = manifest.d_sae
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row.concept_ids) for row in rows], out=indptr[1:])
    ids = np.concatenate([np.zeros(0, np.int64), *(row.concept_ids for row in rows)])

    def matrix(values: list[np.ndarray], dtype: type[np.generic]) -> csr_matrix:
        data = np.concatenate([np.zeros(0, dtype), *values]).astype(dtype)
        # AnnData files hold 32-bit indices wherever they suffice; scipy chooses them here.
        return csr_matrix(csr_array((data, ids, indptr), shape=(len(rows), d_sae)))

    mean = matrix([row.mean for row in rows], np.float32)
    maximum = matrix([row.maximum for row in rows], np.float32)
    totals = ConceptTotals(d_sae)
    totals.add(ids, mean.data, maximum.data, len(rows))
    return anndata.AnnData(
        X=mean,
        obs=obs_of(table),
        var=concept_table(totals, names, focus),
        layers={"max": maximum, "count": matrix([row.count for row in rows], np.int32)},
        obsm={"spatial": spatial_of(manifest, table)},
        uns=uns_of(manifest),
    )


class ConceptTotals:
    """Sums over cells of what each concept does in them; cells may come in parts.

    Parameters
    ----------
    d_sae
        Number of concepts.
    """

    def __init__(self, d_sae: int) -> None:
        self.n_cells = 0
        self.n_active = np.zeros(d_sae, np.int64)
        self.total = np.zeros(d_sae, np.float64)
        self.largest = np.zeros(d_sae, np.float32)

    def add(
        self,
        ids: NDArray[np.int64],
        mean: NDArray[np.float32],
        maximum: NDArray[np.float32],
        n_cells: int,
    ) -> None:
        """Count some cells: the concepts that are active in them, one cell after another."""
        self.n_cells += n_cells
        self.n_active += np.bincount(ids, minlength=len(self.n_active))
        # One by one, in the cells' order: a sum of sums would depend on the parts.
        np.add.at(self.total, ids, mean.astype(np.float64))
        np.maximum.at(self.largest, ids, maximum)


def concept_table(
    totals: ConceptTotals, names: Names | None, focus: NDArray[np.int64] | None
) -> pd.DataFrame:
    """Make ``var``: one row per concept."""
    d_sae = len(totals.n_active)
    return pd.DataFrame(
        {
            "concept_id": np.arange(d_sae),
            **(names or Names({})).columns(d_sae),
            "frequency": totals.n_active / max(1, totals.n_cells),
            "mean_activation": totals.total / np.maximum(1, totals.n_active),
            "max_activation": totals.largest,
            "encoded": _mask(focus, d_sae),
        },
        index=np.arange(d_sae).astype(str),
    )


def spatial_of(manifest: RunManifest, table: pd.DataFrame) -> NDArray[np.float64]:
    """Make ``obsm["spatial"]``: x and y of each cell's centre."""
    centres = table[["centroid_x", "centroid_y"]].to_numpy(np.float64).reshape(-1, 2)
    return np.asarray(centres * (manifest.key.microns_per_pixel or 1.0))


def uns_of(manifest: RunManifest) -> dict[str, Any]:
    """Make ``uns``: where the profiles come from."""
    provenance = _as_hdf5(manifest.as_dict())
    provenance["spatial_unit"] = "px" if manifest.key.microns_per_pixel is None else "µm"
    return {"cytosae": provenance}


def _mask(focus: NDArray[np.int64] | None, d_sae: int) -> NDArray[np.bool_]:
    mask = np.full(d_sae, focus is None)
    if focus is not None:
        mask[focus] = True
    return mask


def obs_of(table: pd.DataFrame) -> pd.DataFrame:
    """Index by label, and give columns of a user's own file names that HDF5 takes."""
    obs = table.set_axis(table["label"].astype(str).to_list(), axis=0)
    return obs.rename(columns=lambda name: str(name).replace("/", "_").lstrip("_") or "column")


def _as_hdf5(content: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is unknown and write tuples as lists: HDF5 knows neither None nor tuples."""
    plain: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            plain[key] = _as_hdf5(value)
        elif value is not None:
            plain[key] = list(value) if isinstance(value, tuple) else value
    return plain
