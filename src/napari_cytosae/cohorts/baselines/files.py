"""Baselines of a cohort on disk, beside its barcodes."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cohorts.barcode_file import read_barcodes
from napari_cytosae.cohorts.barcodes import Barcodes
from napari_cytosae.concepts.durable import write_durably, write_json_durably
from napari_cytosae.errors import CohortError

RAW_TOKENS = "raw tokens"
CLASS_TOKENS = "class tokens"
RANDOM = "random frozen decoder"
FORMAT = "napari-cytosae baselines"
FORMAT_VERSION = 1

_MATRICES = {RAW_TOKENS: "raw_tokens.csv", CLASS_TOKENS: "class_tokens.csv"}


@dataclass(frozen=True, slots=True)
class BaselineFolder:
    """Where baselines lie: ``baselines/`` in a cohort's folder.

    Parameters
    ----------
    path
        The folder.
    """

    path: Path

    @classmethod
    def of(cls, cohort: Path) -> "BaselineFolder":
        """Give the one of a cohort's folder."""
        return cls(cohort / "baselines")

    @property
    def manifest_path(self) -> Path:
        """What they were made of."""
        return self.path / "baselines.json"

    @property
    def decoder_path(self) -> Path:
        """The random dictionary, as any autoencoder is kept."""
        return self.path / "random_frozen_decoder"

    @property
    def random_path(self) -> Path:
        """Its barcodes."""
        return self.path / "random_frozen_decoder.h5ad"

    @property
    def pieces_path(self) -> Path:
        """What is done of an extraction that goes on."""
        return self.path / "pieces"

    def read_manifest(self) -> dict[str, Any]:
        """Read baselines.json; empty where there is none that this version reads."""
        try:
            content = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        known = isinstance(content, dict) and content.get("format_version") == FORMAT_VERSION
        return content if known and content.get("format") == FORMAT else {}

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write baselines.json durably."""
        whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
        write_json_durably(self.manifest_path, whole)

    def write_matrix(self, name: str, patients: pd.Index, values: NDArray[np.float64]) -> None:
        """Write one row per patient as CSV."""
        table = pd.DataFrame(values, patients.rename("patient"))
        write_durably(self.path / _MATRICES[name], lambda part: table.to_csv(part))

    def read_matrix(self, name: str) -> pd.DataFrame:
        """Read what `write_matrix` wrote, index ``patient``.

        Raises
        ------
        CohortError
            Where it cannot be read.
        """
        path = self.path / _MATRICES[name]
        try:
            return pd.read_csv(path, dtype={"patient": str}).set_index("patient")
        except (OSError, ValueError, KeyError) as error:
            raise CohortError(
                f"{path} is damaged ({error}). Extract the cohort again, with its baselines."
            ) from error

    def remove_pieces(self) -> None:
        """Remove what is needed only until everything is done."""
        shutil.rmtree(self.pieces_path, ignore_errors=True)


def identity_of(barcodes: Barcodes) -> str:
    """Give what barcodes are known by: patients, cells, counts, threshold and bundle."""
    counts = barcodes.counts
    digest = hashlib.sha256(
        json.dumps(
            [
                [str(patient) for patient in barcodes.patients.index],
                [int(n) for n in barcodes.patients["n_cells"]],
                float(barcodes.threshold),
                barcodes.provenance.get("bundle_digest"),
            ]
        ).encode()
    )
    for part in (counts.indptr, counts.indices, counts.data):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes())
    return digest.hexdigest()


def read_baselines(
    cohort: str | Path, barcodes: Barcodes
) -> dict[str, NDArray[np.float64] | Barcodes]:
    """Read the baselines of a cohort, by name, rows in the order of the barcodes' patients.

    Parameters
    ----------
    cohort
        The cohort's folder.
    barcodes
        All of the cohort's.

    Returns
    -------
    dict
        Mean raw tokens and class tokens, (patients, d_model), and a random frozen decoder's
        barcodes; empty where no baselines were made.

    Raises
    ------
    CohortError
        Where they are damaged, not finished, or belong to other barcodes.
    """
    folder = BaselineFolder.of(Path(cohort))
    if not folder.manifest_path.exists():
        return {}
    manifest = folder.read_manifest()
    again = "Extract the cohort again with --baselines."
    if manifest.get("state") != "finished":
        raise CohortError(f"The baselines in {folder.path} are not finished. {again}")
    if manifest.get("barcodes") != identity_of(barcodes):
        raise CohortError(f"The baselines in {folder.path} belong to other barcodes. {again}")
    found: dict[str, NDArray[np.float64] | Barcodes] = {}
    for name in _MATRICES:
        table = folder.read_matrix(name)
        if list(table.index) != [str(patient) for patient in barcodes.patients.index]:
            raise CohortError(f"The {name} in {folder.path} are of other patients. {again}")
        found[name] = table.to_numpy(np.float64)
    found[RANDOM] = read_barcodes(folder.random_path)
    return found
