"""The run folder on disk: which file lies where, and which cells are encoded."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import CellActivations, CellSummary
from napari_cytosae.concepts.durable import (
    LOCK_NAME,
    TEMPORARY_SUFFIX,
    explain_write_error,
    write_durably,
)
from napari_cytosae.concepts.focus import focus_text, read_focus
from napari_cytosae.concepts.manifest import MANIFEST_NAME, RunManifest
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.errors import FocusError, RunError
from napari_cytosae.models import focus_digest

if TYPE_CHECKING:  # reading a run needs none of what finds cells
    from napari_cytosae.cells import Cells, LabelImage

FOCUS_NAME = "focus.csv"
BOX_COLUMNS = ["crop_y0", "crop_x0", "crop_y1", "crop_x1"]
_FOLDERS = ("tokens", "measures")
_OURS = {
    MANIFEST_NAME, LOCK_NAME, "cells.csv", "cells.h5ad", FOCUS_NAME,
    "labels.tif", "nuclei.tif", *_FOLDERS,
}  # fmt: skip
_TILE = 256
# From pandas 3.1 on every float is read exactly, and the option that says so is deprecated.
_pandas = tuple(int(part) for part in pd.__version__.split(".")[:2])
_EXACT_FLOATS: dict[str, Any] = {} if _pandas >= (3, 1) else {"float_precision": "round_trip"}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names and contents of the files of a run; knows nothing of models.

    Parameters
    ----------
    path
        The folder ``NAME.cytosae``.
    """

    path: Path

    @property
    def manifest_path(self) -> Path:
        """What the run was made from; a folder without it is no run."""
        return self.path / MANIFEST_NAME

    @property
    def profiles_path(self) -> Path:
        """The AnnData file."""
        return self.path / "cells.h5ad"

    @property
    def has_nuclei(self) -> bool:
        """Whether the nuclei of the cells are known."""
        return (self.path / "nuclei.tif").exists()

    def shard_path(self, index: int) -> Path:
        """Path of one shard."""
        return self.path / "tokens" / f"shard-{index:06d}.safetensors"

    def measures_path(self, index: int) -> Path:
        """Path of the measures of one shard's cells."""
        return self.path / "measures" / f"shard-{index:06d}.npz"

    def create(self) -> None:
        """Make the folder, unless it is there.

        Raises
        ------
        RunError
            Where it cannot be made, or holds files that are no run's.
        """
        try:
            for name in _FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.path) from error

    def check_ours(self) -> None:
        """Refuse a folder with somebody's other files in it.

        Raises
        ------
        RunError
            Names one of the files.
        """
        if self.path.is_file():
            raise RunError(f"{self.path} is a file. Choose a folder for the run.")
        if not self.path.is_dir() or (self.path / MANIFEST_NAME).is_file():
            return
        foreign = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name.removesuffix(TEMPORARY_SUFFIX) not in _OURS
        )
        if foreign:
            raise RunError(
                f"{self.path} is no run and holds other files ({foreign[0]}). Choose another "
                "folder."
            )

    def clear(self) -> None:
        """Delete the run's own files only. The manifest goes first: half a run is none."""
        (self.path / MANIFEST_NAME).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in _OURS - {MANIFEST_NAME, LOCK_NAME, *_FOLDERS}:
            (self.path / name).unlink(missing_ok=True)
        self.create()

    def remove_if_empty(self) -> None:
        """Take the folder away again where an analysis ended before there was anything to keep.

        To be called by whoever holds the folder's lock.
        """
        if self.manifest_path.exists():
            return
        self.clear()
        # Windows does not delete an open lock file, nor does anything delete a folder with a
        # person's own files in it: then it stays.
        with suppress(OSError):
            for name in _FOLDERS:
                (self.path / name).rmdir()
            (self.path / LOCK_NAME).unlink()
            self.path.rmdir()

    def remove_leftovers(self) -> None:
        """Delete temporary files of a process that was killed in mid-write."""
        for leftover in self.path.rglob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    def write_cells(self, cells: "Cells", boxes: NDArray[np.float64]) -> None:
        """Write the label images and the table of cells with their crop boxes."""
        self.write_table(cells.table.assign(**dict(zip(BOX_COLUMNS, boxes.T, strict=True))))
        self._write_labels("labels.tif", cells.labels)
        if cells.nuclei is not None:
            self._write_labels("nuclei.tif", cells.nuclei)

    def write_table(self, table: pd.DataFrame) -> None:
        """Write the table of cells, `BOX_COLUMNS` included."""
        write_durably(
            self.path / "cells.csv", lambda temporary: table.to_csv(temporary, index=False)
        )

    def read_table(self, manifest: RunManifest) -> pd.DataFrame:
        """Read the table of cells, `BOX_COLUMNS` included, exactly as it was written."""
        path = self.path / "cells.csv"
        try:
            table: pd.DataFrame = pd.read_csv(path, dtype={"label": np.int64}, **_EXACT_FLOATS)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error
        if len(table) != manifest.n_cells or not {"label", *BOX_COLUMNS} <= set(table.columns):
            raise RunError(
                f"{path} is not the table of {manifest.n_cells} cells that this run began with. "
                "Analyse the image again."
            )
        if table.empty:  # no value tells a column's type
            return table.astype({name: float for name in table if name not in ("label", "source")})
        # Text stays text where some cells have none.
        words = table.select_dtypes(exclude=["number", "bool"]).columns
        return table.assign(**{name: table[name].fillna("").astype(str) for name in words})

    def write_focus(self, concept_ids: NDArray[np.int64] | None) -> None:
        """Write which concepts are encoded, unless all are."""
        if concept_ids is None:
            return
        text = focus_text(concept_ids)
        write_durably(
            self.path / FOCUS_NAME, lambda temporary: temporary.write_text(text, encoding="utf-8")
        )

    def read_focus(self, manifest: RunManifest) -> NDArray[np.int64] | None:
        """Read which concepts are encoded; None where all are.

        Raises
        ------
        RunError
            Where the file is missing or is another one than was written.
        """
        if manifest.key.focus is None:
            return None
        path = self.path / FOCUS_NAME
        try:
            ids = read_focus(path)
        except FocusError as error:
            raise RunError(f"{error} Analyse the image again.") from error
        if focus_digest(ids) != manifest.key.focus:
            raise RunError(
                f"{path} is not the list of concepts that this run was made with. Analyse the "
                "image again."
            )
        return ids

    def read_labels(self, name: str = "labels.tif") -> NDArray[np.int32]:
        """Read the label image, or with ``"nuclei.tif"`` the nuclei."""
        path = self.path / name
        try:
            labels: NDArray[np.int32] = tifffile.imread(path)
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error
        return labels

    def rows(self, manifest: RunManifest, index: int) -> slice:
        """Rows of the table that one shard holds."""
        start = index * manifest.shard_cells
        return slice(start, min(start + manifest.shard_cells, manifest.n_cells))

    def remove_damaged_shards(self, manifest: RunManifest, labels: NDArray[np.int64]) -> list[str]:
        """Check every shard that is there, and delete those that are damaged.

        Returns
        -------
        list of str
            The deleted shards' file names.
        """
        removed = []
        for index in range(manifest.n_shards):
            path = self.shard_path(index)
            if not path.exists():
                continue
            try:
                shard = Shard.read(path)
                intact = np.array_equal(shard.labels, labels[self.rows(manifest, index)])
            except RunError:
                intact = False
            if not intact:
                path.unlink()
                removed.append(path.name)
        return removed

    def remove_damaged_measures(self, manifest: RunManifest, labels: NDArray[np.int64]) -> None:
        """Check the measures that are there, and delete those that are damaged."""
        for index in range(manifest.n_shards):
            path = self.measures_path(index)
            if not path.exists():
                continue
            try:
                measures = ShardMeasures.read(path)
                intact = np.array_equal(measures.labels, labels[self.rows(manifest, index)])
            except RunError:
                intact = False
            if not intact:
                path.unlink()

    def measures(self, manifest: RunManifest) -> Iterator[ShardMeasures]:
        """Yield the measures of one shard after the other.

        Raises
        ------
        RunError
            Where one is missing or damaged.
        """
        for index in range(manifest.n_shards):
            yield ShardMeasures.read(self.measures_path(index))

    def summaries(
        self, manifest: RunManifest, boxes: NDArray[np.float64], threshold: float
    ) -> Iterator[CellSummary]:
        """Sum up every encoded cell, in the table's order, one shard in memory at a time."""
        for cell in self.cells(manifest, boxes):
            yield cell.summary(threshold)

    def cells(self, manifest: RunManifest, boxes: NDArray[np.float64]) -> Iterator[CellActivations]:
        """Yield every encoded cell in the table's order, one shard in memory at a time."""
        for index in range(manifest.n_shards):
            if self.shard_path(index).exists():
                yield from Shard.read(self.shard_path(index)).cells(
                    boxes[self.rows(manifest, index)]
                )

    def _write_labels(self, name: str, labels: "LabelImage") -> None:
        def write(temporary: Path) -> None:
            tifffile.imwrite(
                temporary,
                np.ascontiguousarray(np.asarray(labels), np.int32),
                tile=(_TILE, _TILE),
                compression="zlib",
                photometric="minisblack",
                metadata=None,
            )

        write_durably(self.path / name, write)
