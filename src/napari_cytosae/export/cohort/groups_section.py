"""The report's sections on patients and on comparisons of groups."""

from html import escape
from pathlib import Path

import pandas as pd

from napari_cytosae.cohorts import Barcodes, Comparison
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.naming.names import title_of
from napari_cytosae.export.cohort import comparison_figures as of_groups
from napari_cytosae.export.cohort.cell_pictures import CellPicture, best_cells_of_groups
from napari_cytosae.export.cohort.files import ReportFiles, file_name
from napari_cytosae.export.cohort.page import side_by_side, table
from napari_cytosae.export.cohort.style import new_figure, shorten

_LISTED = 20
_PICTURED = 5
_HEATMAP = 25


def patients(barcodes: Barcodes, files: ReportFiles) -> str:
    """Tell of the patients, and how alike they are."""
    files.csv("patients", barcodes.patients)
    files.csv("images", barcodes.images, index=False)
    names, means = barcodes.of_diseases()
    ids = barcodes.concept_ids
    columns = barcodes.names.columns(barcodes.d_sae)
    files.csv(
        "disease_barcodes",
        pd.DataFrame(
            {
                "concept_id": ids,
                **{name: column[ids] for name, column in columns.items()},
                **{name: row[ids] for name, row in zip(names, means, strict=True)},
            }
        ),
        index=False,
    )
    groups = barcodes.patients.groupby("diagnosis", sort=True)
    rows = [
        (
            name or "unknown",
            len(part),
            f"{int(part['n_images'].sum()):,}",
            f"{int(part['n_cells'].sum()):,}",
            f"{part['n_cells'].median():,.0f}",
            f"{part['n_cells'].min():,} – {part['n_cells'].max():,}",
        )
        for name, part in groups
    ]
    headings = ("diagnosis", "patients", "images", "cells", "median cells", "range")
    parts = ['<h2 id="patients">Patients</h2>', table(headings, rows)]
    if len(ids) > 1 and len(barcodes) > 2:
        by_diagnosis, clustered = new_figure(5.8, 5), new_figure(5.8, 5)
        of_groups.draw_correlation(by_diagnosis, barcodes)
        of_groups.draw_correlation(clustered, barcodes, clustered=True)
        parts.append(
            side_by_side(
                files.figure(
                    "correlation_by_diagnosis",
                    by_diagnosis,
                    "How alike patients' barcodes are, ordered by diagnosis.",
                ),
                files.figure(
                    "correlation_clustered",
                    clustered,
                    "The same, ordered by likeness alone (average linkage).",
                ),
            )
        )
    if barcodes.covariates:
        parts.append(_covariates(barcodes))
    return "".join(parts)


def compared(
    barcodes: Barcodes,
    comparison: Comparison,
    place: int,
    files: ReportFiles,
    pictures: ReferencePictures,
    folder: Path | None,
) -> str:
    """Tell of one comparison; `place` numbers it."""
    stem = f"{place + 1}_{file_name(comparison.first)}"
    files.csv(f"comparison_{stem}", comparison.table, index=False)
    found = comparison.table
    more, less = (
        int(((found["q"] <= 0.05) & (sign * found["delta"] > 0)).sum()) for sign in (1, -1)
    )
    scatter, volcano, heatmap = new_figure(7.4, 4), new_figure(7.4, 4), new_figure(9, 6)
    of_groups.draw_scatter(scatter.subplots(), comparison)
    of_groups.draw_volcano(volcano.subplots(), comparison)
    ids = [int(number) for number in comparison.top(_HEATMAP)["concept_id"]]
    of_groups.draw_heatmap(heatmap, barcodes, ids)
    first, second = comparison.first, comparison.second
    counts = f"{int(comparison.in_first.sum())} and {int(comparison.in_second.sum())} patients"
    rows = [
        (
            title_of(int(row["concept_id"]), str(row["name"]), bool(row["name_suggested"])),
            f"{row['mean_first']:.3g}",
            f"{row['mean_second']:.3g}",
            f"{row['delta']:+.2f}",
            f"{row['p']:.2g}",
            f"{row['q']:.2g}",
            f"{row['p_family']:.2g}",
            f"{row['cells_first']:,} in {row['patients_first']}",
            f"{row['cells_second']:,} in {row['patients_second']}",
        )
        for row in comparison.top(_LISTED).to_dict("records")
    ]
    one, other = (shorten(name, 18) for name in (first, second))
    headings = (
        "concept", f"mean {one}", f"mean {other}", "delta", "p", "q", "p family-wise",
        f"cells {one}", f"cells {other}",
    )  # fmt: skip
    return (
        f'<h2 id="c{place}">{escape(first)} against {escape(second)}</h2>'
        f"<p>{counts}. Of {len(found):,} concepts tested, {more:,} are more frequent in "
        f"{escape(first)} and {less:,} in {escape(second)} at a false discovery rate of 5 %.</p>"
        + files.figure(
            f"scatter_{stem}",
            scatter,
            "Mean barcodes of the two groups; numbered are the most different concepts.",
        )
        + files.figure(
            f"volcano_{stem}",
            volcano,
            "Effect size and p-value of each concept; coloured at a false discovery rate of 5 %.",
        )
        + files.figure(
            f"heatmap_{stem}",
            heatmap,
            f"The {len(ids)} most different concepts in all patients (square roots, standardised).",
        )
        + table(headings, rows)
        + _cells(barcodes, comparison, pictures, folder)
    )


def _covariates(barcodes: Barcodes) -> str:
    rows = []
    for name in barcodes.covariates:
        column = barcodes.patients[name]
        for diagnosis, part in column.groupby(barcodes.patients["diagnosis"]):
            if pd.api.types.is_numeric_dtype(column):
                words = f"{part.mean():.4g} ({part.min():.4g} – {part.max():.4g})"
            else:
                counts = part.astype(str).value_counts()
                words = ", ".join(f"{value} {count}" for value, count in counts.head(6).items())
            rows.append((name, diagnosis, words))
    return (
        "<details><summary>Covariates by diagnosis</summary>"
        + table(("covariate", "diagnosis", "values"), rows, words=(0, 1, 2))
        + "</details>"
    )


def _cells(
    barcodes: Barcodes, comparison: Comparison, pictures: ReferencePictures, folder: Path | None
) -> str:
    """Show the cells behind the most different concepts."""
    parts = []
    reason = ""
    columns = comparison.top(_PICTURED)[["concept_id", "name", "name_suggested"]]
    for number, name, mark in columns.itertuples(index=False):
        first, second, missing = best_cells_of_groups(
            barcodes, comparison, int(number), pictures, folder
        )
        reason = reason or missing
        if not (first or second):
            continue
        parts.append(
            f"<h3>{escape(title_of(int(number), str(name), bool(mark)))}</h3>"
            f'<div class="groups">{_gallery(comparison.first, first)}'
            f"{_gallery(comparison.second, second)}</div>"
        )
    said = f'<p class="soft">Some cells are not shown. {escape(reason)}</p>' if reason else ""
    if not parts:
        return said
    return (
        "<h3>The cells behind them</h3><p>The best cells of both groups: the crop, and where in "
        "it the concept is active; one scale for both groups.</p>" + "".join(parts) + said
    )


def _gallery(name: str, cells: list[CellPicture]) -> str:
    shown = "".join(
        f'<figure><img src="{cell.source}" width="227" height="112" '
        f'alt="cell {cell.label} of {escape(cell.patient)}">'
        f"<figcaption>{escape(cell.patient)} · {cell.activation:.3g}</figcaption></figure>"
        for cell in cells
    )
    none = '<p class="soft">No cell shows it.</p>'
    return f'<div><p class="soft">{escape(name)}</p><div class="cells">{shown or none}</div></div>'
