"""Barcodes as AnnData: patients × concepts in one file that scanpy opens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array, csr_matrix

from napari_cytosae import __version__
from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.cohorts.top_cells import TopCells
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.errors import CohortError

FORMAT = "napari-cytosae barcodes"
FORMAT_VERSION = 1

# Averages over cells as layers; sums of whole numbers are kept as they are.
_SUMS = {"count": "counts", "cells": "cells", "cells_active": "active"}
_AVERAGES = {"presence": "cells", "mean": "means", "max": "maxima"}


def to_anndata(barcodes: Barcodes) -> anndata.AnnData:
    """Give barcodes as AnnData.

    Returns
    -------
    AnnData
        ``X``: the paper's barcode, tokens above τ per cell. ``layers``: ``count`` (tokens above τ,
        whole numbers), ``cells`` (cells with any), ``cells_active`` (cells in which the concept is
        active at all), and the averages over cells ``presence``, ``mean`` and ``max``. ``obs``:
        diagnosis, numbers of cells and images, covariates. ``var``: concept, name, and
        ``mean_activation``. ``uns["cytosae"]``: provenance, images and best cells.
    """
    d_sae = barcodes.d_sae
    n_cells = barcodes.patients["n_cells"].to_numpy(np.float64)
    layers: dict[str, csr_matrix] = {
        layer: csr_matrix(getattr(barcodes, name)) for layer, name in _SUMS.items()
    }
    for layer, name in _AVERAGES.items():
        layers[layer] = csr_matrix(_per_row(getattr(barcodes, name), 1 / n_cells))
    var = pd.DataFrame(
        {
            "concept_id": np.arange(d_sae),
            **barcodes.names.columns(d_sae),
            "mean_activation": barcodes.mean_activation,
        },
        index=np.arange(d_sae).astype(str),
    )
    obs = barcodes.patients.copy()
    obs.index = obs.index.astype(str)
    obs.index.name = "patient"
    # What is unknown for some patients is an empty word, or not a number.
    for name in obs.columns:
        if not pd.api.types.is_numeric_dtype(obs[name]):
            obs[name] = [
                "" if value is None or value != value else str(value) for value in obs[name]
            ]
    obs = obs.rename(columns=lambda name: str(name).replace("/", "_"))
    top = barcodes.top
    return anndata.AnnData(
        X=csr_matrix(barcodes.values()),
        obs=obs,
        var=var,
        layers=layers,
        uns={
            "cytosae": {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "software_version": __version__,
                "threshold": barcodes.threshold,
                "provenance": _without_none(barcodes.provenance),
                "images": barcodes.images.astype({"patient": str, "image": str, "run": str})
                .reset_index(drop=True)
                .rename(index=str),
                "top_cells": {
                    "k": max([t.k for t in top], default=0),
                    "patient": np.repeat(np.arange(len(top)), [len(t) for t in top]),
                    "concept_id": np.concatenate([t.concept_ids for t in top]),
                    "value": np.concatenate([t.values for t in top]),
                    "image": np.concatenate([t.images for t in top]),
                    "label": np.concatenate([t.labels for t in top]),
                },
            }
        },
    )


def write_barcodes(barcodes: Barcodes, path: str | Path) -> Path:
    """Write barcodes as ``.h5ad``, whole or not at all.

    Raises
    ------
    RunError
        Where the file cannot be written.
    """
    target = Path(path)
    table = to_anndata(barcodes)
    write_durably(target, table.write_h5ad, needed_bytes=16 * 7 * table.X.nnz)
    return target


def read_barcodes(path: str | Path) -> Barcodes:
    """Read what `write_barcodes` wrote.

    Raises
    ------
    CohortError
        Where there is no such file, or it is damaged or of another kind.
    """
    file = Path(path)
    if not file.is_file():
        raise CohortError(f"{file} does not exist. Extract the cohort's barcodes first.")
    try:
        table = anndata.read_h5ad(file)
        content = table.uns["cytosae"]
        known = content["format"] == FORMAT and int(content["format_version"]) == FORMAT_VERSION
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CohortError(f"{file} holds no barcodes, or is damaged ({error}).") from error
    if not known:
        raise CohortError(
            f"{file} holds no barcodes that this version reads. Extract the cohort again."
        )
    try:
        return _from_anndata(table, content)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CohortError(f"{file} is damaged ({error}). Extract the cohort again.") from error


def _from_anndata(table: anndata.AnnData, content: Mapping[str, Any]) -> Barcodes:
    patients = pd.DataFrame(table.obs)
    patients.index = pd.Index(patients.index.astype(str), name="patient", dtype=object)
    for name in patients.columns:
        if not pd.api.types.is_numeric_dtype(patients[name]):
            patients[name] = patients[name].astype(object)
    n_cells = patients["n_cells"].to_numpy(np.float64)
    top = content["top_cells"]
    owner = np.asarray(top["patient"])
    tops = tuple(
        TopCells(
            int(top["k"]),
            np.asarray(top["concept_id"], np.int64)[owner == row],
            np.asarray(top["value"], np.float32)[owner == row],
            np.asarray(top["image"], np.int32)[owner == row],
            np.asarray(top["label"], np.int64)[owner == row],
        )
        for row in range(len(patients))
    )
    images = pd.DataFrame(content["images"]).reset_index(drop=True)
    for name in ("patient", "image", "run"):
        images[name] = images[name].astype(object)

    def total(layer: str) -> csr_array:
        return csr_array(table.layers[layer]).astype(np.int64)

    return Barcodes(
        patients,
        images,
        counts=total("count"),
        cells=total("cells"),
        active=total("cells_active"),
        means=_per_row(table.layers["mean"], n_cells),
        maxima=_per_row(table.layers["max"], n_cells),
        top=tops,
        threshold=float(content["threshold"]),
        provenance=_plain(content.get("provenance", {})),
        stored_names=Names.from_table(table.var),
    )


def _per_row(matrix: csr_array, factors: np.ndarray) -> csr_array:
    scaled = csr_array(matrix, dtype=np.float64, copy=True)
    scaled.data *= np.repeat(factors, np.diff(scaled.indptr))
    return scaled


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in content.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    """Turn numpy's scalars and arrays, as HDF5 gives them, into Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
