"""A cohort: patients, their diagnoses, images and covariates."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from napari_cytosae.errors import CohortError

Covariate = str | float
PIXEL_SIZE = "microns_per_pixel"


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient, or one field, animal or culture that stands for itself.

    Parameters
    ----------
    patient_id
        Unique in its cohort.
    diagnosis
        The group that the patient belongs to; empty where it is not known.
    images
        Image files and run folders, in order.
    covariates
        What else is known, for example site, stain and scanner; numbers or words.
    pixel_sizes
        µm per pixel of those images of which it is known better than from the file.
    """

    patient_id: str
    diagnosis: str
    images: tuple[Path, ...]
    covariates: Mapping[str, Covariate] = field(default_factory=dict)
    pixel_sizes: Mapping[Path, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cohort:
    """Patients to compare or to tell apart.

    Parameters
    ----------
    patients
        In the order of their table.
    name
        What the cohort is called, for example its table's name.
    source
        The table or folder that it was read from.

    Raises
    ------
    CohortError
        Where there is no patient, or two have one id.
    """

    patients: tuple[Patient, ...]
    name: str = "cohort"
    source: Path | None = None

    def __post_init__(self) -> None:
        if not self.patients:
            raise CohortError(f"{self.name} has no patients.")
        counts = Counter(patient.patient_id for patient in self.patients)
        twice = [patient_id for patient_id, count in counts.items() if count > 1]
        if twice:
            raise CohortError(
                f"{self.name} has two patients of one id: {named(twice)}. Give each an id of its own."
            )

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """Every diagnosis, sorted; unknown ones left out."""
        return tuple(sorted({p.diagnosis for p in self.patients if p.diagnosis}))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for p in self.patients for name in p.covariates))

    @property
    def n_images(self) -> int:
        """Images of all patients."""
        return sum(len(patient.images) for patient in self.patients)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of who the patients are and what is known of them, not of their images."""
        rows = [[p.patient_id, p.diagnosis, sorted(p.covariates.items())] for p in self.patients]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def table(self) -> pd.DataFrame:
        """List the patients: index ``patient``, ``diagnosis``, ``n_images`` and the covariates."""
        return pd.DataFrame(
            {
                "diagnosis": [p.diagnosis for p in self.patients],
                "n_images": [len(p.images) for p in self.patients],
                **{n: [p.covariates.get(n) for p in self.patients] for n in self.covariates},
            },
            index=pd.Index([p.patient_id for p in self.patients], name="patient", dtype=object),
        )

    def image_table(self, beside: Path | None = None) -> pd.DataFrame:
        """List the images, one a row, as `read_cohort` takes them.

        Parameters
        ----------
        beside
            Folder that paths are written relative to, where they lie below it.
        """
        sized = any(patient.pixel_sizes for patient in self.patients)
        rows = [
            {
                "patient": patient.patient_id,
                "diagnosis": patient.diagnosis,
                "image": _relative(image, beside),
                **patient.covariates,
                **({PIXEL_SIZE: patient.pixel_sizes.get(image, "")} if sized else {}),
            }
            for patient in self.patients
            for image in patient.images
        ]
        return pd.DataFrame(rows)

    def select(self, keep: Callable[[Patient], bool]) -> "Cohort":
        """Keep some of the patients.

        Raises
        ------
        CohortError
            Where none is left.
        """
        return replace(self, patients=tuple(p for p in self.patients if keep(p)))

    def with_covariates(self, covariates: Mapping[str, Mapping[str, Covariate]]) -> "Cohort":
        """Add covariates, given by patient id; what a patient has already is replaced."""
        patients = tuple(
            replace(p, covariates={**p.covariates, **covariates.get(p.patient_id, {})})
            for p in self.patients
        )
        return replace(self, patients=patients)


def named(items: Iterable[object], most: int = 5) -> str:
    """List a few items in words: ``A, B and 7 more``."""
    words = [str(item) for item in items]
    if len(words) <= most:
        return ", ".join(words)
    return f"{', '.join(words[:most])} and {len(words) - most} more"


def _relative(image: Path, beside: Path | None) -> str:
    if beside is None:
        return str(image)
    try:
        return image.resolve().relative_to(beside.resolve()).as_posix()
    except ValueError:
        return str(image.resolve())
