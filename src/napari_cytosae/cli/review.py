"""The commands ``atlas review`` and ``atlas agreement``."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from napari_cytosae.cli.console import note, plain_table, results


def begin_review(
    path: Path,
    out: Path,
    reviewers: list[str],
    *,
    clusters: int,
    per_cluster: int,
    k: int,
    seed: int,
) -> None:
    """Draw concepts, and write the page and the sheets.

    Raises
    ------
    CytoSAEError
        The atlas has nothing to show, or the folder holds a review of other concepts.
    """
    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.concepts.review import Review, ReviewPlan
    from napari_cytosae.export.review_page import write_review_page

    atlas = Atlas.open(path)
    plan = ReviewPlan(clusters, per_cluster, k, seed)
    review = Review.draw(atlas, out, plan)
    files = review.check_free(reviewers)
    kept = [file for file in files.values() if file.exists()]
    review.begin(reviewers)
    pictures, without = write_review_page(atlas, review.concepts, out / "review.html", k)
    for file in kept:
        note(f"{file} is there already, and is kept.")
    note(
        f"{len(review.concepts)} concepts, {pictures:,} pictures: {out / 'review.html'}. Each "
        f"reviewer fills in a sheet: {', '.join(file.name for file in files.values())}, or goes on "
        "from there in the Concepts dock (Atlas ▾)."
    )
    if without:
        note(f"{without} of the concepts have no cell whose image is at hand; leave those empty.")
    note(f"Then: napari-cytosae atlas agreement {out}/review-*.csv")


def tell_agreement(paths: list[Path], out: Path | None, seed: int) -> None:
    """Compare sheets, and print or write what comes of it.

    Raises
    ------
    CytoSAEError
        A sheet cannot be read, or there are too few.
    """
    from napari_cytosae.concepts.durable import write_durably
    from napari_cytosae.concepts.review import (
        agreement_report,
        compare_sheets,
        kappa_rows,
        read_sheet,
        share_words,
    )

    sheets = [read_sheet(path) for path in paths]
    found = compare_sheets(sheets, seed=seed)
    table = plain_table("reviewers", "kappa", "95 %", "concepts", right=("kappa", "concepts"))
    for who, *rest in kappa_rows(found):
        table.add_row(escape(who), *rest)
    results().print(table)
    for words in share_words(found):
        results().print(words, markup=False)
    for sheet in sheets:
        if sheet.done < len(sheet.concepts):
            note(f"{sheet.reviewer} has rated {sheet.done} of {len(sheet.concepts)} concepts.")
    if out is not None:
        text = agreement_report(sheets, found)
        write_durably(out, lambda part: part.write_text(text, encoding="utf-8"))
        note(f"The report is {out}.")
