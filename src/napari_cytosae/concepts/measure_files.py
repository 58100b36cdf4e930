"""The file that keeps what is measured of one shard of cells: morphology, and patches' compartments.

It lies beside the token shard and is like it written once, whole or not at all, so that a stopped
run goes on and a large one is never in memory as a whole.
"""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import RunError


@dataclass(frozen=True, slots=True, eq=False)
class ShardMeasures:
    """Measures of the cells of one shard, in the table's order.

    Parameters
    ----------
    labels
        (n,) int64.
    morphology
        (n, m) float64, in the order of `columns`; NaN where a measure is not possible.
    columns
        Names of the measures.
    compartments
        (n, k, 16, 16) uint8: points of each patch of the crop in each compartment, see
        `count_compartments`.
    compartment_names
        What is counted.
    """

    labels: NDArray[np.int64]
    morphology: NDArray[np.float64]
    columns: tuple[str, ...]
    compartments: NDArray[np.uint8]
    compartment_names: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write the file durably."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            labels=self.labels,
            morphology=self.morphology,
            columns=np.array(self.columns),
            compartments=self.compartments,
            compartment_names=np.array(self.compartment_names),
        )
        data = content.getvalue()
        write_durably(path, lambda temporary: temporary.write_bytes(data), needed_bytes=len(data))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises
        ------
        RunError
            Where it is missing or damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found = cls(
                    file["labels"].astype(np.int64),
                    file["morphology"].astype(np.float64),
                    tuple(str(name) for name in file["columns"]),
                    file["compartments"].astype(np.uint8),
                    tuple(str(name) for name in file["compartment_names"]),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{path} cannot be read ({error}). Delete it and start the same analysis again: it "
                "is measured anew without the model."
            ) from error
        n_cells = len(found.labels)
        wanted = (n_cells, len(found.compartment_names), GRID, GRID)
        if (
            found.morphology.shape != (n_cells, len(found.columns))
            or found.compartments.shape != wanted
        ):
            raise RunError(
                f"{path} is damaged. Delete it and start the same analysis again: it is measured "
                "anew without the model."
            )
        return found


def with_morphology(table: pd.DataFrame, shards: Iterable[ShardMeasures]) -> pd.DataFrame:
    """Add the measures to a table of cells; columns that a person's own file brought are kept.

    A measure that is not possible for any cell is left out.
    """
    parts = [pd.DataFrame(shard.morphology, columns=list(shard.columns)) for shard in shards]
    if not parts:
        return table
    measures = pd.concat(parts, ignore_index=True).set_axis(table.index, axis=0)
    wanted = [
        name for name in measures if name not in table.columns and measures[name].notna().any()
    ]
    return pd.concat([table, measures[wanted]], axis=1)
