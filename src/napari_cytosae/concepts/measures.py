"""Measure a run's cells beside their concepts: morphology, and what each patch shows."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells.compartments import COMPARTMENTS, count_compartments
from napari_cytosae.cells.label_image import LabelImage
from napari_cytosae.cells.morphology import MORPHOLOGY, measure_view
from napari_cytosae.cells.survey import Survey, survey_slide
from napari_cytosae.cells.views import guess_pixel_um, iter_views
from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder
from napari_cytosae.concepts.manifest import RunManifest
from napari_cytosae.concepts.measure_files import ShardMeasures, with_morphology
from napari_cytosae.concepts.profile_file import write_obs
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.shard_plan import ShardPlan
from napari_cytosae.concepts.steps import Progress
from napari_cytosae.errors import CellsError, RunError
from napari_cytosae.slides import Slide

_MOST_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Ruler:
    """What the cells of a slide are measured by.

    Parameters
    ----------
    survey
        Stain and pixel size of the slide; None where it is grey or dark.
    pixel_um
        Pixel size, known, estimated or guessed from the cells.
    known
        Whether it is known.
    """

    survey: Survey | None
    pixel_um: float
    known: bool

    @classmethod
    def of(cls, slide: Slide, table: pd.DataFrame, microns_per_pixel: float | None) -> Self:
        """Look at a slide once; grey and fluorescent ones are measured without colours."""
        try:
            survey = survey_slide(slide, microns_per_pixel)
        except CellsError:
            survey = None
        pixel_um = microns_per_pixel or (survey.pixel_um if survey is not None else None)
        return cls(survey, pixel_um or guess_pixel_um(table), bool(microns_per_pixel))


def measure_shard(
    slide: Slide,
    table: pd.DataFrame,
    boxes: NDArray[np.float64],
    labels: LabelImage,
    nuclei: LabelImage | None,
    ruler: Ruler,
    cancelled: Callable[[], bool] = lambda: False,
) -> ShardMeasures:
    """Measure a few cells.

    Parameters
    ----------
    slide
        The slide.
    table
        Rows of the table of cells.
    boxes
        (n, 4) their crops.
    labels, nuclei
        Label images of the whole slide.
    ruler
        See `Ruler`.
    cancelled
        Asked before each cell.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    """
    reference = None if ruler.survey is None else ruler.survey.reference
    morphology = np.full((len(table), len(MORPHOLOGY)), np.nan)
    compartments = np.zeros((len(table), len(COMPARTMENTS), GRID, GRID), np.uint8)
    views = iter_views(
        slide, table, labels, nuclei, reference, ruler.pixel_um, boxes, cancelled=cancelled
    )
    for row, view in enumerate(views):
        measures = measure_view(view, reference, ruler.pixel_um, known=ruler.known)
        morphology[row] = [measures[name] for name in MORPHOLOGY]
        compartments[row] = count_compartments(view, boxes[row], reference, ruler.pixel_um, GRID)
    return ShardMeasures(
        labels=table["label"].to_numpy(np.int64),
        morphology=morphology,
        columns=tuple(MORPHOLOGY),
        compartments=compartments,
        compartment_names=COMPARTMENTS,
    )


def measure_missing(
    folder: RunFolder,
    manifest: RunManifest,
    slide: Slide,
    microns_per_pixel: float | None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Measure the cells of a run that are not measured yet, and add the measures to its table.

    To be called by whoever holds the folder's lock.

    Raises
    ------
    Cancelled
        When `cancelled` says so; whole shards that were measured are kept.
    """
    table = folder.read_table(manifest)
    labels_of = table["label"].to_numpy(np.int64)
    plan = ShardPlan.of(manifest, labels_of)
    folder.remove_damaged_measures(plan, labels_of)
    missing = [n for n, name in enumerate(plan.names) if not folder.measures_path(name).exists()]
    rows_to_do = [plan.rows(index) for index in missing]
    done = len(table) - sum(rows.stop - rows.start for rows in rows_to_do)
    if missing:
        yield Progress("measure", done, len(table))
        labels = folder.read_labels(final=True)
        nuclei = folder.read_labels("nuclei", final=True) if folder.has_nuclei else None
        ruler = Ruler.of(slide, table, microns_per_pixel)
        boxes = table[BOX_COLUMNS].to_numpy(np.float64)

    def measured_at(rows: slice, stopped: Callable[[], bool]) -> ShardMeasures:
        return measure_shard(slide, table.iloc[rows], boxes[rows], labels, nuclei, ruler, stopped)

    with closing(_side_by_side(measured_at, rows_to_do, cancelled)) as shards:
        for index, rows, measures in zip(missing, rows_to_do, shards, strict=True):
            measures.write(folder.measures_path(plan.names[index]))
            done += rows.stop - rows.start
            yield Progress("measure", done, len(table))
    measured = with_morphology(table, folder.measures(plan))
    if len(measured.columns) > len(table.columns):
        folder.write_table([measured])


def _side_by_side(
    work: Callable[[slice, Callable[[], bool]], ShardMeasures],
    parts: Sequence[slice],
    cancelled: Callable[[], bool],
) -> Generator[ShardMeasures, None, None]:
    """Give ``work(part, cancelled)`` of all parts, in their order, a few of them at once.

    Most of the time goes into numpy and scipy, which let other threads run meanwhile.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    ended = Event()
    begun: deque[Future[ShardMeasures]] = deque()
    with ThreadPoolExecutor(threads, "cytosae-measure") as pool:
        try:
            for part in parts:
                begun.append(pool.submit(work, part, lambda: ended.is_set() or cancelled()))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            ended.set()
            for future in begun:
                future.cancel()


def measure_run(
    run: Run,
    slide: Slide | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Run:
    """Measure the cells of a finished run that was made without, or by an earlier version.

    Parameters
    ----------
    run
        The run.
    slide
        Its image; opened from where it lay where not given.
    progress
        Called with `Progress` values.
    cancelled
        Asked before each cell.

    Returns
    -------
    Run
        The same run, read anew.

    Raises
    ------
    RunError
        Where the run is unfinished, in use, or cannot be written; or its image is another.
    ImageError
        Where the image is no longer there.
    Cancelled
        When `cancelled` says so; what has been measured is kept.
    """
    if run.unfinished:
        raise RunError(f"{run.path.name} is unfinished. Analyse the same image again to go on.")
    if slide is None:
        slide = _open_slide(run)
    if slide.digest != run.manifest.key.image:
        raise RunError(
            f"{slide.name} is not the image that {run.path.name} was made from, or has changed "
            "since. Analyse it anew."
        )
    folder, manifest = RunFolder(run.path), run.manifest
    folder.create()
    with only_process(folder.path):
        steps = measure_missing(folder, manifest, slide, run.microns_per_pixel, cancelled)
        for step in steps:
            if progress is not None:
                progress(step)
        table = folder.read_table(manifest)
        write_obs(folder.profiles_path, table)
    return Run(run.path)


def _open_slide(run: Run) -> Slide:
    if run.slide_path is None:
        raise RunError(
            f"{run.path.name} was made from an image in memory; give the image to measure its cells."
        )
    return Slide.open(run.slide_path, microns_per_pixel=run.microns_per_pixel, associated=False)
