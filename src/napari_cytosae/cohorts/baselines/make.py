"""Make the baselines of a cohort whose runs are finished, in a second look at its cells."""

import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from napari_cytosae import __version__
from napari_cytosae.cohorts.barcode_file import read_barcodes, write_barcodes
from napari_cytosae.cohorts.barcodes import Barcodes, build_barcodes
from napari_cytosae.cohorts.baselines.files import (
    CLASS_TOKENS,
    RANDOM,
    RAW_TOKENS,
    BaselineFolder,
    identity_of,
)
from napari_cytosae.cohorts.baselines.piece import Piece, PieceWork
from napari_cytosae.cohorts.baselines.random_decoder import (
    SAMPLE_CELLS,
    SampleOfUnit,
    draw_decoder,
)
from napari_cytosae.cohorts.extraction.folder import CohortFolder, left_out_in_words
from napari_cytosae.cohorts.extraction.plan import Unit, plan_units
from napari_cytosae.cohorts.extraction.run_all import ExtractionProgress, InThisProcess, Workers
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.cohorts.table import Cohort
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.concepts.durable import explain_write_error, only_process
from napari_cytosae.errors import CohortError
from napari_cytosae.models import load_sae, save_sae

Failure = tuple[str, str, str]


def make_baselines(
    cohort: Cohort,
    out: str | Path,
    settings: ExtractionSettings | None = None,
    *,
    workers: Workers | None = None,
    seed: int = 0,
    progress: Callable[[ExtractionProgress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BaselineFolder:
    """Describe each patient otherwise than by concepts, to hold the barcodes against.

    Three descriptions of the same cells go into ``baselines/`` of the cohort's folder: mean raw
    tokens, mean class tokens, and barcodes of a dictionary whose directions are drawn at random and
    never trained. Tokens are summed as they come, and never kept. Stopped or killed, the same call
    goes on where it was; baselines that are there already are kept.

    Parameters
    ----------
    cohort, out, settings, workers
        As `extract` was called with, whose runs and barcodes this needs.
    seed
        Of the random dictionary, and of the cells that its encoder is trained on.
    progress
        Called after each piece of work.
    cancelled
        Asked between batches of cells.

    Raises
    ------
    CohortError
        Where the cohort was not extracted, or naming runs whose images are gone.
    Cancelled
        When `cancelled` says so.
    RunError
        Where the folder cannot be written, or another process works on it.
    """
    settings = settings or ExtractionSettings()
    cohort_folder = CohortFolder(Path(out))
    cohort_folder.read_manifest()
    barcodes = read_barcodes(cohort_folder.barcodes_path)
    folder = BaselineFolder.of(cohort_folder.path)
    made_of = {"barcodes": identity_of(barcodes), "seed": seed}
    with only_process(cohort_folder.path):
        manifest = folder.read_manifest()
        fits = all(manifest.get(name) == value for name, value in made_of.items())
        if fits and manifest.get("state") == "finished":
            return folder
        units = _units_of(cohort, cohort_folder, settings, barcodes)
        work = _Making(cohort, units, settings, workers or InThisProcess(), progress, cancelled)
        if not fits or load_digest(folder) != manifest.get("decoder"):
            _begin(folder)
            folder.write_manifest({"state": "drawing", **made_of})
            _draw(folder, work, barcodes, seed)
            manifest = {"state": "summing", **made_of, "decoder": load_digest(folder)}
            folder.write_manifest(manifest)
        pieces = PieceWork(folder.decoder_path, str(manifest["decoder"]), folder.pieces_path)
        work.each(pieces, len(units))
        _gather(folder, work, pieces, barcodes)
        folder.write_manifest({**manifest, "state": "finished", "software_version": __version__})
        folder.remove_pieces()
    return folder


def load_digest(folder: BaselineFolder) -> str | None:
    """Give the digest of the random dictionary's weights; None where there is none."""
    try:
        weights = (folder.decoder_path / "sae.safetensors").read_bytes()
    except OSError:
        return None
    return sha256(weights).hexdigest()


class _Making:
    """Calls functions of a cohort's pieces, counts them, and gathers what failed."""

    def __init__(
        self,
        cohort: Cohort,
        units: Sequence[Unit],
        settings: ExtractionSettings,
        workers: Workers,
        progress: Callable[[ExtractionProgress], None] | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self.cohort = cohort
        self.units = units
        self.settings = settings
        self.cancelled = cancelled
        self._workers = workers
        self._progress = progress

    def each(self, function: Any, count: int) -> dict[Unit, Any]:
        """Call a function of some pieces, evenly picked, and refuse if it failed for any."""
        chosen = np.unique(np.linspace(0, len(self.units) - 1, count).round().astype(int))
        units = [self.units[row] for row in chosen]
        results: dict[Unit, Any] = {}
        failures: list[Failure] = []
        for unit, result in self._workers.each(function, units, self.settings, self.cancelled):
            results[unit] = result
            error = result if isinstance(result, str) else ""
            if error:
                patient = self.cohort.patients[unit.patient].patient_id
                failures.append((patient, unit.name, error))
            if self._progress is not None:
                self._progress(ExtractionProgress(len(results), len(units), 0, unit.name, error))
        if failures:
            raise CohortError(
                f"There are no baselines without these:\n{left_out_in_words(failures)}"
            )
        return results


def _units_of(
    cohort: Cohort, folder: CohortFolder, settings: ExtractionSettings, barcodes: Barcodes
) -> list[Unit]:
    """Give the pieces of work that the barcodes were made of."""
    analysed = (barcodes.images["run"] != "").to_numpy()
    if len(analysed) != cohort.n_images:
        raise CohortError(f"{folder.path} was extracted from other images. Extract it again.")
    kept = {str(patient) for patient in barcodes.patients.index}
    return [
        unit
        for unit in plan_units(cohort, folder.runs_path, settings.cells)
        if analysed[unit.images[0]] and cohort.patients[unit.patient].patient_id in kept
    ]


def _begin(folder: BaselineFolder) -> None:
    """Clear away baselines of something else."""
    try:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.pieces_path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder.path) from error


def _draw(folder: BaselineFolder, work: _Making, barcodes: Barcodes, seed: int) -> None:
    """Train the random dictionary's encoder on some tokens of the cohort, and keep it."""
    n_units = min(len(work.units), SAMPLE_CELLS)
    parts = work.each(SampleOfUnit(-(-SAMPLE_CELLS // n_units), seed), n_units)
    # In the cohort's order, whoever was ready first.
    tokens = np.concatenate(
        [parts[unit] for unit in work.units if unit in parts and parts[unit].size]
    )
    n_tokens = int(barcodes.patients["n_cells"].sum()) * N_TOKENS
    sae = draw_decoder(
        tokens,
        barcodes.d_sae,
        float(barcodes.counts.sum()) / n_tokens,
        seed=seed,
        cancelled=work.cancelled,
    )
    try:
        save_sae(sae, folder.decoder_path)
    except OSError as error:
        raise explain_write_error(error, folder.decoder_path) from error


def _gather(folder: BaselineFolder, work: _Making, pieces: PieceWork, barcodes: Barcodes) -> None:
    """Add the pieces up for each patient, in the cohort's order, and write the tables."""
    whole: dict[str, Piece] = {}
    for unit in work.units:
        piece = Piece.load(pieces.path(unit))
        if piece is None:
            raise CohortError(f"{pieces.path(unit)} is gone. Start the same extraction again.")
        patient = work.cohort.patients[unit.patient].patient_id
        whole[patient] = whole[patient] + piece if patient in whole else piece
    patients = barcodes.patients.index
    ordered = [whole[str(patient)] for patient in patients]
    n_cells = barcodes.patients["n_cells"].to_numpy(np.float64)[:, None]
    folder.write_matrix(RAW_TOKENS, patients, np.stack([p.tokens for p in ordered]) / n_cells)
    folder.write_matrix(
        CLASS_TOKENS, patients, np.stack([p.class_tokens for p in ordered]) / n_cells
    )
    kept = {str(patient) for patient in patients}
    random = build_barcodes(
        work.cohort.select(lambda patient: patient.patient_id in kept),
        [piece.random for piece in ordered],
        0.0,
        provenance={
            "baseline": RANDOM,
            "bundle_digest": barcodes.provenance.get("bundle_digest"),
            "cut_off": float(load_sae(folder.decoder_path).threshold[0]),  # type: ignore[index]
            "software_version": __version__,
        },
    )
    write_barcodes(random, folder.random_path)
