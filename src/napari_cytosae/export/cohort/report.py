"""One page about a cohort, and the figures and tables that it is made of."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from napari_cytosae.cohorts import Barcodes, Comparison, write_barcodes
from napari_cytosae.cohorts.classification import Classification
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.export.cohort.classification_section import classified
from napari_cytosae.export.cohort.files import ReportFiles
from napari_cytosae.export.cohort.groups_section import compared, patients
from napari_cytosae.export.cohort.methods import methods, versions
from napari_cytosae.export.cohort.page import pairs, paragraphs, whole_page


@dataclass(frozen=True, eq=False)
class CohortReport:
    """What a report tells.

    Parameters
    ----------
    barcodes
        Of the cohort.
    comparisons
        Of groups.
    classification
        Of the diagnoses, or None.
    folder
        The cohort's folder, for pictures of cells; None where runs are given by whole paths.
    title
        The heading.
    notes
        What the reader has to know, a sentence each.
    """

    barcodes: Barcodes
    comparisons: Sequence[Comparison] = ()
    classification: Classification | None = None
    folder: Path | None = None
    title: str = "Cohort"
    notes: Sequence[str] = ()


def write_cohort_report(
    report: CohortReport, out: str | Path, say: Callable[[str], None] = lambda words: None
) -> Path:
    """Write ``report.html``, ``figures/*.svg``, ``tables/*.csv`` and ``barcodes.h5ad``.

    The page needs no other file and no network.

    Parameters
    ----------
    report
        What to tell.
    out
        The folder; files of the same names there are replaced.
    say
        Told what is being done.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    """
    files = ReportFiles(Path(out))
    files.create()
    barcodes = report.barcodes
    say("barcodes")
    data = write_barcodes(barcodes, files.folder / "barcodes.h5ad")
    parts = [_head(report), patients(barcodes, files)]
    with ReferencePictures() as pictures:
        for place, one in enumerate(report.comparisons):
            say(f"{one.first} against {one.second}")
            parts.append(compared(barcodes, one, place, files, pictures, report.folder))
    if report.classification is not None:
        say("classification")
        parts.append(classified(barcodes, report.classification, files))
    parts.append(_methods(report, data))
    page = files.folder / "report.html"
    text = whole_page(report.title, parts)
    write_durably(page, lambda part: part.write_text(text, encoding="utf-8"))
    return page


def without_runs(report: CohortReport) -> CohortReport:
    """Tell the same without pictures of cells, where runs are not to be opened."""
    images = report.barcodes.images.assign(run="")
    return replace(report, barcodes=replace(report.barcodes, images=images))


def _head(report: CohortReport) -> str:
    barcodes = report.barcodes
    links = ['<a href="#patients">Patients</a>']
    links += [
        f'<a href="#c{place}">{escape(one.first)}</a>'
        for place, one in enumerate(report.comparisons)
    ]
    if report.classification is not None:
        links.append('<a href="#classification">Classification</a>')
    links.append('<a href="#methods">Methods</a>')
    cells = int(barcodes.patients["n_cells"].sum())
    warnings = [*report.notes]
    if report.classification is not None:
        warnings += report.classification.warnings
    return (
        f"<h1>{escape(report.title)}</h1>"
        f'<p class="soft">{len(barcodes)} patients, {len(barcodes.diagnoses)} diagnoses, '
        f"{cells:,} cells, {len(barcodes.concept_ids):,} of {barcodes.d_sae:,} concepts active. "
        f"For research; not a diagnosis.</p><nav>{''.join(links)}</nav>"
        + paragraphs(warnings, "warn")
    )


def _methods(report: CohortReport, data: Path) -> str:
    words = methods(report.barcodes, list(report.comparisons), report.classification)
    provenance = {
        str(key).replace("_", " "): value
        for key, value in report.barcodes.provenance.items()
        if isinstance(value, str | int | float) and value != ""
    }
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    files = (
        "Beside this page lie the figures (figures/*.svg), the tables (tables/*.csv) and the "
        "barcodes as AnnData (barcodes.h5ad, patients × concepts)."
    )
    return (
        '<h2 id="methods">Methods</h2>'
        + paragraphs([*words, files])
        + "<h3>Provenance</h3>"
        + pairs({**provenance, "SHA-256 of barcodes.h5ad": digest})
        + "<h3>Versions</h3>"
        + pairs(versions())
    )
