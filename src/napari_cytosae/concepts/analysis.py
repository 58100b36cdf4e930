"""From an image to a finished run: find the cells, encode them, go on after a stop."""

import hashlib
import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_cytosae import __version__
from napari_cytosae.cells import (
    Cells,
    CropBatch,
    CropGeometry,
    cells_from_labels,
    crop_boxes,
    iter_crops,
    read_cells,
)
from napari_cytosae.concepts.cell import CellActivations
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.concepts.encode import EncodedBatch, EncodeOptions, Precision, encode_crops
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.profiles import build_profiles, write_profiles
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.shards import Shard
from napari_cytosae.concepts.steps import CellsFound, Progress
from napari_cytosae.errors import CellsError, OtherRunError, RunError
from napari_cytosae.models import Bundle, load_bundle, resolve_device, resolve_precision
from napari_cytosae.slides import Slide

logger = logging.getLogger(__name__)

SHARD_CELLS = 64
"""Cells per shard: what a kill costs at most. Some 5 MB on disk at 50 active concepts per token."""
THRESHOLD = 0.2
"""τ of the paper's patient barcodes, which count the tokens above it."""


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisJob:
    """One analysis, as data.

    Parameters
    ----------
    image
        A file, an array, or an open slide.
    bundle
        A bundle, its name, or its folder.
    cells
        ``"detect"``, ``"whole"`` (the image is one crop), a file of cells, a label image, or
        `Cells`.
    out
        The run folder; `default_folder` where None.
    precision, device
        ``"auto"``, or as in `EncodeOptions`.
    microns_per_pixel
        Pixel size at level 0, where it is known better than from the file.
    crop_um
        Side of a crop in µm, where the pixel size is known.
    threshold
        τ: ``layers["count"]`` counts the tokens above it.
    batch_cells
        Cells per forward pass.
    overwrite
        Replace a run that is in the folder instead of reopening or refusing it.
    """

    image: str | Path | ArrayLike | Slide
    bundle: str | Path | Bundle = "starter"
    cells: str | Path | ArrayLike | Cells = "detect"
    out: str | Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    microns_per_pixel: float | None = None
    crop_um: float = 25.0
    threshold: float = THRESHOLD
    batch_cells: int = 16
    overwrite: bool = False


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
) -> Run:
    """Find the cells of an image and encode them to concepts, or take up the same run again.

    Where `out` holds a run of the same image, cells, crops, bundle and precision, a finished one is
    reopened without the model, and an unfinished one goes on where it stopped and ends with the
    same bits.

    Parameters
    ----------
    image
        A file, an array ((H, W) or (H, W, 3 or 4)), or an open slide.
    bundle
        A bundle, its name, or its folder.
    cells
        ``"detect"``, ``"whole"`` (the image is one crop), a file of cells (see `read_cells`), a
        label image, or `Cells`.
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
        batch_cells=batch_cells, overwrite=overwrite,
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
    slide = _open_slide(job)
    folder = RunFolder(Path(job.out) if job.out is not None else default_folder(slide))
    bundle = job.bundle if isinstance(job.bundle, Bundle) else load_bundle(job.bundle)
    folder.check_ours()
    folder.create()
    try:
        with only_process(folder.path):
            folder.remove_leftovers()
            if job.overwrite:
                folder.clear()
            analysis = _Analysis(job, slide, bundle, folder, cancelled)
            yield from analysis.steps()
    finally:
        folder.remove_if_empty()
    yield Run(folder.path)


def default_folder(image: str | Path | Slide) -> Path:
    """Name the run folder that an image has without another wish: ``NAME.cytosae`` beside it.

    Raises
    ------
    RunError
        For an image that is no file.
    """
    path = image.path if isinstance(image, Slide) else Path(image)
    if path is None:
        raise RunError(
            "An image that is not a file has no folder beside it: say where the run is to be kept "
            "with out='NAME.cytosae'."
        )
    return path.with_name(path.stem.removesuffix(".ome") + ".cytosae")


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
        self.geometry = CropGeometry(crop_um=job.crop_um, whole=_is_word(job.cells, "whole"))

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

        yield Progress("write", 0, n_cells)
        manifest = replace(manifest, state="finished", finished=_now())
        boxes = table[BOX_COLUMNS].to_numpy(np.float64)
        profiles = build_profiles(
            manifest, table, self.folder.summaries(manifest, boxes, manifest.threshold)
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
        return manifest

    def _key(self) -> RunKey:
        return RunKey(
            image=self.slide.digest,
            cells=_cells_identity(self.job.cells),
            crop_um=float(self.geometry.crop_um),
            cell_fraction=float(self.geometry.cell_fraction),
            whole=self.geometry.whole,
            microns_per_pixel=self.microns_per_pixel,
            bundle=self.bundle.digest,
            precision=resolve_precision(self.job.precision, self.device),
        )

    def _find_cells(self) -> RunManifest:
        """Find the cells and write everything but activations; the manifest last."""
        cells = self._cells()
        boxes = crop_boxes(cells.table, self.geometry, self.microns_per_pixel, self.slide.shape)
        self.folder.write_cells(cells, np.asarray(boxes, np.float64).reshape(-1, 4))
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
        )
        manifest.write(self.folder.path)
        return manifest

    def _cells(self) -> Cells:
        source = self.job.cells
        if isinstance(source, str | Path):
            return read_cells(source, self.slide, microns_per_pixel=self.microns_per_pixel)
        if not isinstance(source, Cells):
            return cells_from_labels(
                source, shape=self.slide.shape, microns_per_pixel=self.microns_per_pixel
            )
        if source.labels.shape != self.slide.shape:
            raise CellsError(
                f"The cells lie on an image of {source.labels.shape} px, and {self.slide.name} has "
                f"{self.slide.shape} px (height, width). Give cells of this image."
            )
        return source

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


def _open_slide(job: AnalysisJob) -> Slide:
    if isinstance(job.image, Slide):
        return job.image
    if isinstance(job.image, str | Path):
        return Slide.open(job.image, microns_per_pixel=job.microns_per_pixel)
    return Slide.from_array(job.image, microns_per_pixel=job.microns_per_pixel)


def _cells_identity(source: str | Path | ArrayLike | Cells) -> str:
    """Say by which cells a run is known: the method's name, or a digest of the cells themselves."""
    for word in ("detect", "whole"):
        if _is_word(source, word):
            return word
    if isinstance(source, str | Path):
        path = Path(source)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)
    digest = hashlib.sha256()
    if isinstance(source, Cells):
        digest.update(source.table.to_csv(index=False).encode())
        source = source.labels
    labels = np.ascontiguousarray(source)
    digest.update(f"{labels.shape} {labels.dtype}".encode())
    digest.update(labels.data)
    return digest.hexdigest()


def _is_word(source: object, word: str) -> bool:
    return isinstance(source, str) and source == word


def _relative(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
