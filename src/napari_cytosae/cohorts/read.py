"""Read a cohort from a table or from folders, and say everything that is wrong with it at once."""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from napari_cytosae.cohorts.image_files import (
    images_in,
    is_image,
    is_run,
    sub_folders,
    why_unreadable,
)
from napari_cytosae.cohorts.table import PIXEL_SIZE, Cohort, Covariate, Patient, named
from napari_cytosae.errors import CohortError

# Column names once simplified (lower case, words joined by "_").
_PATIENTS = ("patient", "patient_id", "subject", "subject_id", "case", "case_id")
_DIAGNOSES = ("diagnosis", "disease", "label", "class", "group", "subtype")
_IMAGES = ("image", "images", "image_path", "path", "file", "filename", "slide", "run")
_PIXEL_SIZES = (PIXEL_SIZE, "um_per_pixel", "pixel_size_um", "mpp")


@dataclass(slots=True)
class _Found:
    """What is known of a patient so far."""

    names: list[str] = field(default_factory=list)
    diagnoses: list[str] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    covariates: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[str] = field(default_factory=list)
    pixel_sizes: dict[Path, float] = field(default_factory=dict)


def read_cohort(source: str | Path, *, skip_bad: bool = False, name: str | None = None) -> Cohort:
    """Read a cohort and check it.

    Parameters
    ----------
    source
        A table (CSV or TSV) or a folder.

        A table has one row per image, or per folder of images, or per run: columns ``patient``,
        ``diagnosis`` and ``image`` (paths relative to the table; ``*`` stands for many), and any
        further columns, which are covariates. A covariate that differs between a patient's images
        becomes the mean of numbers, or the words joined by ``+``. A column ``microns_per_pixel``
        gives the pixel size of images whose files do not say, or say wrongly; it may be empty.

        A folder has one folder per diagnosis, which holds one folder of images per patient; an
        image or run that lies in a diagnosis' folder itself is a patient of its own.
    skip_bad
        Leave unreadable images and empty patients out instead of refusing the cohort. What
        contradicts itself is refused all the same.
    name
        What the cohort is called; without it the table's or folder's name.

    Returns
    -------
    Cohort
        Patients in the order of the table, or of the folders as people count.

    Raises
    ------
    CohortError
        Naming every patient with two diagnoses or none, ids that differ by case or blanks only,
        images of two patients, unreadable images, and patients without any image.
    """
    path = Path(source)
    if path.is_dir():
        found = _from_folders(path)
    elif path.is_file():
        found = _from_table(path)
    else:
        raise CohortError(f"{path} does not exist; give a table (CSV) or a folder of a cohort.")
    for patient in found.values():
        patient.unreadable = [
            f"{image} {reason}" for image in patient.images if (reason := why_unreadable(image))
        ]
        patient.images = [image for image in patient.images if not why_unreadable(image)]
    problems = _contradictions(found)
    if not skip_bad:
        problems += _missing(found)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise CohortError(f"{path.name} is not a cohort yet:\n{listed}")
    patients = tuple(
        Patient(
            patient_id,
            patient.diagnoses[0],
            tuple(patient.images),
            {key: _one_value(values) for key, values in patient.covariates.items()},
            patient.pixel_sizes,
        )
        for patient_id, patient in found.items()
        if patient.images
    )
    if not patients:
        raise CohortError(f"{path.name}: no patient has an image that can be read.")
    return Cohort(patients, name or path.stem, path)


def _from_folders(folder: Path) -> dict[str, _Found]:
    diagnoses = sub_folders(folder)
    if not diagnoses:
        raise CohortError(
            f"{folder} has no folders in it; a cohort's folder has one per diagnosis, with the "
            "patients' folders, or their images, inside."
        )
    found: dict[str, _Found] = defaultdict(_Found)
    for diagnosis in diagnoses:
        for entry in [*sub_folders(diagnosis), *images_in(diagnosis)]:
            alone = is_run(entry) or is_image(entry)
            # Fields of two diagnoses may have one name (1.jpg) without being one patient.
            name = f"{diagnosis.name}/{entry.stem}" if alone else entry.name
            patient = found[name]
            patient.names.append(name)
            patient.diagnoses.append(diagnosis.name)
            patient.images += [entry] if alone else images_in(entry)
    if not found:
        raise CohortError(f"{folder} holds no images, in {named(d.name for d in diagnoses)}.")
    return found


def _from_table(path: Path) -> dict[str, _Found]:
    table = _read(path)
    columns = {title: _simple(title) for title in table.columns}
    patient_column = _column(columns, _PATIENTS, "patient", path)
    diagnosis_column = _column(columns, _DIAGNOSES, "diagnosis", path)
    image_column = _column(columns, _IMAGES, "image", path)
    size_column = next((t for t, simple in columns.items() if simple in _PIXEL_SIZES), None)
    known = (patient_column, diagnosis_column, image_column, size_column)
    others = [title for title in table.columns if title not in known and title.strip()]
    found: dict[str, _Found] = defaultdict(_Found)
    for row in table.to_dict("records"):
        patient = found[row[patient_column].strip()]
        patient.names.append(row[patient_column])
        patient.diagnoses.append(row[diagnosis_column].strip())
        images = _images_of(row[image_column].strip(), path.parent)
        patient.images += images
        if size_column is not None and (words := row[size_column].strip()):
            patient.pixel_sizes.update(dict.fromkeys(images, _pixel_size(words, path)))
        for title in others:
            if row[title].strip():
                patient.covariates[title.strip()].append(row[title].strip())
    return found


def _read(path: Path) -> pd.DataFrame:
    """Read a delimited table as text."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what spreadsheets write on Windows
    if "\0" in text:
        raise CohortError(f"{path.name} is no text; give a table as CSV or TSV.")
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise CohortError(f"{path.name} holds no patient: there is no row below a header.")
    delimiter = max("\t;,", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    simple = [_simple(title) for title in rows[0]]
    if twice := [title for title in dict.fromkeys(simple) if title and simple.count(title) > 1]:
        raise CohortError(f"{path.name} has two columns called {named(twice)}; keep one of them.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise CohortError(
                f"{path.name}, row {number}: {len(row)} fields, but the header has {len(rows[0])}."
            )
    return pd.DataFrame(rows[1:], columns=rows[0], dtype=object)


def _simple(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.strip().casefold()).strip("_")


def _column(columns: dict[str, str], names: tuple[str, ...], what: str, path: Path) -> str:
    for name in names:
        for title, simple in columns.items():
            if simple == name:
                return title
    raise CohortError(
        f"{path.name} has no column {what} (nor {named(names[1:])}). Its columns are "
        f"{named(columns, 12)}."
    )


def _images_of(entry: str, folder: Path) -> list[Path]:
    """Resolve one entry of the column of images."""
    path = folder / entry
    if not entry:
        return []
    if path.exists() or "*" not in entry:
        if path.is_dir() and not is_run(path):
            return images_in(path)
        return [path]
    # The part without stars is a path; only the rest is a pattern.
    parts = path.parts
    first = next(n for n, part in enumerate(parts) if "*" in part)
    matches = Path(*parts[:first]).glob("/".join(parts[first:]))
    return sorted(match for match in matches if is_image(match) or is_run(match))


def _pixel_size(words: str, path: Path) -> float:
    try:
        size = float(words)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise CohortError(
            f"{path.name} gives {words} as a pixel size; give µm per pixel, such as 0.25, or leave "
            "it empty."
        )
    return size


def _one_value(values: list[str]) -> Covariate:
    """Sum up what a covariate is for one patient."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return "+".join(dict.fromkeys(values))
    return sum(numbers) / len(numbers)


def _contradictions(found: dict[str, _Found]) -> list[str]:
    problems = []
    for patient_id, patient in found.items():
        several = sorted(set(patient.diagnoses))
        if len(several) > 1:
            problems.append(f"patient {patient_id} has two diagnoses: {named(several)}")
        elif several == [""]:
            problems.append(f"patient {patient_id} has no diagnosis")
    if "" in found:
        count = len(found[""].names)
        problems.append(f"{count} row{'s have' if count > 1 else ' has'} no patient")
    alike: dict[str, list[str]] = defaultdict(list)
    for patient_id in found:
        alike["".join(patient_id.casefold().split())].append(patient_id)
    problems += [
        f"patients {named(f'“{i}”' for i in ids)} differ by case or blanks only: is it one patient?"
        for ids in alike.values()
        if len(ids) > 1
    ]
    return problems + _shared_images(found)


def _shared_images(found: dict[str, _Found]) -> list[str]:
    owners: dict[Path, list[str]] = defaultdict(list)
    for patient_id, patient in found.items():
        for image in patient.images:
            owners[image.resolve()].append(patient_id)
    return [
        f"{image} is given twice, for patient {named(dict.fromkeys(ids))}"
        for image, ids in owners.items()
        if len(ids) > 1
    ]


def _missing(found: dict[str, _Found]) -> list[str]:
    def of(patient_id: str, reasons: Iterable[str]) -> list[str]:
        return [f"patient {patient_id}: {reason}" for reason in reasons]

    problems = []
    for patient_id, patient in found.items():
        problems += of(patient_id, patient.unreadable)
        if not patient.images and not patient.unreadable:
            problems += of(patient_id, ["there is no image"])
    if problems:
        problems.append("(unreadable images and empty patients can be left out: skip_bad)")
    return problems
