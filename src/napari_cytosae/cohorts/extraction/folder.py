"""A cohort's folder on disk: runs, barcodes and what is made of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cytosae.concepts.durable import explain_write_error, write_json_durably
from napari_cytosae.errors import CohortError

COHORT_FILE = "cohort.json"
FORMAT = "napari-cytosae cohort"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class CohortFolder:
    """Where a cohort's files lie.

    Parameters
    ----------
    path
        The folder ``NAME.cohort``.
    """

    path: Path

    @property
    def manifest_path(self) -> Path:
        """What the barcodes were made from."""
        return self.path / COHORT_FILE

    @property
    def barcodes_path(self) -> Path:
        """Barcodes as AnnData."""
        return self.path / "barcodes.h5ad"

    @property
    def patients_path(self) -> Path:
        """The table of patients, their images and runs."""
        return self.path / "patients.csv"

    @property
    def runs_path(self) -> Path:
        """Run folders, one folder per patient."""
        return self.path / "runs"

    def create(self) -> None:
        """Make the folder, unless it is there.

        Raises
        ------
        CohortError
            Where it is a file, or holds other files than a cohort's.
        RunError
            Where it cannot be made.
        """
        if self.path.is_file():
            raise CohortError(f"{self.path} is a file. Choose a folder for the cohort.")
        if self.path.is_dir() and not self.manifest_path.exists():
            ours = {"runs", "run.lock", "barcodes.h5ad", "patients.csv", "baselines"}
            foreign = sorted(
                entry.name
                for entry in self.path.iterdir()
                if entry.name.removesuffix(".part") not in ours
            )
            if foreign:
                raise CohortError(
                    f"{self.path} is no cohort and holds other files ({foreign[0]}). Choose "
                    "another folder."
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.path) from error

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write cohort.json durably."""
        whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
        write_json_durably(self.manifest_path, whole)

    def read_manifest(self) -> dict[str, Any]:
        """Read cohort.json.

        Raises
        ------
        CohortError
            Where the folder is no cohort, or one of another version.
        """
        try:
            content = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CohortError(
                f"{self.path} is no cohort: it holds no {COHORT_FILE}. Make one with: "
                "napari-cytosae cohort extract TABLE --out FOLDER"
            ) from error
        except (OSError, ValueError) as error:
            raise CohortError(
                f"{self.manifest_path} cannot be read ({error}). Extract the cohort again."
            ) from error
        if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
            raise CohortError(
                f"{self.manifest_path} is no cohort's that this version reads. Extract it again."
            )
        return content


def left_out_in_words(failures: Sequence[tuple[str, str, str]]) -> str:
    """List images that failed: patient, image and reason."""
    return "\n".join(f"- patient {who}, {image}: {reason}" for who, image, reason in failures)
