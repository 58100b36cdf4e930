"""Do one piece of a cohort's extraction: analyse it, or what is left of it, and sum its cells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from napari_cytosae.cells import Cells
from napari_cytosae.cohorts.extraction.facts import picture_facts, summarise_facts
from napari_cytosae.cohorts.extraction.mosaic import read_mosaic
from napari_cytosae.cohorts.extraction.plan import Unit
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.cohorts.sums import Sums, sums_of_run
from napari_cytosae.cohorts.table import Covariate
from napari_cytosae.concepts.analysis import analyze
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import Cancelled, CytoSAEError, OtherRunError
from napari_cytosae.slides import Slide


@dataclass(frozen=True, slots=True, eq=False)
class UnitFacts:
    """What is known of a piece of work that is done; small enough to be sent around.

    Parameters
    ----------
    unit
        The piece.
    n_cells
        Cells of each of its images.
    model
        Bundle's name, its digest, the SAE's digest and number of concepts, and the precision.
    names
        Names of concepts as the run has them.
    pictures
        How the images were made, see `picture_facts`.
    error
        Why it failed; empty where it did not.
    """

    unit: Unit
    n_cells: tuple[int, ...] = ()
    model: Mapping[str, str | int | None] = field(default_factory=dict)
    names: Names = field(default_factory=lambda: Names({}))
    pictures: Mapping[str, Covariate] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class UnitResult:
    """A piece of work that is done: its facts, and its cells' sums, None where it failed."""

    facts: UnitFacts
    sums: Sums | None


def do_unit(
    unit: Unit, settings: ExtractionSettings, cancelled: Callable[[], bool] = lambda: False
) -> UnitResult:
    """Do one piece of work; what is there from before is used.

    An image that cannot be read, or whose run cannot be used, is an error in the facts: the others
    go on.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    """
    try:
        run, pictures = _analysed(unit, settings, cancelled)
        labels = run.table["label"].to_numpy(np.int64)
        if unit.kind == "mosaic":
            images = np.asarray(unit.images, np.int32)[labels - 1]
            n_cells = (1,) * len(unit.images)
        else:
            images = np.full(len(labels), unit.images[0], np.int32)
            n_cells = (len(run),)
        sums = sums_of_run(run, settings.threshold, images)
    except Cancelled:
        raise
    except CytoSAEError as error:
        return UnitResult(UnitFacts(unit, error=str(error)), None)
    model = {
        "bundle": run.bundle_name,
        "bundle_digest": run.bundle_digest,
        "sae_digest": run.sae_digest,
        "d_sae": run.d_sae,
        "precision": run.manifest.key.precision,
        "software_version": run.manifest.software_version,
    }
    return UnitResult(UnitFacts(unit, n_cells, model, run.names, pictures), sums)


def _analysed(
    unit: Unit, settings: ExtractionSettings, cancelled: Callable[[], bool]
) -> tuple[Run, dict[str, Covariate]]:
    if unit.kind == "run":
        run = Run(unit.folder)
        pictures: dict[str, Covariate] = {}
        if run.slide_path is not None and run.slide_path.exists():
            with Slide.open(run.slide_path, microns_per_pixel=run.microns_per_pixel) as slide:
                pictures = picture_facts(slide)
        return run, pictures
    if unit.kind == "mosaic":
        mosaic = read_mosaic(unit.sources, unit.folder.stem)
        with Slide.open(unit.sources[0]) as first:
            pictures = summarise_facts([picture_facts(first)])
        return _analyze(unit, settings, mosaic.slide, cancelled, mosaic.cells), pictures
    with Slide.open(unit.sources[0], microns_per_pixel=_pixel_size(unit, settings)) as slide:
        return _analyze(unit, settings, slide, cancelled, settings.cells), picture_facts(slide)


def _pixel_size(unit: Unit, settings: ExtractionSettings) -> float | None:
    if unit.kind == "mosaic":
        return None  # a single-cell image is its own crop, whatever its pixel size
    if unit.microns_per_pixel is not None:
        return unit.microns_per_pixel
    return settings.microns_per_pixel


def _analyze(
    unit: Unit,
    settings: ExtractionSettings,
    slide: Slide,
    cancelled: Callable[[], bool],
    cells: str | Cells,
) -> Run:
    unit.folder.parent.mkdir(parents=True, exist_ok=True)
    pixel_um = _pixel_size(unit, settings)

    def run(overwrite: bool) -> Run:
        return analyze(
            slide,
            settings.load(),
            cells,
            unit.folder,
            precision=settings.precision,
            device=settings.device,
            microns_per_pixel=pixel_um,
            crop_um=settings.crop_um,
            threshold=settings.threshold,
            batch_cells=settings.batch_cells,
            overwrite=overwrite,
            cancelled=cancelled,
        )

    try:
        return run(overwrite=False)
    except OtherRunError:
        # What was made with the same settings is kept, even where others are to be replaced.
        if not settings.overwrite:
            raise
    return run(overwrite=True)
