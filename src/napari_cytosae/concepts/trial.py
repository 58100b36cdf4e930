"""How many cells an analysis would find, how long it would take, and how much disk: tried first."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from napari_cytosae.cells import Region
from napari_cytosae.cells.count import CellCount, count_cells
from napari_cytosae.concepts.analysis import analyze_steps
from napari_cytosae.concepts.encode import EncodedBatch
from napari_cytosae.concepts.estimate import Estimate
from napari_cytosae.concepts.folder import RunFolder
from napari_cytosae.concepts.job import AnalysisJob
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.steps import CellsFound, Progress
from napari_cytosae.models import Bundle, load_bundle
from napari_cytosae.slides import Slide

# The trial encodes about so many cells: enough for more than one shard.
_TRIAL_CELLS = 96
# What the search and the model share a small processor with each other lies between none and all.
_SEARCH_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))


def estimate_analysis(
    job: AnalysisJob, cancelled: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, Estimate]:
    """Count cells on a sample of the slide, and analyse a few of them for trial.

    Nothing is written where the run would lie: the trial is kept in a temporary folder, and deleted.
    A slide without small levels gets them on the way, in the user's cache, as the run would do.

    Parameters
    ----------
    job
        What would be done.
    cancelled
        Asked now and then.

    Yields
    ------
    Progress
        Where it is; the estimate is what the generator returns.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    CytoSAEError
        Whatever would stop the analysis, too.
    """
    yield Progress("open", 0, 0)
    slide = job.open_slide()
    bundle = job.bundle if isinstance(job.bundle, Bundle) else load_bundle(job.bundle)
    yield Progress("detect", 0, 0)
    count, part = _counted(job, slide, cancelled)
    trial = _Trial()
    if part is not None:
        trial_job = replace(job, image=slide, bundle=bundle, region=part, overwrite=False)
        with tempfile.TemporaryDirectory(prefix="cytosae-") as temporary:
            folder = Path(temporary) / "trial.cytosae"
            steps = analyze_steps(replace(trial_job, out=folder), cancelled)
            with closing(steps):
                for step in steps:
                    trial.note(step)
                    if isinstance(step, Progress) and step.stage == "encode":
                        yield Progress("encode", step.done, step.total)
            trial.weigh(folder)
    room = shutil.disk_usage(_existing(Path(job.out) if job.out is not None else Path.cwd())).free
    return trial.estimate(count, room)


def _counted(
    job: AnalysisJob, slide: Slide, cancelled: Callable[[], bool]
) -> tuple[CellCount, Region | None]:
    """Count the cells, and choose a part of the slide with a few of them."""
    size = job.microns_per_pixel or slide.microns_per_pixel
    if isinstance(job.cells, str) and job.cells == "detect":
        count = count_cells(slide, size, job.region, cancelled=cancelled)
        with_cells = sorted((each for each in count.sample if each[1]), key=lambda at: len(at[1]))
        if not with_cells:
            return count, None
        # A usual tile, rather one that has enough.
        tile, found = next(
            (each for each in with_cells if len(each[1]) >= _TRIAL_CELLS), with_cells[-1]
        )
        rows = sorted(cell.y for cell in found)
        bottom = rows[min(len(rows), _TRIAL_CELLS) - 1] + 2
        # A pixel less, or the tiles beside it would be looked through too.
        return count, Region.of_box(tile[0] + 1, tile[1] + 1, min(bottom, tile[2]), tile[3])
    began = time.monotonic()
    cells = job.find_cells(slide, size)
    n = len(cells)
    count = CellCount(n, n, n, 1, 1, time.monotonic() - began)
    if not n:
        return count, None
    centres = np.sort(cells.table["centroid_y"].to_numpy(float))
    lowest = float(centres[min(n, _TRIAL_CELLS) - 1]) + 1
    return count, Region.of_box(0, 0, lowest, slide.shape[1])


class _Trial:
    """What the analysis of a few cells took, stage by stage."""

    def __init__(self) -> None:
        self._stage, self._since = "open", time.monotonic()
        self._spent: dict[str, float] = {}
        self._batches: list[tuple[float, int]] = []
        self._measured: list[tuple[float, int]] = []
        self._cells = 0
        self._bytes_per_cell, self._fixed_bytes = 0.0, 0

    def note(self, step: object) -> None:
        """Take the time of a step."""
        now = time.monotonic()
        stage = step.stage if isinstance(step, Progress) else self._stage
        if isinstance(step, CellsFound):
            stage = "encode"
        elif isinstance(step, EncodedBatch):
            self._batches.append((now, len(step)))
        elif isinstance(step, Run):
            self._cells = len(step)
        if isinstance(step, Progress) and step.stage == "measure":
            self._measured.append((now, step.done))
        self._spent[self._stage] = self._spent.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def weigh(self, path: Path) -> None:
        """Take the size of the run folder, apart what does not grow with the number of cells."""
        folder = RunFolder(path)
        total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for file in (folder.profiles_path, folder.by_concept_path):
            self._fixed_bytes += file.stat().st_size - _growing(file)
        self._bytes_per_cell = max(total - self._fixed_bytes, 0) / max(self._cells, 1)

    def estimate(self, count: CellCount, free_bytes: int) -> Estimate:
        """Extrapolate to all cells."""
        once = self._spent.get("open", 0.0) + self._spent.get("detect", 0.0)
        per_cell = _pace(self._batches, counted=False) or self._per_cell("encode")
        after = _pace(self._measured, counted=True) or self._per_cell("measure")
        after += self._per_cell("write")
        search = count.tiles * count.seconds_per_tile

        def seconds(cells: int, *, shared: bool) -> float:
            encode = cells * per_cell
            # Cells are encoded while others are looked for: side by side, or in turns.
            side_by_side = max(search / _SEARCH_THREADS, encode)
            return once + (search + encode if shared else side_by_side) + cells * after

        def size(cells: int) -> int:
            return round(self._fixed_bytes + cells * self._bytes_per_cell)

        expected = (
            seconds(count.expected, shared=True) + seconds(count.expected, shared=False)
        ) / 2
        return Estimate(
            cells=count.expected,
            cells_low=count.low,
            cells_high=count.high,
            seconds=expected,
            seconds_low=seconds(count.low, shared=False),
            seconds_high=seconds(count.high, shared=True),
            n_bytes=size(count.expected),
            n_bytes_high=size(count.high),
            free_bytes=free_bytes,
        )

    def _per_cell(self, stage: str) -> float:
        return self._spent.get(stage, 0.0) / max(self._cells, 1)


def _pace(stamps: list[tuple[float, int]], *, counted: bool) -> float | None:
    """Give the seconds per cell after the first stamp, whose work also set everything up."""
    stamps = [stamp for stamp in stamps if stamp[1] > 0]
    if len(stamps) < 2:
        return None
    cells = stamps[-1][1] - stamps[0][1] if counted else sum(n for _, n in stamps[1:])
    return (stamps[-1][0] - stamps[0][0]) / cells if cells else None


def _growing(path: Path) -> int:
    """Give the bytes of an HDF5 file that grow with the number of cells; not those of concepts."""
    sizes: list[int] = []

    def note(name: str, each: h5py.Dataset | h5py.Group) -> None:
        if isinstance(each, h5py.Dataset) and name.split("/")[0] not in ("var", "uns", "indptr"):
            # A small table does not fill its last chunk.
            sizes.append(min(int(each.id.get_storage_size()), int(each.nbytes)))

    with h5py.File(path) as file:
        file.visititems(note)
    return sum(sizes)


def _existing(path: Path) -> Path:
    """Give the nearest folder above a path that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
