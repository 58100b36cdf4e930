"""The commands ``atlas review`` and ``atlas agreement``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from napari_cytosae.cli.console import note, plain_table, results
from napari_cytosae.errors import NamesError

if TYPE_CHECKING:
    from napari_cytosae.concepts.review import Agreement, Kappa, ReviewSheet


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
    from napari_cytosae.concepts.durable import explain_write_error
    from napari_cytosae.concepts.review import ReviewSheet, read_sheet, sample_concepts
    from napari_cytosae.export.review_page import write_review_page

    names = [" ".join(name.split()) for name in reviewers]
    files = {name: out / f"review-{_file_name(name)}.csv" for name in names}
    if "" in names or len(set(files.values())) < len(names):
        raise NamesError("Every reviewer needs a name of their own.")
    atlas = Atlas.open(path)
    table = atlas.table
    concepts = sample_concepts(
        table["mean_activation"].to_numpy(float),
        table["frequency"].to_numpy(float),
        clusters=clusters,
        per_cluster=per_cluster,
        seed=seed,
    ).tolist()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, out) from error
    for file in files.values():
        if file.exists() and list(read_sheet(file).concepts) != concepts:
            raise NamesError(f"{file} is of other concepts. Choose another folder for this review.")
    pictures, without = write_review_page(atlas, concepts, out / "review.html", k)
    for name, file in files.items():
        if file.exists():
            note(f"{file} is there already, and is kept.")
        else:
            ReviewSheet(concepts, name, atlas.sae_digest or "").save(file)
    note(
        f"{len(concepts)} concepts, {pictures:,} pictures: {out / 'review.html'}. Each reviewer fills "
        f"in a sheet: {', '.join(file.name for file in files.values())}."
    )
    if without:
        note(f"{without} of the concepts have no cell whose image is at hand; leave those empty.")
    note(f"Then: napari-cytosae atlas agreement {out}/review-*.csv")


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.").lower()


def tell_agreement(paths: list[Path], out: Path | None, seed: int) -> None:
    """Compare sheets, and print or write what comes of it.

    Raises
    ------
    CytoSAEError
        A sheet cannot be read, or there are too few.
    """
    from napari_cytosae.concepts.durable import write_durably
    from napari_cytosae.concepts.review import compare_sheets, read_sheet

    sheets = [read_sheet(path) for path in paths]
    found = compare_sheets(sheets, seed=seed)
    table = plain_table("reviewers", "kappa", "95 %", "concepts", right=("kappa", "concepts"))
    for (one, other), kappa in found.pairs.items():
        table.add_row(escape(f"{one} and {other} (Cohen)"), *_kappa(kappa))
    if found.fleiss is not None:
        table.add_row("all (Fleiss)", *_kappa(found.fleiss))
    results().print(table)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    results().print(f"Of all ratings: {shares}.", markup=False)
    if not math.isnan(found.same_name):
        results().print(f"The same name was given in {found.same_name:.0%}.", markup=False)
    for sheet in sheets:
        if sheet.done < len(sheet.concepts):
            note(f"{sheet.reviewer} has rated {sheet.done} of {len(sheet.concepts)} concepts.")
    if out is not None:
        text = _report(sheets, found)
        write_durably(out, lambda part: part.write_text(text, encoding="utf-8"))
        note(f"The report is {out}.")


def _kappa(kappa: Kappa) -> tuple[str, str, str]:
    if math.isnan(kappa.value):
        return "–", "one rating only", str(kappa.concepts)
    return f"{kappa.value:.2f}", f"{kappa.low:.2f} to {kappa.high:.2f}", str(kappa.concepts)


def _report(sheets: list[ReviewSheet], found: Agreement) -> str:
    """Write what was asked, what was said, and how far it agrees."""
    from napari_cytosae.concepts.review import Answer

    lines = [
        "# Blinded review",
        "",
        f"{len(found.reviewers)} reviewers ({_plain(', '.join(found.reviewers))}) looked at the same "
        f"cells of {len(sheets[0].concepts)} concepts, without labels, names or values.",
        "",
        "| reviewers | kappa | 95 % | concepts |",
        "| --- | --- | --- | --- |",
    ]
    rows = [(_plain(f"{a} and {b} (Cohen)"), kappa) for (a, b), kappa in found.pairs.items()]
    if found.fleiss is not None:
        rows.append(("all (Fleiss)", found.fleiss))
    lines += [f"| {who} | {' | '.join(_kappa(kappa))} |" for who, kappa in rows]
    lines += ["", "Intervals: percentiles over 2,000 draws of concepts with replacement.", ""]
    lines += ["| concept |" + "".join(f" {_plain(sheet.reviewer)} |" for sheet in sheets)]
    lines += ["| --- |" + " --- |" * len(sheets)]
    for concept in sheets[0].concepts:
        said = [sheet.answers.get(concept, Answer()) for sheet in sheets]
        cells = [_plain(f"{a.rating}{': ' + a.name if a.name else ''}") for a in said]
        lines.append(f"| {concept} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Keep people's words from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]|<>])", r"\\\1", " ".join(text.split()))
