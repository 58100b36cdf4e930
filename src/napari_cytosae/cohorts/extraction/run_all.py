"""From a cohort's images to its barcodes: piece by piece, resumable, whoever does the work."""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from napari_cytosae import __version__
from napari_cytosae.cohorts.barcode_file import write_barcodes
from napari_cytosae.cohorts.barcodes import Barcodes, build_barcodes
from napari_cytosae.cohorts.extraction.facts import summarise_facts
from napari_cytosae.cohorts.extraction.folder import CohortFolder, left_out_in_words
from napari_cytosae.cohorts.extraction.plan import Unit, plan_units
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.cohorts.extraction.unit import UnitFacts, do_unit
from napari_cytosae.cohorts.sums import Sums, add_up
from napari_cytosae.cohorts.table import Cohort, named
from napari_cytosae.concepts.durable import only_process, write_durably
from napari_cytosae.errors import Cancelled, CohortError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ExtractionProgress:
    """How far an extraction is.

    Parameters
    ----------
    done, total
        Pieces of work: images, or 64 single cells each.
    cells
        Cells so far.
    name
        What has just been done.
    message
        What a person should know, mostly empty.
    """

    done: int
    total: int
    cells: int = 0
    name: str = ""
    message: str = ""


class Workers(Protocol):
    """Who does the work: this process, or a Dask cluster."""

    def do(
        self,
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[UnitFacts]:
        """Do every piece, in any order, and tell of each as soon as it is done."""

    def sums(self, units: Sequence[Unit]) -> Sums:
        """Add up the cells of pieces that are done, as `add_up` does."""

    def each(
        self,
        function: Callable[[Unit, ExtractionSettings, Callable[[], bool]], Result],
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[Unit, Result]]:
        """Call a function of pieces, in any order, and give what it says of each."""


class InThisProcess:
    """Does one piece after another, here."""

    def __init__(self) -> None:
        self._sums: dict[Unit, Sums] = {}

    def do(
        self,
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[UnitFacts]:
        """Do every piece in order."""
        for unit in units:
            if cancelled():
                raise Cancelled("Extraction was cancelled.")
            result = do_unit(unit, settings, cancelled)
            if result.sums is not None:
                self._sums[unit] = result.sums
            yield result.facts

    def sums(self, units: Sequence[Unit]) -> Sums:
        """Add up the cells of pieces that are done."""
        return add_up([self._sums.pop(unit) for unit in units])

    def each(
        self,
        function: Callable[[Unit, ExtractionSettings, Callable[[], bool]], Result],
        units: Sequence[Unit],
        settings: ExtractionSettings,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[Unit, Result]]:
        """Call a function of pieces in order."""
        for unit in units:
            if cancelled():
                raise Cancelled("Extraction was cancelled.")
            yield unit, function(unit, settings, cancelled)


def extract(
    cohort: Cohort,
    out: str | Path,
    settings: ExtractionSettings | None = None,
    *,
    workers: Workers | None = None,
    skip_bad: bool = False,
    progress: Callable[[ExtractionProgress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Barcodes:
    """Analyse every image of a cohort and write its barcodes, or take up the same again.

    Runs go into ``runs/`` of the folder; what is finished there is not done again, and an
    extraction that was stopped goes on where it was. The same cohort gives the same integers,
    whoever does the work.

    Parameters
    ----------
    cohort
        The patients.
    out
        The cohort's folder, ``NAME.cohort``.
    settings
        How images are analysed.
    workers
        Who does the work; this process without it. See `dask_workers`.
    skip_bad
        Leave out images that fail and patients without cells; they are named in the provenance.
    progress
        Called after each piece of work.
    cancelled
        Asked between batches of cells; what has been written stays.

    Returns
    -------
    Barcodes
        Also written to ``barcodes.h5ad`` of the folder; covariates that were measured on the images
        (see `picture_facts`) are with them.

    Raises
    ------
    CohortError
        Naming images that failed and patients without cells, when all others are done.
    Cancelled
        When `cancelled` says so.
    RunError
        Where the folder cannot be written, or another process works on it.
    """
    settings = settings or ExtractionSettings()
    workers = workers or InThisProcess()
    folder = CohortFolder(Path(out))
    folder.create()
    units = plan_units(cohort, folder.runs_path, settings.cells)
    with only_process(folder.path):
        facts: dict[Unit, UnitFacts] = {}
        cells = 0
        if progress is not None:
            progress(ExtractionProgress(0, len(units)))
        with closing(_generator(workers.do(units, settings, cancelled))) as done:
            for fact in done:
                facts[fact.unit] = fact
                cells += sum(fact.n_cells)
                if progress is not None:
                    progress(
                        ExtractionProgress(
                            len(facts), len(units), cells, fact.unit.name, fact.error
                        )
                    )
        return _gather(cohort, folder, settings, workers, units, facts, skip_bad)


def _generator(steps: Iterator[UnitFacts]) -> Any:
    """Let any iterator be closed like a generator."""
    yield from steps


def _gather(
    cohort: Cohort,
    folder: CohortFolder,
    settings: ExtractionSettings,
    workers: Workers,
    units: Sequence[Unit],
    facts: dict[Unit, UnitFacts],
    skip_bad: bool,
) -> Barcodes:
    failures = [
        (cohort.patients[u.patient].patient_id, u.name, facts[u].error)
        for u in units
        if facts[u].error
    ]
    good = [unit for unit in units if not facts[unit].error]
    if not good:
        raise CohortError(f"No image could be analysed:\n{left_out_in_words(failures)}")
    model = _one_model(cohort, [facts[unit] for unit in good])
    of_patient: list[list[Unit]] = [[] for _ in cohort.patients]
    for unit in good:
        of_patient[unit.patient].append(unit)
    with_cells = [any(sum(facts[unit].n_cells) for unit in mine) for mine in of_patient]
    failures += [
        (patient.patient_id, "all images", "no cell was found")
        for patient, mine, found in zip(cohort.patients, of_patient, with_cells, strict=True)
        if mine and not found
    ]
    if failures and not skip_bad:
        raise CohortError(
            f"These could not be analysed:\n{left_out_in_words(failures)}\n"
            "All others are done and kept. Mend or remove them, or leave them out (skip_bad)."
        )
    kept = [row for row, found in enumerate(with_cells) if found]
    if not kept:
        raise CohortError("No cell was found in any image of the cohort.")
    sums = [workers.sums(of_patient[row]) for row in kept]
    ids = {cohort.patients[row].patient_id for row in kept}
    pictures = {
        cohort.patients[row].patient_id: summarise_facts(
            facts[unit].pictures for unit in of_patient[row]
        )
        for row in kept
    }
    technical = sorted({name for found in pictures.values() for name in found})
    used = cohort.select(lambda patient: patient.patient_id in ids).with_covariates(pictures)
    provenance = {
        "cohort": cohort.name,
        "cohort_digest": cohort.digest,
        **model,
        "cells_from": settings.cells,
        "threshold": settings.threshold,
        "crop_um": settings.crop_um,
        "microns_per_pixel": settings.microns_per_pixel,
        "technical_covariates": technical,
        "left_out": [" · ".join(failure) for failure in failures],
        "software_version": __version__,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    barcodes = build_barcodes(
        used,
        sums,
        settings.threshold,
        images=_image_table(cohort, folder, units, facts),
        provenance=provenance,
        names=facts[good[0]].names,
    )
    write_barcodes(barcodes, folder.barcodes_path)
    table = barcodes.images.merge(
        barcodes.patients.drop(columns=["n_cells", "n_images"]),
        left_on="patient",
        right_index=True,
        how="left",
    )
    write_durably(folder.patients_path, lambda part: table.to_csv(part, index=False))
    folder.write_manifest(
        {**provenance, "n_patients": len(barcodes), "settings": _plain(asdict(settings))}
    )
    return barcodes


def _one_model(cohort: Cohort, facts: Sequence[UnitFacts]) -> dict[str, Any]:
    """Say with which model everything was analysed; refuse more than one."""
    digests = Counter(str(fact.model["bundle_digest"]) for fact in facts)
    if len(digests) > 1:
        usual = digests.most_common(1)[0][0]
        others = [
            f"{fact.unit.name} of {cohort.patients[fact.unit.patient].patient_id}"
            for fact in facts
            if fact.model["bundle_digest"] != usual
        ]
        raise CohortError(
            f"Runs of {len(digests)} different bundles cannot be one cohort: {named(others)} "
            "differ from the others. Analyse all images with one bundle."
        )
    precisions = sorted({str(fact.model["precision"]) for fact in facts})
    return {**facts[0].model, "precision": "+".join(precisions)}


def _image_table(
    cohort: Cohort, folder: CohortFolder, units: Sequence[Unit], facts: dict[Unit, UnitFacts]
) -> pd.DataFrame:
    rows = [
        {"patient": patient.patient_id, "image": str(image.resolve()), "run": "", "n_cells": 0}
        for patient in cohort.patients
        for image in patient.images
    ]
    for unit in units:
        run = _inside(unit.folder, folder.path)
        for place, row in enumerate(unit.images):
            fact = facts[unit]
            rows[row]["run"] = "" if fact.error else run
            rows[row]["n_cells"] = fact.n_cells[place] if fact.n_cells else 0
    return pd.DataFrame(rows, columns=["patient", "image", "run", "n_cells"])


def _inside(path: Path, folder: Path) -> str:
    """Write a path relative to the cohort's folder where it lies inside: cohorts are moved."""
    resolved, root = path.resolve(), folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(resolved)


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [str(part) for part in value] if isinstance(value, tuple) else
        str(value) if isinstance(value, Path) else
        value.item() if isinstance(value, np.generic) else value
        for key, value in content.items()
    }  # fmt: skip
