"""The run folder on disk: which file lies where, and which cells are encoded."""

import json
import shutil
from collections.abc import Iterable, Iterator
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
    write_json_durably,
)
from napari_cytosae.concepts.focus import focus_text, read_focus
from napari_cytosae.concepts.manifest import MANIFEST_NAME, RunManifest
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.concepts.shard_plan import ShardPlan
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.concepts.tile_records import TileRecord
from napari_cytosae.errors import CellsError, FocusError, RunError
from napari_cytosae.models import focus_digest

if TYPE_CHECKING:  # reading a run needs none of what finds cells
    from napari_cytosae.cells import Cells, LabelImage
    from napari_cytosae.cells.region import Region

FOCUS_NAME = "focus.csv"
SURVEY_NAME = "survey.npz"
REGION_NAME = "region.json"
PROBLEMS_NAME = "problems.csv"
BY_CONCEPT_NAME = "by_concept.h5"
PROBLEM_COLUMNS = ["y0", "x0", "y1", "x1"]
BOX_COLUMNS = ["crop_y0", "crop_x0", "crop_y1", "crop_x1"]
_WORKED_IN = ("tokens", "measures")
_FOLDERS = (*_WORKED_IN, "labels.zarr", "nuclei.zarr", "tiles")
_OURS = {
    MANIFEST_NAME, LOCK_NAME, "cells.csv", "cells.h5ad", FOCUS_NAME,
    "labels.tif", "nuclei.tif", SURVEY_NAME, REGION_NAME, PROBLEMS_NAME, BY_CONCEPT_NAME,
    *_FOLDERS,
}  # fmt: skip
_TILE = 256
# From pandas 3.1 on every float is read exactly, and the option that says so is deprecated.
_pandas = tuple(int(part) for part in pd.__version__.split(".")[:2])
_EXACT_FLOATS: dict[str, Any] = {} if _pandas >= (3, 1) else {"float_precision": "round_trip"}


def empty_table() -> pd.DataFrame:
    """Give the table of no cells."""
    from napari_cytosae.cells.found import cell_table

    return cell_table([]).assign(**dict.fromkeys(BOX_COLUMNS, np.zeros(0, np.float64)))


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
        return any((self.path / f"nuclei.{kind}").exists() for kind in ("tif", "zarr"))

    @property
    def by_concept_path(self) -> Path:
        """The profiles once more, concept by concept."""
        return self.path / BY_CONCEPT_NAME

    @property
    def tokens_path(self) -> Path:
        """Folder of the shards."""
        return self.path / "tokens"

    def shard_path(self, name: str) -> Path:
        """Path of one shard, by its name in the plan."""
        return self.tokens_path / name

    @property
    def survey_path(self) -> Path:
        """What the parts of a slide are measured against."""
        return self.path / SURVEY_NAME

    @property
    def problems_path(self) -> Path:
        """What of the slide could not be read."""
        return self.path / PROBLEMS_NAME

    @property
    def records_path(self) -> Path:
        """Folder of what was found on each tile, until all have been looked through."""
        return self.path / "tiles"

    def record_path(self, number: int) -> Path:
        """Path of what was found on one tile."""
        return self.records_path / f"tile-{number:06d}.json"

    def measures_path(self, name: str) -> Path:
        """Path of the measures of one shard's cells, by the shard's name in the plan."""
        return (self.path / "measures" / name).with_suffix(".npz")

    def create(self) -> None:
        """Make the folder, unless it is there.

        Raises
        ------
        RunError
            Where it cannot be made, or holds files that are no run's.
        """
        try:
            for name in _WORKED_IN:
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
            for name in _WORKED_IN:
                (self.path / name).rmdir()
            (self.path / LOCK_NAME).unlink()
            self.path.rmdir()

    def remove_leftovers(self) -> None:
        """Delete temporary files of a process that was killed in mid-write."""
        for leftover in self.path.rglob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    def write_cells(self, cells: "Cells", boxes: NDArray[np.float64]) -> None:
        """Write the label images and the table of cells with their crop boxes."""
        table = cells.table.assign(**dict(zip(BOX_COLUMNS, boxes.T, strict=True)))
        self.write_table([table])
        self._write_labels("labels", cells.labels, cells.microns_per_pixel)
        if cells.nuclei is not None:
            self._write_labels("nuclei", cells.nuclei, cells.microns_per_pixel)

    def write_table(self, parts: Iterable[pd.DataFrame]) -> None:
        """Write the table of cells, `BOX_COLUMNS` included, part after part, all of the same columns."""

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                for number, part in enumerate(parts):
                    part.to_csv(file, index=False, header=number == 0)

        write_durably(self.path / "cells.csv", write)

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

    def read_labels(self, name: str = "labels", *, final: bool = False) -> "LabelImage":
        """Read the label image, or with ``"nuclei"`` the nuclei; a slide's stays on the disk.

        With `final`, nothing is painted into it any more.

        Raises
        ------
        RunError
            Where it is missing or damaged.
        """
        if (self.path / f"{name}.zarr").is_dir():
            from napari_cytosae.concepts.stored_labels import StoredLabels

            return StoredLabels(self.path / f"{name}.zarr", final=final)
        path = self.path / f"{name}.tif"
        try:
            labels: NDArray[np.int32] = tifffile.imread(path)
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error
        return labels

    def read_record(self, number: int) -> TileRecord:
        """Read what was found on one tile.

        Raises
        ------
        RunError
            Where it is missing.
        """
        record = TileRecord.read(self.record_path(number), number)
        if record is None:
            raise RunError(
                f"{self.record_path(number)} cannot be read. Start the same analysis again: it "
                "goes on from what has been written."
            )
        return record

    def remove_records(self) -> None:
        """Delete what was found on each tile, which the table holds by now."""
        shutil.rmtree(self.records_path, ignore_errors=True)

    def write_region(self, region: "Region") -> None:
        """Write which part of the slide is analysed."""
        corners = [polygon.tolist() for polygon in region.polygons]
        write_json_durably(self.path / REGION_NAME, {"polygons_yx": corners}, indent=None)

    def read_region(self) -> "Region | None":
        """Read which part of the slide is analysed; None where all of it is.

        Raises
        ------
        RunError
            Where the file is damaged.
        """
        from napari_cytosae.cells.region import Region

        path = self.path / REGION_NAME
        try:
            return Region.of(json.loads(path.read_text(encoding="utf-8"))["polygons_yx"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, CellsError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error

    def write_problems(self, damaged: list[tuple[int, int, int, int]]) -> None:
        """Write what of the slide could not be read."""
        table = pd.DataFrame(damaged, columns=PROBLEM_COLUMNS)
        write_durably(self.problems_path, lambda temporary: table.to_csv(temporary, index=False))

    def read_records(self) -> pd.DataFrame | None:
        """Read the cells of the tiles that have been looked through; None where there is no cell."""
        found = []
        for path in sorted(self.records_path.glob("tile-*.json")):
            record = TileRecord.read(path, 0)
            if record is not None and len(record.table):
                found.append(record.table)
        return pd.concat(found, ignore_index=True) if found else None

    def remove_damaged_shards(self, plan: ShardPlan, labels: NDArray[np.int64]) -> list[str]:
        """Check every shard that is there, and delete those that are damaged.

        Returns
        -------
        list of str
            The deleted shards' file names.
        """
        removed = []
        for index, name in enumerate(plan.names):
            path = self.tokens_path / name
            if not path.exists():
                continue
            try:
                intact = np.array_equal(Shard.read(path).labels, labels[plan.rows(index)])
            except RunError:
                intact = False
            if not intact:
                path.unlink()
                removed.append(path.name)
        return removed

    def remove_damaged_measures(self, plan: ShardPlan, labels: NDArray[np.int64]) -> None:
        """Check the measures that are there, and delete those that are damaged."""
        for index, name in enumerate(plan.names):
            path = self.measures_path(name)
            if not path.exists():
                continue
            try:
                measures = ShardMeasures.read(path)
                intact = np.array_equal(measures.labels, labels[plan.rows(index)])
            except RunError:
                intact = False
            if not intact:
                path.unlink()

    def measures(self, plan: ShardPlan) -> Iterator[ShardMeasures]:
        """Yield the measures of one shard after the other.

        Raises
        ------
        RunError
            Where one is missing or damaged.
        """
        for name in plan.names:
            yield ShardMeasures.read(self.measures_path(name))

    def summaries(
        self, plan: ShardPlan, boxes: NDArray[np.float64], threshold: float
    ) -> Iterator[CellSummary]:
        """Sum up every encoded cell, in the table's order, one shard in memory at a time."""
        for cell in self.cells(plan, boxes):
            yield cell.summary(threshold)

    def cells(self, plan: ShardPlan, boxes: NDArray[np.float64]) -> Iterator[CellActivations]:
        """Yield every encoded cell in the table's order, one shard in memory at a time."""
        for index, name in enumerate(plan.names):
            if (self.tokens_path / name).exists():
                yield from Shard.read(self.tokens_path / name).cells(boxes[plan.rows(index)])

    def _write_labels(
        self, name: str, labels: "LabelImage", microns_per_pixel: float | None
    ) -> None:
        height, width = labels.shape
        from napari_cytosae.cells.survey import is_field

        if not is_field((height, width)):
            from napari_cytosae.concepts.label_writer import LabelWriter

            writer = LabelWriter(self.path / f"{name}.zarr", (height, width), microns_per_pixel)
            writer.paint_image(labels)
            return

        def write(temporary: Path) -> None:
            tifffile.imwrite(
                temporary,
                np.ascontiguousarray(np.asarray(labels), np.int32),
                tile=(_TILE, _TILE),
                compression="zlib",
                photometric="minisblack",
                metadata=None,
            )

        write_durably(self.path / f"{name}.tif", write)
