"""An atlas as tables that open anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd

from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES
from napari_cytosae.concepts.durable import explain_write_error
from napari_cytosae.export.tables import write_table


def write_atlas_tables(atlas: Atlas, folder: Path) -> list[Path]:
    """Write an atlas as CSV files.

    Parameters
    ----------
    atlas
        The atlas.
    folder
        Made if need be; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``concepts.csv`` (`Atlas.table`), ``references.csv`` (every reference of every concept, see
        `Atlas.top`); where labels suggest anything, ``generalisation.csv``; and where cells were
        measured, ``compartments.csv`` and ``correlations.csv`` (those at a false discovery rate of
        5 %).

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error
    tables = {"concepts.csv": atlas.table, "references.csv": all_references(atlas)}
    if len(atlas.generalisation):
        tables["generalisation.csv"] = atlas.generalisation
    if any(data.evidence is not None for data in atlas):
        tables["compartments.csv"] = all_compartments(atlas)
        tables["correlations.csv"] = all_correlations(atlas)
    for name, table in tables.items():
        write_table(table, folder / name)
    return [folder / name for name in tables]


def all_references(atlas: Atlas) -> pd.DataFrame:
    """List the references of all concepts in all data sets.

    Returns
    -------
    DataFrame
        ``concept_id``, ``data_set``, ``rank`` from 1, ``value``, ``label``, ``cell``,
        ``patch_row``, ``patch_column`` (missing where not known) and ``image``.
    """
    parts = []
    for data in atlas:
        references = data.references
        concepts, ranks = np.nonzero(references.filled)
        at = (concepts, ranks)
        classes = np.array([*data.info.classes, ""], object)
        rows, columns, known = references.patch_places(at)
        parts.append(
            pd.DataFrame(
                {
                    "concept_id": concepts,
                    "data_set": data.name,
                    "rank": ranks + 1,
                    "value": references.values[at],
                    "label": classes[references.labels[at]],
                    "cell": references.cells[at],
                    "patch_row": pd.arrays.IntegerArray(rows, ~known),
                    "patch_column": pd.arrays.IntegerArray(columns, ~known),
                    "image": data.images_of(references.sources[at], references.cells[at]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def all_compartments(atlas: Atlas) -> pd.DataFrame:
    """Say of all concepts that measured cells have where they are.

    Returns
    -------
    DataFrame
        ``concept_id``, ``data_set``, ``compartment``, ``share``, ``area``, ``enrichment`` (missing
        where there is no such area), ``cells``.
    """
    parts = []
    for data in atlas:
        if data.evidence is None:
            continue
        where = data.evidence.where
        ids = np.flatnonzero(where.cells)
        n = len(COMPARTMENTS)
        parts.append(
            pd.DataFrame(
                {
                    "concept_id": np.repeat(ids, n),
                    "data_set": data.name,
                    "compartment": np.tile(np.array(COMPARTMENTS, object), len(ids)),
                    "share": where.shares[ids].ravel(),
                    "area": where.areas[ids].ravel(),
                    "enrichment": where.enrichment[ids].ravel(),
                    "cells": np.repeat(where.cells[ids], n),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def all_correlations(atlas: Atlas) -> pd.DataFrame:
    """List the pairs of concept and measure that are correlated at a false discovery rate of 5 %.

    Returns
    -------
    DataFrame
        ``concept_id``, ``data_set``, ``measure``, ``rho``, ``p``, ``q``, ``cells``, ``active``.
    """
    parts = []
    for data in atlas:
        if data.evidence is None:
            continue
        found = data.evidence.correlations
        at = concepts, places = np.nonzero(found.found)
        parts.append(
            pd.DataFrame(
                {
                    "concept_id": concepts,
                    "data_set": data.name,
                    "measure": np.array(MEASURES, object)[places],
                    "rho": found.rho[at],
                    "p": found.p[at],
                    "q": found.q[at],
                    "cells": found.cells[places],
                    "active": found.active[at],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
