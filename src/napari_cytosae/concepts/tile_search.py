"""Look a slide through for cells, tile by tile, and keep what was found on each."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, Survey, crop_boxes
from napari_cytosae.cells.detect import row_of
from napari_cytosae.cells.found import cell_table
from napari_cytosae.cells.grid import Box
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cells.region import Region
from napari_cytosae.cells.tiles import FoundCell, cells_of_tile, tile_boxes
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder
from napari_cytosae.concepts.label_writer import LabelWriter
from napari_cytosae.concepts.manifest import RunManifest
from napari_cytosae.concepts.schedule import ShardTask, TileTask
from napari_cytosae.concepts.shard_plan import label_step, tiled_name
from napari_cytosae.concepts.tile_records import TileRecord
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide


@dataclass(frozen=True, slots=True, eq=False)
class TileSearch:
    """The search of one slide; threads may look through different tiles at the same time.

    Parameters
    ----------
    folder, manifest
        The run.
    slide
        What is looked through.
    survey
        What its parts are measured against.
    geometry, microns_per_pixel
        How crops are cut.
    region
        Where cells are wanted; everywhere where None.
    labels, nuclei
        What cells are painted into.
    """

    folder: RunFolder
    manifest: RunManifest
    slide: Slide
    survey: Survey
    geometry: CropGeometry
    microns_per_pixel: float | None
    region: Region | None
    labels: LabelWriter
    nuclei: LabelWriter

    def tiles(self) -> list[TileTask]:
        """List the tiles on which there may be cells, row by row."""
        assert self.manifest.tile_px is not None
        boxes = enumerate(tile_boxes(self.slide.shape, self.manifest.tile_px))
        return [TileTask(number, box) for number, box in boxes if self._wanted(box)]

    def _wanted(self, box: Box) -> bool:
        occupied = self.survey.occupied
        return (occupied is None or occupied.meets(box)) and (
            self.region is None or self.region.meets(box)
        )

    def look_through(self, tile: TileTask) -> TileRecord:
        """Find the cells of a tile, paint them, and write the record; or read it.

        Raises
        ------
        RunError
            Where the folder cannot be written to.
        UnreachableImageError
            Where the slide is gone.
        CellsError
            Where a tile holds more cells than there are labels for.
        """
        path = self.folder.record_path(tile.number)
        known = TileRecord.read(path, tile.number)
        if known is not None:
            return known
        # A slide of its own for each tile: what is damaged on it must not depend on which tiles
        # were looked through before.
        patched = PatchedSlide(self.slide, self.survey.reference.glass)
        found = cells_of_tile(patched, self.survey, tile.place)
        cells, table = self._numbered(found, tile.number)
        boxes = crop_boxes(table, self.geometry, self.microns_per_pixel, self.slide.shape)
        table = table.assign(**dict(zip(BOX_COLUMNS, boxes.reshape(-1, 4).T, strict=True)))
        lost = _on_damage(table, patched)
        kept = ~lost & self._inside(cells)
        table = table[kept].reset_index(drop=True)
        cells = [cell for cell, keep in zip(cells, kept, strict=True) if keep]
        # First the picture, then the record: a record says that the tile has been painted.
        self.labels.paint(table["label"], [cell.extent for cell in cells])
        self.nuclei.paint(table["label"], [cell.nucleus for cell in cells])
        record = TileRecord(tile.number, table, tuple(patched.damaged), int(lost.sum()))
        record.write(path)
        return record

    def shards_of(self, record: TileRecord) -> list[ShardTask]:
        """Cut a tile's cells into shards."""
        return shard_tasks(record.table, self.folder, self.manifest.shard_cells)

    def _numbered(
        self, found: list[FoundCell], number: int
    ) -> tuple[list[FoundCell], pd.DataFrame]:
        assert self.manifest.tile_px is not None
        step = label_step(self.slide.shape, self.manifest.tile_px)
        if len(found) >= step:
            raise CellsError(
                f"More than {step:,} cells were found on one tile of {self.slide.name}: is its "
                "pixel size right?"
            )
        first = number * step + 1
        return found, cell_table([row_of(cell, n) for n, cell in enumerate(found, start=first)])

    def _inside(self, cells: list[FoundCell]) -> NDArray[np.bool_]:
        if self.region is None:
            return np.ones(len(cells), bool)
        return self.region.contains(np.array([(cell.y, cell.x) for cell in cells], float))


def shard_tasks(table: pd.DataFrame, folder: RunFolder, shard_cells: int) -> list[ShardTask]:
    """Cut the cells of one tile into shards."""
    tasks = []
    for start in range(0, len(table), shard_cells):
        rows = table.iloc[start : start + shard_cells]
        path = folder.tokens_path / tiled_name(int(rows["label"].iloc[0]))
        tasks.append(ShardTask(path, rows, place_of(rows)))
    return tasks


def place_of(rows: pd.DataFrame) -> Box:
    """Give the box around some cells, in level-0 px."""
    low = rows[["box_y0", "box_x0"]].min()
    high = rows[["box_y1", "box_x1"]].max()
    return int(low["box_y0"]), int(low["box_x0"]), int(high["box_y1"]), int(high["box_x1"])


def _on_damage(table: pd.DataFrame, patched: PatchedSlide) -> NDArray[np.bool_]:
    """Mark cells that lie on damaged places, or whose crops do."""
    lost = np.zeros(len(table), bool)
    damaged = patched.damaged
    for columns in (("box_y0", "box_x0", "box_y1", "box_x1"), tuple(BOX_COLUMNS)):
        y0, x0, y1, x1 = (table[name].to_numpy() for name in columns)
        for box in damaged:
            lost |= (y0 < box[2]) & (box[0] < y1) & (x0 < box[3]) & (box[1] < x1)
    return lost
