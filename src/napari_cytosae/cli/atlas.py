"""The command ``atlas``: what each concept is, over whole data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from napari_cytosae.cli.console import note, plain_table, progress, results
from napari_cytosae.cli.progress import stop_on_ctrl_c
from napari_cytosae.errors import AtlasError, Cancelled

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas import Atlas, BuildProgress
    from napari_cytosae.concepts.atlas.data_set import Tissue

_STAGES = {
    "open": "opening",
    "count": "counting cells",
    "encode": "encoding images",
    "write": "writing",
}
_LOGGED_SHARE = 0.1  # a line in a log for every so much of the work
_LISTED = 20
_MEASURES = 6  # of each data set that are listed for a concept


def build(
    sources: list[Path],
    out: Path,
    *,
    name: str | None,
    labels: str | None,
    tissue: Tissue,
    k: int,
    threshold: float,
    evidence: bool,
    workers: int | None,
    bundle: str,
    device: str,
    overwrite: bool,
) -> None:
    """Build an atlas, with a bar on a terminal, or lines in a log.

    Raises
    ------
    CytoSAEError
        Where it cannot be built, or was stopped.
    """
    from napari_cytosae.concepts.atlas import Atlas

    live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=progress(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = live.add_task(_STAGES["open"], total=None)
    logged = 0.0

    def show(step: BuildProgress) -> None:
        nonlocal logged
        live.update(
            task, description=_STAGES[step.stage], completed=step.done, total=step.total or None
        )
        share = step.done / step.total if step.total else 0.0
        if live.disable and share >= logged + _LOGGED_SHARE:
            logged = share
            note(f"{_STAGES[step.stage]}: {step.done:,} of {step.total:,}")

    with stop_on_ctrl_c() as cancelled, live:
        try:
            atlas = Atlas.build(
                sources,
                out=out,
                name=name,
                labels=labels,
                tissue=tissue,
                k=k,
                threshold=threshold,
                evidence=evidence,
                workers=workers,
                bundle=bundle,
                device=device,
                overwrite=overwrite,
                progress=show,
                cancelled=cancelled,
            )
        except Cancelled as error:
            raise Cancelled(
                "Stopped. What was saved on the way is kept: repeat the command, and it goes on "
                "from there."
            ) from error
    print_atlas(atlas)
    note(f"The atlas is in {out}. Look at a concept with: napari-cytosae atlas show {out} NUMBER")


def import_published(
    folders: list[Path], out: Path, *, bundle: str | None, overwrite: bool
) -> None:
    """Read feature-data folders and save them as one atlas.

    Raises
    ------
    CytoSAEError
        Where a folder holds none, or the atlas cannot be written.
    """
    from napari_cytosae.concepts.atlas import Atlas, is_published

    found: list[Path] = []
    for folder in folders:
        if folder.is_dir() and not is_published(folder):
            inner = sorted(path for path in folder.iterdir() if path.is_dir())
            published = [path for path in inner if is_published(path)]
            found += published or [folder]
        else:
            found.append(folder)
    digest = None
    if bundle is not None:
        from napari_cytosae.models import load_bundle

        digest = load_bundle(bundle).sae_digest
    atlas = Atlas.from_published(found, sae_digest=digest)
    atlas.save(out, overwrite=overwrite)
    print_atlas(atlas)
    note(f"The atlas is in {out}.")


def show_atlas(path: Path) -> None:
    """Print an atlas's data sets, its focus and its most telling concepts."""
    from napari_cytosae.concepts.atlas import Atlas

    atlas = Atlas.open(path)
    print_atlas(atlas)
    print_concepts(atlas.table.sort_values("rank", kind="stable").head(_LISTED))


def show_concept(path: Path, concept: int, html: Path | None, k: int) -> None:
    """Print what is known of a concept, or write it as a page.

    Raises
    ------
    CytoSAEError
        Where there is no such concept, or the page cannot be written.
    """
    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.concepts.naming.names import title_of

    atlas = Atlas.open(path)
    top = atlas.top(concept, k)
    if html is not None:
        from napari_cytosae.export.atlas_page import write_concept_page

        write_concept_page(atlas, concept, html, k)
        note(f"The page is {html}.")
        return
    console = results()
    row = atlas.table.iloc[concept]
    console.print(Text(title_of(concept, *atlas.words(concept))))
    if row["evidence"]:
        console.print(Text(f"labels suggest: {row['evidence']}"))
    if row.get("seen"):
        console.print(Text(f"measured cells suggest: {row['seen']}"))
    table = plain_table(
        "data set", "images", "frequency", "mean activation", "of all activation", "entropy",
        right=("images", "frequency", "mean activation", "of all activation", "entropy"),
    )  # fmt: skip
    for data in atlas:
        table.add_row(
            Text(data.name),
            f"{data.counts.images[concept]:,}",
            f"{data.frequency[concept]:.2%}",
            f"{data.mean_activation[concept]:.3g}",
            f"{data.mass_share[concept]:.3%}",
            _number(data.label_entropy[concept]),
        )
    console.print(table)
    print_evidence(atlas, concept)
    references = plain_table(
        "data set", "value", "class", "cell", "patch", "image", right=("value",)
    )
    for reference in top.to_dict("records"):
        patch = reference["patch_row"]
        references.add_row(
            Text(reference["data_set"]),
            f"{reference['value']:.3g}",
            Text(reference["label"]),
            str(reference["cell"]),
            "" if pd.isna(patch) else f"{patch}, {reference['patch_column']}",
            Text(reference["image"]),
        )
    console.print(references)
    partners = atlas.partners(concept)
    if len(partners):
        others = ", ".join(
            f"#{other} {word}".rstrip() + f" ({cosine:.2f})"
            for other, word, cosine in partners[["concept_id", "suggestion", "cosine"]].itertuples(
                index=False
            )
        )
        console.print(Text(f"strong in the same cells (cosine): {others}"), soft_wrap=True)


def print_evidence(atlas: Atlas, concept: int) -> None:
    """Print where a concept is and which measures it goes with, where cells were measured."""
    from napari_cytosae.concepts.atlas.evidence import in_words

    where, measures = atlas.where(concept), atlas.correlates(concept)
    if not where.empty:
        table = plain_table(
            "data set", "compartment", "of activation", "of area", "enrichment",
            right=("of activation", "of area", "enrichment"),
        )  # fmt: skip
        for row in where.dropna(subset="share").to_dict("records"):
            table.add_row(
                Text(row["data_set"]),
                row["compartment"],
                f"{row['share']:.1%}",
                f"{row['area']:.1%}",
                f"{_number(row['enrichment'])} ×" if pd.notna(row["enrichment"]) else "",
            )
        results().print(table)
    if not measures.empty:
        table = plain_table("data set", "measure", "ρ", "q", "cells", right=("ρ", "q", "cells"))
        for row in measures.groupby("data_set", sort=False).head(_MEASURES).to_dict("records"):
            table.add_row(
                Text(row["data_set"]),
                row["words"],
                in_words(row["rho"]),
                f"{row['q']:.2g}",
                f"{row['active']:,} of {row['cells']:,}",
            )
        results().print(table)


def search(path: Path, text: str, most: int) -> None:
    """Print the concepts that a text finds."""
    from napari_cytosae.concepts.atlas import Atlas

    found = Atlas.open(path).search(text)
    print_concepts(found.head(most))
    if len(found) > most:
        results().print(f"and {len(found) - most:,} more; --most lists them")


def focus(
    path: Path,
    threshold: float | None,
    data_set: str | None,
    picture: Path | None,
    ids: Path | None,
) -> None:
    """Print which concepts are in focus, draw the modes, and list the ids.

    Raises
    ------
    CytoSAEError
        Where a file cannot be written.
    """
    from napari_cytosae.concepts.atlas import Atlas

    atlas = Atlas.open(path)
    chosen = atlas.focus(threshold, data_set=data_set)
    over = data_set or ", ".join(data.name for data in atlas)
    console = results()
    if chosen.upper_mode is None and threshold is None:
        console.print(Text(f"{over}: mean activation has one mode, so all active concepts count."))
    console.print(
        Text(
            f"{over}: {len(chosen):,} of {chosen.d_sae:,} concepts are above a mean activation of "
            f"{chosen.threshold:.3g} and carry {chosen.mass_share:.2%} of all activation."
        )
    )
    if picture is not None:
        from napari_cytosae.export.focus_picture import draw_focus

        draw_focus(chosen, over, picture)
        note(f"The picture is {picture}.")
    if ids is not None:
        from napari_cytosae.export.tables import write_table

        write_table(atlas.table.loc[chosen.concept_ids, ["concept_id", "name"]], ids)
        note(f"The concepts are listed in {ids}: napari-cytosae analyze … --focus {ids}")


def write_tables(path: Path, out: Path) -> None:
    """Write an atlas as CSV.

    Raises
    ------
    CytoSAEError
        Where a file cannot be written.
    """
    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.export.atlas_tables import write_atlas_tables

    for file in write_atlas_tables(Atlas.open(path), out):
        note(f"Wrote {file}")


def merge(atlases: list[Path], out: Path, *, overwrite: bool) -> None:
    """Merge atlases and save what comes of it.

    Raises
    ------
    AtlasError
        Where they cannot be merged.
    """
    from napari_cytosae.concepts.atlas import Atlas

    merged = Atlas.open(atlases[0])
    for path in atlases[1:]:
        merged = merged.merge(Atlas.open(path))
    merged.save(out, overwrite=overwrite)
    print_atlas(merged)
    note(f"The atlas is in {out}.")


def link(path: Path, data_set: str, images: Path) -> None:
    """Remember where the images of a published data set lie.

    Raises
    ------
    AtlasError
        Where they are of another data set.
    """
    from napari_cytosae.concepts.atlas import Atlas

    atlas = Atlas.open(path)
    atlas.link_images(data_set, images)
    atlas.save(path)
    note(f"The references of {data_set} show the images in {images} from now on.")


def print_atlas(atlas: Atlas) -> None:
    """Print one line for each data set, and how many concepts are in focus."""
    if not atlas.finished:
        note("This build was stopped on its way; repeat it, and it goes on.")
    table = plain_table(
        "data set", "cells", "classes", "tissue", "in focus", "of all activation", "one class",
        right=("cells", "classes", "in focus", "of all activation", "one class"),
    )  # fmt: skip
    for data in atlas:
        chosen = atlas.focus(data_set=data.name)
        table.add_row(
            Text(data.name),
            f"{len(data):,}",
            f"{len(data.info.classes):,}",
            data.info.tissue,
            f"{len(chosen):,}",
            f"{chosen.mass_share:.2%}",
            f"{int(data.one_class.sum()):,}" if data.info.classes else "",
        )
    results().print(table)
    for data in atlas:
        for said in data.info.notes:
            note(f"{data.name}: {said}")


def print_concepts(table: pd.DataFrame) -> None:
    """Print one line for each concept of a table."""
    if table.empty:
        raise AtlasError(
            "No concept is found. Search for other words, or for a number such as #123."
        )
    printed = plain_table(
        "concept", "frequency", "mean activation", "entropy", "name or suggestion",
        right=("concept", "frequency", "mean activation", "entropy"),
    )  # fmt: skip
    for row in table.to_dict("records"):
        words = "   ".join(
            said for said in (row["name"], row["evidence"], row.get("seen", "")) if said
        )
        printed.add_row(
            f"#{row['concept_id']}",
            f"{row['frequency']:.2%}",
            f"{row['mean_activation']:.3g}",
            _number(row["entropy"]),
            Text(words),
        )
    results().print(printed)


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"
