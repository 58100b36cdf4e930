"""The commands ``cohort``: barcodes of patients, and what differs between groups."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_cytosae.cli.console import note, plain_table, progress, results
from napari_cytosae.cli.progress import stop_on_ctrl_c
from napari_cytosae.errors import Cancelled, CohortError

if TYPE_CHECKING:
    from napari_cytosae.cohorts.barcodes import Barcodes, Statistic
    from napari_cytosae.cohorts.extraction import DaskWorkers, ExtractionProgress
    from napari_cytosae.concepts.encode import Precision

_LOGGED_SECONDS = 15.0  # a line in a log so often


def extract(
    source: Path,
    out: Path,
    *,
    bundle: str | tuple[Path, Path],
    cells: str,
    threshold: float,
    crop_um: float,
    microns_per_pixel: float | None,
    precision: Precision | str,
    device: str,
    batch_cells: int,
    workers: int | None,
    scheduler: str | None,
    baselines: bool,
    skip_bad: bool,
    overwrite: bool,
) -> None:
    """Extract a cohort, and say what was counted.

    Raises
    ------
    CytoSAEError
        The cohort or some of its images cannot be used, or it was stopped.
    """
    from napari_cytosae.cohorts import read_cohort
    from napari_cytosae.cohorts.extraction import ExtractionSettings
    from napari_cytosae.cohorts.extraction import extract as extract_cohort

    if precision not in ("auto", "float32", "bfloat16"):
        raise CohortError(f"--precision is {precision}; choose auto, float32 or bfloat16.")
    if scheduler is not None and workers is not None:
        raise CohortError("Give --workers or --scheduler, not both.")
    settings = ExtractionSettings(
        bundle=bundle,
        cells=cells,
        threshold=threshold,
        precision=precision,
        device=device,
        microns_per_pixel=microns_per_pixel,
        crop_um=crop_um,
        batch_cells=batch_cells,
        overwrite=overwrite,
    )
    cohort = read_cohort(source, skip_bad=skip_bad)
    note(f"{len(cohort):,} patients, {cohort.n_images:,} images: {', '.join(cohort.diagnoses)}")
    with _workers(workers, scheduler) as hands, stop_on_ctrl_c() as cancelled:
        try:
            with _Bar("analysing images") as bar:
                barcodes = extract_cohort(
                    cohort,
                    out,
                    settings,
                    workers=hands,
                    skip_bad=skip_bad,
                    progress=bar.show,
                    cancelled=cancelled,
                )
            if baselines:
                from napari_cytosae.cohorts.baselines import make_baselines

                with _Bar("baselines") as bar:
                    place = make_baselines(
                        cohort, out, settings, workers=hands, progress=bar.show, cancelled=cancelled
                    )
                note(f"The baselines are in {place.path}; classify and report take them.")
        except Cancelled as error:
            raise Cancelled(
                "Stopped. Finished images are kept: repeat the command, and it goes on from there."
            ) from error
        except CohortError as error:
            raise CohortError(str(error).replace("(skip_bad)", "(--skip-bad)")) from error
    _print_barcodes(barcodes)
    for line in barcodes.provenance.get("left_out", []):
        note(f"left out: {line}")
    note(f"The cohort is in {out}: barcodes.h5ad, patients.csv, and runs.")
    if len(barcodes.diagnoses) > 1:
        first, second = barcodes.diagnoses[:2]
        note(f'Compare with: napari-cytosae cohort compare {out} "{first}" "{second}"')


def _workers(count: int | None, scheduler: str | None) -> DaskWorkers | nullcontext[None]:
    if count is None and scheduler is None:
        return nullcontext()
    from napari_cytosae.cohorts.extraction import dask_workers

    hands = dask_workers(scheduler, n_workers=count or None)
    there = f"; watch them at {hands.dashboard}" if hands.dashboard else ""
    note(f"{hands.n_workers:,} workers{there}")
    return hands


class _Bar:
    """Shows pieces done and cells found: a bar on a terminal, a line now and then in a log."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}", markup=False, style="dim"),
            console=progress(),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._live.add_task(stage, total=None, said="")
        self._logged = time.monotonic()

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, step: ExtractionProgress) -> None:
        """Show how far it is, and name what failed."""
        said = f"{step.cells:,} cells" if step.cells else ""
        self._live.update(self._task, completed=step.done, total=step.total, said=said)
        if step.message:
            words = f"{step.name}: {step.message}"
            if self._live.disable:
                note(words)
            else:
                self._live.console.print(words, markup=False)
        due = time.monotonic() - self._logged >= _LOGGED_SECONDS or step.done == step.total
        if self._live.disable and due:
            self._logged = time.monotonic()
            note(f"{self._stage}: {step.done:,} of {step.total:,}{said and f'; {said}'}")


def _print_barcodes(barcodes: Barcodes) -> None:
    table = plain_table(
        "diagnosis", "patients", "images", "cells", right=("patients", "images", "cells")
    )
    for diagnosis in barcodes.diagnoses:
        mine = barcodes.patients[barcodes.diagnosis == diagnosis]
        table.add_row(
            diagnosis,
            f"{len(mine):,}",
            f"{int(mine['n_images'].sum()):,}",
            f"{int(mine['n_cells'].sum()):,}",
        )
    results().print(table)
    results().print(
        f"{int((barcodes.counts.sum(0) > 0).sum()):,} of {barcodes.d_sae:,} concepts lie above "
        f"τ = {barcodes.threshold:g} somewhere.",
        markup=False,
    )


def open_barcodes(folder: Path) -> Barcodes:
    """Read the barcodes of a cohort's folder, or of a file.

    Raises
    ------
    CohortError
        There are none.
    """
    from napari_cytosae.cohorts import read_barcodes
    from napari_cytosae.cohorts.extraction import CohortFolder

    if folder.is_file():
        return read_barcodes(folder)
    where = CohortFolder(folder)
    where.read_manifest()
    return read_barcodes(where.barcodes_path)


def compare(
    folder: Path,
    first: str,
    second: str | None,
    *,
    by: str,
    within: str | None,
    statistic: Statistic | str,
    permutations: int,
    seed: int,
    q: float,
    top: int,
    out: Path | None,
    figures: Path | None = None,
) -> None:
    """Compare two groups and print what differs most.

    Raises
    ------
    CytoSAEError
        There are no barcodes, or no such groups; or the table cannot be written.
    """
    from napari_cytosae.cohorts import ComparisonOptions
    from napari_cytosae.cohorts import compare as compare_groups
    from napari_cytosae.concepts.durable import write_durably

    barcodes = open_barcodes(folder)
    options = ComparisonOptions(
        statistic=statistic,  # type: ignore[arg-type]
        within=within,
        n_permutations=permutations,
        seed=seed,
    )
    found = compare_groups(barcodes, first, second, by=by, options=options)
    a, b = int(found.in_first.sum()), int(found.in_second.sum())
    hits = len(found.significant(q))
    results().print(
        f"{found.first} ({a:,} patients) against {found.second} ({b:,}): {len(found.table):,} of "
        f"{found.n_concepts:,} concepts tested, {hits:,} differ at a false discovery rate of {q:g}.",
        markup=False,
    )
    table = plain_table(
        "concept", found.first, found.second, "Cliff's δ", "p", "q", "cells", "name",
        right=(found.first, found.second, "Cliff's δ", "p", "q", "cells"),
    )  # fmt: skip
    for row in found.top(top).to_dict("records"):
        table.add_row(
            f"#{row['concept_id']}",
            f"{row['mean_first']:.3g}",
            f"{row['mean_second']:.3g}",
            f"{row['delta']:+.2f}",
            f"{row['p']:.2g}",
            f"{row['q']:.2g}",
            f"{int(row['cells_first']) + int(row['cells_second']):,}",
            str(row["name"] or ""),
        )
    results().print(table)
    least = _smallest_p(a, b)
    if hits == 0 and least * max(len(found.table), 1) > q:
        note(
            f"With {a} and {b} patients no p can be below {least:.2g}: more patients are needed "
            "before a single concept could stand out among so many."
        )
    if within is None and barcodes.covariates and a + b < len(barcodes) + 1:
        note(
            "Covariates were not held fixed "
            f"({', '.join(barcodes.covariates)}); --within compares patients of one value only."
        )
    if out is not None:
        write_durably(out, lambda part: found.table.to_csv(part, index=False))
        note(f"The whole table is {out}.")
    if figures is not None:
        from napari_cytosae.export.cohort import write_comparison_figures

        written = write_comparison_figures(barcodes, found, figures)
        note(f"In {figures}: {', '.join(path.name for path in written)}.")


def _smallest_p(first: int, second: int) -> float:
    """Give the smallest two-sided p that an exact rank test of so many can give."""
    from math import comb

    return min(1.0, 2 / comb(first + second, first))
