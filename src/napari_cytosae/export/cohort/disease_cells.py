"""The cells that show best what is specific to a disease, over many patients, as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.cohorts.explanation import SpecificConcepts, pathognomonic_cells
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.run import open_run
from napari_cytosae.errors import CohortError
from napari_cytosae.export.cohort.cell_sheet import cut_cells, write_sheet
from napari_cytosae.export.cohort.explanation_files import create
from napari_cytosae.export.cohort.style import shorten

_PICTURED = 24


def cells_of_disease(
    barcodes: Barcodes,
    specific: SpecificConcepts,
    patients: Sequence[str],
    k: int = 20,
    folder: Path | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rank the cells of several patients, see `pathognomonic_cells`.

    Returns
    -------
    cells : DataFrame
        With ``patient``, the best first.
    missing : tuple of str
        Why patients were left out.

    Raises
    ------
    CohortError
        Where no patient's cells are at hand.
    """
    tables, missing = [], []
    for patient in patients:
        try:
            table = pathognomonic_cells(barcodes, specific, patient, k, folder)
        except CohortError as error:
            missing.append(str(error))
            continue
        table.insert(0, "patient", patient)
        tables.append(table)
    if not tables:
        raise CohortError(missing[0] if missing else "Name at least one patient.")
    found = pd.concat(tables, ignore_index=True)
    ranked = found.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    return ranked.head(k), tuple(missing)


def write_cells_of_disease(
    specific: SpecificConcepts, cells: pd.DataFrame, out: str | Path, *, pictures: bool = True
) -> tuple[tuple[Path, ...], str]:
    """Write the concepts and the cells as CSV, and the cells with their concept as PNG.

    Parameters
    ----------
    specific, cells
        See `cells_of_disease`.
    out
        The folder; files of the same names there are replaced.
    pictures
        Whether to draw cells.

    Returns
    -------
    files : tuple of Path
    missing : str
        Why some cells are not drawn; empty where all are.

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    """
    folder = Path(out)
    create(folder)
    written = []
    for name, table in (("concepts.csv", specific.table), ("cells.csv", cells)):
        write_durably(folder / name, lambda part, table=table: table.to_csv(part, index=False))  # type: ignore[misc]
        written.append(folder / name)
    if not pictures or cells.empty:
        return tuple(written), ""

    def concept_map(row: Mapping[str, Any]) -> NDArray[np.float32]:
        return open_run(row["run"]).concept_map(int(row["label"]), int(row["concept_id"]))

    drawn, missing = cut_cells(
        cells.head(_PICTURED).to_dict("records"),
        concept_map,
        lambda row: (
            f"{shorten(str(row['patient']), 16)} · {row['score']:.2f} · "
            f"{shorten(row['concept'], 24)}\n"
            f"{shorten(Path(str(row['image'])).name, 26)}, cell {row['label']}"
        ),
    )
    if drawn:
        title = f"Cells that show best what is specific to {specific.group}"
        write_sheet(folder / "cells.png", drawn, title)
        written.append(folder / "cells.png")
    return tuple(written), missing
