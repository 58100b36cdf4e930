"""An atlas as tables that open anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd

from napari_cytosae.concepts.atlas import Atlas
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
        `Atlas.top`) and, where labels suggest anything, ``generalisation.csv``.

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
