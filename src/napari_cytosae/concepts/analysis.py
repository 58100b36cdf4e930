"""From an image to a finished run: find the cells, encode them, go on after a stop."""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_cytosae import __version__
from napari_cytosae.cells import Cells, CropBatch, CropGeometry, crop_boxes, iter_crops
from napari_cytosae.concepts.cell import CellActivations
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.concepts.encode import EncodedBatch, EncodeOptions, Precision, encode_crops
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder
from napari_cytosae.concepts.job import THRESHOLD, AnalysisJob, default_folder
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.measures import measure_missing
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.concepts.profiles import build_profiles, write_profiles
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.concepts.steps import CellsFound, Progress
from napari_cytosae.errors import NamesError, OtherRunError
from napari_cytosae.models import Bundle, load_bundle, resolve_device, resolve_precision
from napari_cytosae.slides import Slide

logger = logging.getLogger(__name__)

SHARD_CELLS = 64
"""Cells per shard: what a kill costs at most. Some 5 MB on disk at 50 active concepts per token."""

Step = Progress | CellsFound | EncodedBatch | Run


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
    )  # fmt: skip
    with closing(analyze_steps(job, cancelled)) as steps:
        for step in steps:
            if isinstance(step, Progress) and progress is not None:
                progress(step)
    assert isinstance(step, Run)  # the last step is always the run
    return step


def analyze_steps(
    job: AnalysisJob, cancelled: Callable[[], bool] = lambda: False
) -> Generator[Step, None, None]:
    """Do what `analyze` does, step by step: for a worker that shows results while they come.

    Closing the generator ends the job; what has been written stays.

    Yields
    ------
    Progress, CellsFound, EncodedBatch or Run
        `CellsFound` once; an `EncodedBatch` as soon as its cells are encoded (cells that the folder
        had before do not come again); the `Run` last.
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
            yield from _Analysis(job, slide, bundle, folder, cancelled).steps()
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
    ) -> None:
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
        existing = self._existing_run()
        if existing is None:
            yield Progress("detect", 0, 0)
            manifest = self._find_cells()
        else:
            manifest = existing
        table = self.folder.read_table(manifest)
        yield CellsFound(self.folder.path, self.folder.read_labels(), table)

        damaged = self.folder.remove_damaged_shards(manifest, table["label"].to_numpy())
        message = manifest.note
        if damaged:
            message = f"{', '.join(damaged)} had been damaged and is computed anew."
            logger.warning("%s: %s", self.folder.path, message)
        n_cells = manifest.n_cells
        missing = [
            index
            for index in range(manifest.n_shards)
            if not self.folder.shard_path(index).exists()
        ]
        rows_to_do = [self.folder.rows(manifest, index) for index in missing]
        done = n_cells - sum(rows.stop - rows.start for rows in rows_to_do)
        yield Progress("encode", done, n_cells, message)

        complete = (
            not missing
            and manifest.state == "finished"
            and manifest.threshold == self.job.threshold
            and self.folder.profiles_path.exists()
        )
        if complete:
            return
        manifest = replace(manifest, state="encoding", finished=None, threshold=self.job.threshold)
        manifest.write(self.folder.path)
        for step in self._encode(manifest, table, missing):
            if isinstance(step, EncodedBatch):
                done += len(step)
            yield step
            yield Progress("encode", done, n_cells)

        if self.job.morphology:
            yield from measure_missing(
                self.folder, manifest, self.slide, self.microns_per_pixel, self.cancelled
            )
            table = self.folder.read_table(manifest)

        yield Progress("write", 0, n_cells)
        manifest = replace(manifest, state="finished", finished=_now())
        boxes = table[BOX_COLUMNS].to_numpy(np.float64)
        profiles = build_profiles(
            manifest,
            table,
            self.folder.summaries(manifest, boxes, manifest.threshold),
            self._names(),
            self.bundle.focus,
        )
        write_profiles(profiles, self.folder.profiles_path)
        manifest.write(self.folder.path)
        yield Progress("write", n_cells, n_cells)

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
        )

    def _find_cells(self) -> RunManifest:
        """Find the cells and write everything but activations; the manifest last."""
        cells = self.job.find_cells(self.slide, self.microns_per_pixel)
        boxes = crop_boxes(cells.table, self.geometry, self.microns_per_pixel, self.slide.shape)
        self.folder.write_cells(cells, np.asarray(boxes, np.float64).reshape(-1, 4))
        self.folder.write_focus(self.bundle.focus)
        note = ""
        if not len(cells.table):
            note = (
                f"No cells were found in {self.slide.name}. If it shows stained nucleated cells, "
                "give the pixel size, or give the cells themselves (a label image, points or "
                "boxes)."
            )
        manifest = RunManifest(
            state="encoding",
            key=self._key(),
            bundle_name=self.bundle.name,
            d_sae=self.bundle.d_sae,
            slide_name=self.slide.name,
            slide_path=_relative(self.slide.path, self.folder.path),
            slide_shape=self.slide.shape,
            n_cells=len(cells.table),
            shard_cells=SHARD_CELLS,
            batch_cells=self.job.batch_cells,
            threshold=self.job.threshold,
            device=str(self.device),
            software_version=__version__,
            created=_now(),
            note=note,
            sae_digest=self.bundle.sae_digest,
        )
        manifest.write(self.folder.path)
        return manifest

    def _names(self) -> Names:
        """Names that the concepts have now, so that other programs show them, too."""
        try:
            return Names.of(dictionary_of(self.bundle.sae_digest, self.bundle.names_path))
        except NamesError as error:
            logger.warning("Concepts go without names. %s", error)
            return Names({})

    def _encode(
        self, manifest: RunManifest, table: pd.DataFrame, missing: list[int]
    ) -> Generator[EncodedBatch, None, None]:
        """Encode the missing shards; each is written once its last cell is there."""

        def batches() -> Iterator[CropBatch]:
            # Batches are cut shard by shard, so that a resumed run forms the very same ones.
            for index in missing:
                yield from iter_crops(
                    self.slide,
                    table.iloc[self.folder.rows(manifest, index)],
                    self.geometry,
                    batch_cells=manifest.batch_cells,
                    microns_per_pixel=self.microns_per_pixel,
                )

        options = EncodeOptions(
            precision=manifest.key.precision,
            device=str(self.device),
            batch_cells=manifest.batch_cells,
        )
        waiting: list[CellActivations] = []
        left = list(missing)
        with closing(encode_crops(batches(), self.bundle, options, self.cancelled)) as encoded:
            for batch in encoded:
                waiting.extend(batch.cells())
                rows = self.folder.rows(manifest, left[0])
                if len(waiting) == rows.stop - rows.start:
                    Shard.from_cells(waiting, manifest.d_sae).write(
                        self.folder.shard_path(left[0]), shards_left=len(left)
                    )
                    waiting.clear()
                    left.pop(0)
                yield batch


def _relative(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
