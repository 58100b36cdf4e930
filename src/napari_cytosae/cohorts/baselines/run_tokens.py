"""Tokens of the cells of a run that is finished: its crops cut again, and never kept."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, iter_crops
from napari_cytosae.cells.crops import RegionSource
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cohorts.extraction.mosaic import read_mosaic
from napari_cytosae.cohorts.extraction.plan import Unit
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.concepts.encode import EncodeOptions, map_tokens
from napari_cytosae.concepts.folder import RunFolder
from napari_cytosae.concepts.run import Run
from napari_cytosae.concepts.survey_file import read_survey
from napari_cytosae.errors import CohortError
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide

Result = TypeVar("Result")
_WHITE = (255.0, 255.0, 255.0)


def options_of(run: Run, settings: ExtractionSettings) -> EncodeOptions:
    """Say how the run's crops were encoded: in the same batches, in the same precision."""
    manifest = run.manifest
    return EncodeOptions(manifest.key.precision, settings.device, manifest.batch_cells).resolved()


def map_run_tokens(
    unit: Unit,
    run: Run,
    settings: ExtractionSettings,
    work: Callable[[Bundle, torch.Tensor], Result],
    rows: NDArray[np.int64] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[tuple[NDArray[np.int64], Result], None, None]:
    """Do something with the tokens of a run's cells, batch by batch.

    Parameters
    ----------
    unit
        The piece of a cohort that the run is of.
    run
        The run.
    settings
        How the cohort was extracted.
    work
        See `map_tokens`.
    rows
        Which cells; all without it.
    cancelled
        Asked before each batch.

    Yields
    ------
    labels : (B,) int64
    result

    Raises
    ------
    CohortError
        Where the run's image is gone, or the run was made with another bundle.
    Cancelled
        When `cancelled` says so.
    """
    bundle = settings.load()
    if run.bundle_digest != bundle.digest:
        raise CohortError(
            f"{run.path.name} was made with the bundle {run.bundle_name}, not with {bundle.name}: "
            "give the bundle that the runs were made with."
        )
    key = run.manifest.key
    table = run.table if rows is None else run.table.iloc[rows]
    options = options_of(run, settings)
    with _source(unit, run) as slide:
        crops = iter_crops(
            slide,
            table,
            CropGeometry(crop_um=key.crop_um, cell_fraction=key.cell_fraction, whole=key.whole),
            batch_cells=options.batch_cells,
            microns_per_pixel=run.microns_per_pixel,
        )
        with closing(map_tokens(crops, bundle, work, options, cancelled)) as parts:
            for labels, _, result in parts:
                yield labels, result


@contextmanager
def _source(unit: Unit, run: Run) -> Iterator[RegionSource]:
    """Open what the run's crops were cut from."""
    if unit.kind == "mosaic":
        mosaic = read_mosaic(unit.sources, unit.folder.stem).slide
        _check(mosaic, run)
        yield mosaic
        return
    path = run.slide_path if unit.kind == "run" else unit.sources[0]
    if path is None or not path.exists():
        raise CohortError(
            f"The image of the run {run.path.name} is gone; baselines need the cells' pixels."
        )
    fill = _WHITE
    if run.manifest.tile_px is not None:
        fill = read_survey(RunFolder(run.path).survey_path).reference.glass
    with Slide.open(path, microns_per_pixel=run.microns_per_pixel) as slide:
        _check(slide, run)
        yield PatchedSlide(slide, fill)


def _check(slide: Slide, run: Run) -> None:
    if slide.digest != run.manifest.key.image:
        raise CohortError(
            f"{slide.name} is not what {run.path.name} was made of any more. Extract it again."
        )
