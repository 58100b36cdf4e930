"""From a table of patients to a cohort, beside the window."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from napari_cytosae.cells.read import NAMED_SOURCES
from napari_cytosae.errors import CohortError
from napari_cytosae.models.registry import available_bundles, fetch_bundle
from napari_cytosae.viewer.analysis_work import ModelChoice
from napari_cytosae.viewer.cohort_work import OpenedCohort, Steps
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Everything that the form said.

    Parameters
    ----------
    source
        A table, or a folder disease/patient/images.
    out
        The cohort's folder.
    model
        Which model.
    cells, microns_per_pixel, crop_um, threshold, overwrite
        As in `ExtractionSettings`.
    skip_bad
        Leave out images that fail and patients without cells.
    """

    source: Path
    out: Path
    model: ModelChoice
    cells: str = "detect"
    microns_per_pixel: float | None = None
    crop_um: float = 25.0
    threshold: float = 0.2
    overwrite: bool = False
    skip_bad: bool = False

    @property
    def bundle(self) -> str | tuple[Path, Path]:
        """The model as an extraction takes it."""
        model = self.model
        if model.name is not None:
            return model.name
        if model.backbone is None or model.sae is None:
            raise CohortError("Choose a model.")
        return model.backbone, model.sae


def cohort_folder_for(source: Path) -> Path:
    """Name the folder of a cohort beside its table, or beside its folder of images."""
    name = source.name if source.is_dir() else source.stem
    return source.with_name(f"{name}.cohort")


def can_go_on(out: Path) -> bool:
    """Whether a folder holds runs of an extraction that did not come to its end."""
    return (out / "runs").is_dir() and not (out / "cohort.json").exists()


def differs(request: ExtractRequest) -> list[str]:
    """Say in what a finished cohort in the request's folder was made differently."""
    try:
        settings = json.loads((request.out / "cohort.json").read_text("utf-8"))["settings"]
        bundle = settings["bundle"]
        before = {
            "model": [Path(part).name for part in bundle]
            if isinstance(bundle, list)
            else Path(str(bundle)).name,
            "cells": settings["cells"],
            "pixel size": settings["microns_per_pixel"],
            "crop": settings["crop_um"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return []  # there is none, or the extraction says what is wrong with it
    wanted = request.bundle
    now = {
        "model": [part.name for part in wanted]
        if isinstance(wanted, tuple)
        else Path(str(wanted)).name,
        "cells": request.cells,
        "pixel size": request.microns_per_pixel,
        "crop": request.crop_um,
    }
    words = {None: "from the files"}
    return [
        f"{name} {words.get(was, was) if not isinstance(was, list) else '+'.join(was)}"
        for name, was in before.items()
        if was != now[name]
    ]


def extract_job(
    request: ExtractRequest, steps: Steps, cancelled: Callable[[], bool]
) -> Generator[OpenedCohort, None, None]:
    """Extract a cohort, or go on with it; a model that is not here is fetched first."""
    keep_triton_out()
    from napari_cytosae.cohorts import read_cohort
    from napari_cytosae.cohorts.extraction import ExtractionProgress, ExtractionSettings, extract

    if request.cells not in NAMED_SOURCES:
        raise CohortError(f"Cells come from {', '.join(NAMED_SOURCES)}.")
    others = differs(request)
    if others and not request.overwrite:
        raise CohortError(
            f"{request.out.name} was made otherwise ({', '.join(others)}). Keep this one in another "
            "folder, or allow that runs made with other settings are replaced."
        )
    steps(0, 0, "Looking through the patients and their images …")
    try:
        cohort = read_cohort(request.source, skip_bad=request.skip_bad)
    except CohortError as error:
        raise _as_on_screen(error) from error
    for info in available_bundles():
        if info.name == request.model.name and not info.installed:
            _fetch(info.name, steps, cancelled)
    steps(
        0, cohort.n_images, f"{len(cohort)} patients, {cohort.n_images} images: loading the model"
    )

    def tell(step: ExtractionProgress) -> None:
        pieces = "images" if request.cells != "whole" else "pieces"
        steps(
            step.done,
            step.total,
            f"{step.done} of {step.total} {pieces} done, {step.cells:,} cells",
        )

    settings = ExtractionSettings(
        bundle=request.bundle,
        cells=request.cells,
        threshold=request.threshold,
        microns_per_pixel=request.microns_per_pixel,
        crop_um=request.crop_um,
        overwrite=request.overwrite,
    )
    try:
        barcodes = extract(
            cohort, request.out, settings,
            skip_bad=request.skip_bad, progress=tell, cancelled=cancelled,
        )  # fmt: skip
    except CohortError as error:
        raise _as_on_screen(error) from error
    yield OpenedCohort(barcodes, request.out)


def _fetch(name: str, steps: Steps, cancelled: Callable[[], bool]) -> None:
    def note(done: int, total: int | None) -> None:
        whole = total or 0
        # A progress bar counts in 32 bits.
        steps(done // 1024, whole // 1024, f"Downloading {name}: {done / 1e6:,.0f} MB")

    fetch_bundle(name, progress=note, cancelled=cancelled)


def _as_on_screen(error: CohortError) -> CohortError:
    """Name the form's box, not the argument."""
    return CohortError(str(error).replace("skip_bad", "tick “Leave out what fails”"))
