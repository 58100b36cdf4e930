"""From an image to a finished run: find the cells, encode them, go on after a stop."""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_cytosae import __version__
from napari_cytosae.cells import Cells, CropGeometry, crop_boxes, survey_slide
from napari_cytosae.cells.detect import tile_side
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cells.region import Region
from napari_cytosae.cells.survey import is_field
from napari_cytosae.concepts.by_concept import write_by_concept
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.concepts.encode import EncodedBatch, EncodeOptions, Precision
from napari_cytosae.concepts.encode_work import ShardEncoder
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder, empty_table
from napari_cytosae.concepts.job import THRESHOLD, AnalysisJob, default_folder
from napari_cytosae.concepts.label_writer import LabelWriter
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.measures import measure_missing
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.concepts.profile_file import write_profiles
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.schedule import InView, Schedule, ShardTask
from napari_cytosae.concepts.search_work import search_and_encode
from napari_cytosae.concepts.shard_plan import ShardPlan
from napari_cytosae.concepts.steps import CellsFound, MoreCells, Progress
from napari_cytosae.concepts.survey_file import read_survey, write_survey
from napari_cytosae.concepts.tile_records import damage_note, merged_boxes
from napari_cytosae.concepts.tile_search import TileSearch, place_of
from napari_cytosae.errors import NamesError, OtherRunError
from napari_cytosae.models import Bundle, load_bundle, resolve_device, resolve_precision
from napari_cytosae.slides import Slide

logger = logging.getLogger(__name__)

SHARD_CELLS = 64
"""Cells per shard: what a kill costs at most. Some 5 MB on disk at 50 active concepts per token."""

Step = Progress | CellsFound | MoreCells | EncodedBatch | Run


def analyze(
    image: str | Path | ArrayLike | Slide,
    bundle: str | Path | Bundle = "starter",
    cells: str | Path | ArrayLike | Cells = "detect",
    out: str | Path | None = None,
    *,
    precision: Precision = "auto",
    device: str = "auto",
    microns_per_pixel: float | None = None,
    crop_um: float = 25.0,
    threshold: float = THRESHOLD,
    batch_cells: int = 16,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    overwrite: bool = False,
    morphology: bool = True,
    focus: str | Path | ArrayLike | Iterable[int] | None = None,
    region: Region | None = None,
) -> Run:
    """Find the cells of an image and encode them to concepts, or take up the same run again.

    Where `out` holds a run of the same image, cells, crops, bundle, precision and focus, a finished
    one is reopened without the model, and an unfinished one goes on where it stopped and ends with
    the same bits.

    Parameters
    ----------
    image
        A file, an array ((H, W) or (H, W, 3 or 4)), or an open slide.
    bundle
        A bundle, its name, or its folder.
    cells
        ``"detect"`` (nucleated cells), ``"red"`` (red cells), ``"whole"`` (the image is one crop),
        a file of cells (see `read_cells`), a label image, or `Cells`.
    out
        The run folder. Without it ``NAME.cytosae`` beside the image; an array needs one.
    precision
        ``"auto"`` takes what an existing run has, else bfloat16 where the processor does it in
        hardware.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    microns_per_pixel
        Pixel size at level 0, where it is known better than from the file.
    crop_um
        Side of a crop in µm, where the pixel size is known.
    threshold
        τ: ``layers["count"]`` counts the tokens above it. A finished run is counted anew without
        the model.
    batch_cells
        Cells per forward pass; an existing run keeps its own.
    progress
        Called with `Progress` values.
    cancelled
        Asked between batches; what has been written stays and is gone on with next time.
    overwrite
        Replace a run that is in the folder.
    morphology
        Measure the cells too (see `measure_morphology`), and what each of their patches shows.
    focus
        The only concepts to encode: ids, a file of them (text or CSV with one id a line, ``.npy``),
        or an atlas's focus. Ids stay those of the whole SAE. None encodes all.
    region
        The part of the image whose cells are wanted. None takes all of it.

    Returns
    -------
    Run
        With no rows, and a `Run.note`, where the image has no cells.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    RunError
        Where the folder holds another run, is in use, or cannot be written.
    CytoSAEError
        Where the image, the cells or the bundle cannot be read.
    """
    job = AnalysisJob(
        image=image, bundle=bundle, cells=cells, out=out, precision=precision, device=device,
        microns_per_pixel=microns_per_pixel, crop_um=crop_um, threshold=threshold,
        batch_cells=batch_cells, overwrite=overwrite, morphology=morphology, focus=focus,
        region=region,
    )  # fmt: skip
    with closing(analyze_steps(job, cancelled)) as steps:
        for step in steps:
            if isinstance(step, Progress) and progress is not None:
                progress(step)
    assert isinstance(step, Run)  # the last step is always the run
    return step


def analyze_steps(
    job: AnalysisJob,
    cancelled: Callable[[], bool] = lambda: False,
    in_view: InView = lambda: None,
) -> Generator[Step, None, None]:
    """Do what `analyze` does, step by step: for a worker that shows results while they come.

    Closing the generator ends the job; what has been written stays.

    Parameters
    ----------
    job
        What to do.
    cancelled
        Asked between batches.
    in_view
        Tells the box of level-0 px that a person looks at, or None; asked, by other threads too,
        whenever something new is begun. What lies in it comes first; the result is the same.

    Yields
    ------
    Progress, CellsFound, MoreCells, EncodedBatch or Run
        `CellsFound` once; `MoreCells` for each tile of a slide that is looked through; an
        `EncodedBatch` as soon as its cells are encoded (cells that the folder had before do not
        come again); the `Run` last.
    """
    yield Progress("open", 0, 0)
    slide = job.open_slide()
    folder = RunFolder(Path(job.out) if job.out is not None else default_folder(slide))
    bundle = job.bundle if isinstance(job.bundle, Bundle) else load_bundle(job.bundle)
    bundle = job.focused(bundle)
    folder.check_ours()
    folder.create()
    with only_process(folder.path):
        try:
            folder.remove_leftovers()
            if job.overwrite:
                folder.clear()
            yield from _Analysis(job, slide, bundle, folder, cancelled, in_view).steps()
        finally:
            folder.remove_if_empty()
    yield Run(folder.path)


class _Analysis:
    """One analysis at work in a folder that is locked for it."""

    def __init__(
        self,
        job: AnalysisJob,
        slide: Slide,
        bundle: Bundle,
        folder: RunFolder,
        cancelled: Callable[[], bool],
        in_view: InView,
    ) -> None:
        self.in_view = in_view
        self.job = job
        self.slide = slide
        self.bundle = bundle
        self.folder = folder
        self.cancelled = cancelled
        self.device = resolve_device(job.device)
        self.microns_per_pixel = job.microns_per_pixel or slide.microns_per_pixel
        self.geometry = CropGeometry(crop_um=job.crop_um, whole=job.whole)

    def steps(self) -> Iterator[Step]:
        """Go through the analysis, or what is left of it."""
        manifest = self._existing_run()
        if manifest is None:
            yield Progress("detect", 0, 0)
            manifest = self._begin_search() if self._is_searched() else self._find_cells()
        if manifest.state == "detecting":
            yield CellsFound(self.folder.path, self.folder.read_labels(), empty_table())
            search = self._search(manifest)
            yield from search_and_encode(
                search, self._encoder(manifest), self.cancelled, self.in_view
            )
            manifest = self._end_search(manifest, search)
        else:
            self.folder.remove_records()
            table = self.folder.read_table(manifest)
            yield CellsFound(self.folder.path, self.folder.read_labels(), table)
            yield from self._encode_missing(manifest, table)
            manifest = RunManifest.read(self.folder.path)
        if not self._is_complete(manifest):
            if manifest.state == "finished":  # until the new profiles are there
                manifest = replace(manifest, state="encoding", finished=None)
                manifest.write(self.folder.path)
            yield from self._measure(manifest)
            yield from self._finish(manifest)

    def _encode_missing(self, manifest: RunManifest, table: pd.DataFrame) -> Iterator[Step]:
        """Encode the shards of known cells that are not there, or are damaged."""
        labels = table["label"].to_numpy(np.int64)
        plan = ShardPlan.of(manifest, labels)
        damaged = self.folder.remove_damaged_shards(plan, labels)
        message = manifest.note
        if damaged:
            message = f"{', '.join(damaged)} had been damaged and is computed anew."
            logger.warning("%s: %s", self.folder.path, message)
        tasks = []
        for index, name in enumerate(plan.names):
            if not (self.folder.tokens_path / name).exists():
                rows = table.iloc[plan.rows(index)]
                tasks.append(ShardTask(self.folder.tokens_path / name, rows, place_of(rows)))
        done = len(table) - sum(len(task.table) for task in tasks)
        yield Progress("encode", done, len(table), message)
        if not tasks:
            return
        if manifest.state == "finished":
            replace(manifest, state="encoding", finished=None).write(self.folder.path)
        schedule = Schedule(in_view=self.in_view)
        schedule.add(tasks)
        for step in self._encoder(manifest).encode(schedule, self.cancelled):
            if isinstance(step, EncodedBatch):
                done += len(step)
                yield step
                yield Progress("encode", done, len(table))

    def _is_complete(self, manifest: RunManifest) -> bool:
        return (
            manifest.state == "finished"
            and manifest.threshold == self.job.threshold
            and self.folder.profiles_path.exists()
        )

    def _measure(self, manifest: RunManifest) -> Iterator[Step]:
        """Measure the cells that are not measured yet, and add the measures to the table."""
        if self.job.morphology:
            yield from measure_missing(
                self.folder, manifest, self.slide, self.microns_per_pixel, self.cancelled
            )

    def _finish(self, manifest: RunManifest) -> Iterator[Step]:
        """Write the profiles; all shards are there."""
        table = self.folder.read_table(manifest)
        yield Progress("write", 0, len(table))
        self.folder.by_concept_path.unlink(missing_ok=True)
        manifest = replace(
            manifest, state="finished", finished=_now(), threshold=self.job.threshold
        )
        plan = ShardPlan.of(manifest, table["label"].to_numpy(np.int64))
        boxes = table[BOX_COLUMNS].to_numpy(np.float64)
        write_profiles(
            self.folder.profiles_path,
            manifest,
            table,
            self.folder.summaries(plan, boxes, manifest.threshold),
            self._names(),
            self.bundle.focus,
        )
        write_by_concept(self.folder.profiles_path, self.folder.by_concept_path)
        manifest.write(self.folder.path)
        yield Progress("write", len(table), len(table))

    # -- a slide that is looked through while its cells are encoded ------------------------------

    def _is_searched(self) -> bool:
        """Tell whether cells are looked for tile by tile."""
        return (
            isinstance(self.job.cells, str)
            and self.job.cells == "detect"
            and not is_field(self.slide.shape)
        )

    def _begin_search(self) -> RunManifest:
        """Measure the slide, and write all that a search needs to go on; the manifest last."""
        survey = survey_slide(self.slide, self.microns_per_pixel)
        write_survey(survey, self.folder.survey_path)
        self._write_choices()
        self.folder.records_path.mkdir(exist_ok=True)
        for name in ("labels", "nuclei"):
            self._label_writer(name)
        manifest = self._new_manifest("detecting", 0, "", tile_side(survey))
        manifest.write(self.folder.path)
        return manifest

    def _search(self, manifest: RunManifest) -> TileSearch:
        return TileSearch(
            folder=self.folder,
            manifest=manifest,
            slide=self.slide,
            survey=read_survey(self.folder.survey_path),
            geometry=self.geometry,
            microns_per_pixel=self.microns_per_pixel,
            region=self.job.region,
            labels=self._label_writer("labels"),
            nuclei=self._label_writer("nuclei"),
        )

    def _label_writer(self, name: str) -> LabelWriter:
        return LabelWriter(
            self.folder.path / f"{name}.zarr", self.slide.shape, self.microns_per_pixel
        )

    def _end_search(self, manifest: RunManifest, search: TileSearch) -> RunManifest:
        """Put the tiles' tables together; from now on the run is like one of known cells."""
        numbers = [tile.number for tile in search.tiles()]
        records = [self.folder.read_record(number) for number in numbers]
        tables = [record.table for record in records if len(record.table)]
        self.folder.write_table(tables or [empty_table()])
        damaged = merged_boxes(box for record in records for box in record.damaged)
        n_lost = sum(record.n_lost for record in records)
        if damaged:
            self.folder.write_problems(damaged)
        n_cells = sum(len(table) for table in tables)
        notes = [self._note(n_cells), damage_note(self.slide.name, damaged, n_lost)]
        manifest = replace(
            manifest,
            state="encoding",
            n_cells=n_cells,
            note=" ".join(note for note in notes if note),
        )
        manifest.write(self.folder.path)
        self.folder.remove_records()
        return manifest

    # -- what a run is known by ------------------------------------------------------------------

    def _existing_run(self) -> RunManifest | None:
        if not self.folder.manifest_path.exists():
            return None
        manifest = RunManifest.read(self.folder.path)
        key = self._key()
        if self.job.precision == "auto":
            # A run made on another machine, or before, is as good: its own precision is gone on
            # with.
            key = replace(key, precision=manifest.key.precision)
        if differences := manifest.key.differences(key):
            raise OtherRunError(
                f"{self.folder.path} holds a run with {', '.join(differences)}. Choose another "
                "folder, or say that it may be overwritten (overwrite=True)."
            )
        if manifest.sae_digest is None:
            manifest = replace(manifest, sae_digest=self.bundle.sae_digest)
            manifest.write(self.folder.path)
        return manifest

    def _key(self) -> RunKey:
        return RunKey(
            image=self.slide.digest,
            cells=self.job.cells_identity(),
            crop_um=float(self.geometry.crop_um),
            cell_fraction=float(self.geometry.cell_fraction),
            whole=self.geometry.whole,
            microns_per_pixel=self.microns_per_pixel,
            bundle=self.bundle.digest,
            precision=resolve_precision(self.job.precision, self.device),
            focus=self.bundle.focus_digest,
            region=None if self.job.region is None else self.job.region.digest,
        )

    def _find_cells(self) -> RunManifest:
        """Find the cells and write everything but activations; the manifest last."""
        cells = self.job.find_cells(self.slide, self.microns_per_pixel)
        boxes = crop_boxes(cells.table, self.geometry, self.microns_per_pixel, self.slide.shape)
        self.folder.write_cells(cells, np.asarray(boxes, np.float64).reshape(-1, 4))
        self._write_choices()
        n_cells = len(cells.table)
        manifest = self._new_manifest("encoding", n_cells, self._note(n_cells))
        manifest.write(self.folder.path)
        return manifest

    def _write_choices(self) -> None:
        """Write which concepts and which part of the slide are wanted."""
        self.folder.write_focus(self.bundle.focus)
        if self.job.region is not None:
            self.folder.write_region(self.job.region)

    def _note(self, n_cells: int) -> str:
        if n_cells:
            return ""
        where = self.slide.name if self.job.region is None else f"this part of {self.slide.name}"
        return (
            f"No cells were found in {where}. If it shows stained nucleated cells, give the pixel "
            "size, or give the cells themselves (a label image, points or boxes)."
        )

    def _new_manifest(
        self,
        state: Literal["detecting", "encoding"],
        n_cells: int,
        note: str,
        tile_px: int | None = None,
    ) -> RunManifest:
        return RunManifest(
            state=state,
            key=self._key(),
            bundle_name=self.bundle.name,
            d_sae=self.bundle.d_sae,
            slide_name=self.slide.name,
            slide_path=_relative(self.slide.path, self.folder.path),
            slide_shape=self.slide.shape,
            n_cells=n_cells,
            shard_cells=SHARD_CELLS,
            batch_cells=self.job.batch_cells,
            threshold=self.job.threshold,
            device=str(self.device),
            software_version=__version__,
            created=_now(),
            note=note,
            sae_digest=self.bundle.sae_digest,
            tile_px=tile_px,
        )

    def _names(self) -> Names:
        """Names that the concepts have now, so that other programs show them, too."""
        try:
            return Names.of(dictionary_of(self.bundle.sae_digest, self.bundle.names_path))
        except NamesError as error:
            logger.warning("Concepts go without names. %s", error)
            return Names({})

    def _encoder(self, manifest: RunManifest) -> ShardEncoder:
        fill = (255.0, 255.0, 255.0)
        if manifest.tile_px is not None:
            fill = read_survey(self.folder.survey_path).reference.glass
        return ShardEncoder(
            PatchedSlide(self.slide, fill),
            self.bundle,
            EncodeOptions(
                precision=manifest.key.precision,
                device=str(self.device),
                batch_cells=manifest.batch_cells,
            ),
            self.geometry,
            self.microns_per_pixel,
        )


def _relative(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
