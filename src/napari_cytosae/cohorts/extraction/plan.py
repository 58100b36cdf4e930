"""Which pieces of work a cohort's extraction falls into, and where their runs lie."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_cytosae.cohorts.extraction.mosaic import MOSAIC_CELLS
from napari_cytosae.cohorts.image_files import is_run
from napari_cytosae.cohorts.table import Cohort
from napari_cytosae.slides import image_stem


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a slide or field, a run that is there already, or some single cells.

    Parameters
    ----------
    patient
        Row of the cohort's patients.
    images
        Rows of the cohort's images.
    sources
        Their files.
    kind
        ``"image"``, ``"run"`` or ``"mosaic"``.
    folder
        The run folder.
    microns_per_pixel
        Pixel size of its image, where the cohort gives one.
    """

    patient: int
    images: tuple[int, ...]
    sources: tuple[Path, ...]
    kind: Literal["image", "run", "mosaic"]
    folder: Path
    microns_per_pixel: float | None = None

    @property
    def name(self) -> str:
        """What is at work, for a person."""
        if self.kind == "mosaic":
            return f"{len(self.sources)} cells, {self.sources[0].name} …"
        return self.sources[0].name


def plan_units(cohort: Cohort, runs: Path, cells: str) -> list[Unit]:
    """Divide a cohort into pieces of work, in its order.

    Parameters
    ----------
    cohort
        The patients.
    runs
        Folder that new runs go into, one folder per patient.
    cells
        Source of cells; with ``"whole"``, a patient's images are analysed 64 at a time.
    """
    units: list[Unit] = []
    image_row = 0
    folders = _distinct(patient.patient_id for patient in cohort.patients)
    for row, (patient, folder) in enumerate(zip(cohort.patients, folders, strict=True)):
        rows = range(image_row, image_row + len(patient.images))
        image_row += len(patient.images)
        single: list[tuple[int, Path]] = []
        stems = _distinct(image_stem(image) for image in patient.images)
        for number, image, stem in zip(rows, patient.images, stems, strict=True):
            if is_run(image):
                units.append(Unit(row, (number,), (image,), "run", image))
            elif cells == "whole":
                single.append((number, image))
            else:
                place = runs / folder / f"{stem}.cytosae"
                size = patient.pixel_sizes.get(image)
                units.append(Unit(row, (number,), (image,), "image", place, size))
        for start in range(0, len(single), MOSAIC_CELLS):
            part = single[start : start + MOSAIC_CELLS]
            numbers, sources = zip(*part, strict=True)
            place = runs / folder / f"cells-{start // MOSAIC_CELLS:04d}.cytosae"
            units.append(Unit(row, numbers, sources, "mosaic", place))
    return units


def _distinct(names: Iterable[str]) -> list[str]:
    """Make names that every file system takes and tells apart, the same each time."""
    taken: set[str] = set()
    made = []
    for name in names:
        # Reserved characters, and what Windows forbids at a name's end.
        plain = re.sub(r"[^\w.,+@()=-]+", "_", name).strip("._")[:80] or "unnamed"
        candidate, number = plain, 2
        while candidate.casefold() in taken:
            candidate, number = f"{plain}-{number}", number + 1
        taken.add(candidate.casefold())
        made.append(candidate)
    return made
