"""What a run found, as tables that open anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from napari_cytosae.cells.morphology import MORPHOLOGY
from napari_cytosae.concepts import Run
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming.names import marked
from napari_cytosae.export.on_cell import strongest_on_cell

N_CONCEPTS = 5
"""Concepts that are listed for each cell."""

_PIXEL_COLUMNS = ["centroid_y", "centroid_x", "box_y0", "box_x0", "box_y1", "box_x1"]


def cell_table(run: Run, n_concepts: int = N_CONCEPTS) -> pd.DataFrame:
    """List a run's cells with their strongest concepts.

    Parameters
    ----------
    run
        The run; cells that are not encoded yet have no concepts.
    n_concepts
        Concepts per cell.

    Returns
    -------
    DataFrame
        One row per cell: ``label``; centroid and box in level-0 px (``…_px``), and the centroid in
        µm where the pixel size is known; ``area_px`` and ``nucleus_area_px`` in pixels, with
        ``area_um2`` and ``nucleus_area_um2``; what was measured of the cells (`MORPHOLOGY`); then
        for n = 1, 2, …, ranked by their strength on the cell itself: ``concept_n`` (its id, empty
        where no more are active), ``concept_n_name`` (a suggested one says so),
        ``concept_n_activation_on_cell`` (mean over the patches that the cell covers),
        ``concept_n_activation`` (mean over the crop's 257 tokens) and
        ``concept_n_patches_percent`` (share of the crop's patches).
    """
    cells = run.table
    columns: dict[str, object] = {"label": cells["label"]}
    columns |= {f"{name}_px": cells[name] for name in _PIXEL_COLUMNS}
    columns |= {name: cells[name] for name in ("area_px", "nucleus_area_px")}
    if run.microns_per_pixel:
        size = run.microns_per_pixel
        columns |= {f"{name}_um": cells[name] * size for name in ("centroid_y", "centroid_x")}
        columns |= {
            f"{name}_um2": cells[f"{name}_px"] * size**2 for name in ("area", "nucleus_area")
        }
    columns |= {name: cells[name] for name in MORPHOLOGY if name in cells}
    ranked = [
        strongest_on_cell(run, int(label), n_concepts) if encoded else []
        for label, encoded in zip(cells["label"], run.encoded, strict=True)
    ]
    for place in range(n_concepts):
        found = [concepts[place] if place < len(concepts) else None for concepts in ranked]
        prefix = f"concept_{place + 1}"
        ids = [None if c is None else c.concept.concept_id for c in found]
        columns[prefix] = pd.array(ids, dtype="Int64")
        columns[f"{prefix}_name"] = [
            marked(c.concept.name, c.concept.suggested) if c else "" for c in found
        ]
        columns[f"{prefix}_activation_on_cell"] = [c.on_cell if c else np.nan for c in found]
        columns[f"{prefix}_activation"] = [c.concept.activation if c else np.nan for c in found]
        columns[f"{prefix}_patches_percent"] = [
            100 * c.concept.patch_share if c else np.nan for c in found
        ]
    return pd.DataFrame(columns)


def concept_table(run: Run) -> pd.DataFrame:
    """List the concepts that are active anywhere in a run, the most frequent first.

    Returns
    -------
    DataFrame
        ``concept_id``, ``name``, ``name_suggested`` (no person has given it), ``cells`` (in how
        many it is active), ``frequency_percent`` of the encoded cells, ``mean_activation`` (of the
        cells' means over tokens, over the cells where it is active), ``max_activation`` (largest at
        any token), ``best_cell`` (label of the cell with the largest mean) and
        ``best_cell_activation`` (that mean).
    """
    profiles = csc_array(run.adata.X)
    n_cells = profiles.shape[0]
    active = np.flatnonzero(np.diff(profiles.indptr))
    labels = run.adata.obs["label"].to_numpy()
    best, strongest = [], []
    for concept_id in active:
        entries = slice(profiles.indptr[concept_id], profiles.indptr[concept_id + 1])
        top = int(np.argmax(profiles.data[entries]))
        best.append(labels[profiles.indices[entries][top]])
        strongest.append(profiles.data[entries][top])
    known = run.concepts.iloc[active]
    table = pd.DataFrame(
        {
            "concept_id": active,
            "name": known["name"].astype(str).to_numpy(),
            "name_suggested": known["name_suggested"].to_numpy(bool),
            "cells": np.diff(profiles.indptr)[active],
            "frequency_percent": 100 * np.diff(profiles.indptr)[active] / max(1, n_cells),
            "mean_activation": known["mean_activation"].to_numpy(),
            "max_activation": known["max_activation"].to_numpy(),
            "best_cell": np.array(best, np.int64),
            "best_cell_activation": np.array(strongest, np.float32),
        }
    )
    order = ["cells", "mean_activation"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all, with six significant digits."""
    write_durably(path, lambda part: table.to_csv(part, index=False, float_format="%.6g"))
