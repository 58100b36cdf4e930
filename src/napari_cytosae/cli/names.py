"""The command ``atlas names``: list, give, merge and hand on the names of concepts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cytosae.cli.console import note, plain_table, results
from napari_cytosae.errors import CytoSAEError, NamesError

if TYPE_CHECKING:
    from napari_cytosae.concepts.naming.dictionary import Dictionary
    from napari_cytosae.concepts.naming.entries import Entry
    from napari_cytosae.concepts.naming.records import Naming


def open_names(path: Path) -> Dictionary:
    """Open the names of an atlas, a run, a bundle, or a file of names.

    Raises
    ------
    NamesError
        It is none of these, or its names cannot be read.
    """
    from napari_cytosae.concepts.atlas import Atlas, is_atlas
    from napari_cytosae.concepts.naming.dictionary import Dictionary
    from napari_cytosae.concepts.naming.places import dictionary_of
    from napari_cytosae.models import load_bundle

    if path.is_file():
        return Dictionary(path)
    if is_atlas(path):
        return Atlas.open(path).dictionary
    if (path / "run.json").is_file():
        from napari_cytosae.concepts import open_run

        digest = open_run(path).sae_digest
        if digest is None:
            raise NamesError(f"{path} does not say which SAE it was made with; name its bundle.")
        return dictionary_of(digest)
    try:
        bundle = load_bundle(str(path))
    except CytoSAEError as error:
        raise NamesError(f"{path} is no atlas, run, bundle or file of names ({error}).") from error
    return dictionary_of(bundle.sae_digest, bundle.names_path)


def list_names(path: Path, words: str, suggested: bool) -> None:
    """Print the names, of all concepts or of those that words find."""
    names = open_names(path)
    found = names.search(words) if words else sorted(names.entries)
    entries = [names.entries[c] for c in found if c in names.entries]
    shown = [entry for entry in entries if entry.name and (suggested or not entry.suggested)]
    table = plain_table("concept", "name", "tissue", "confidence", "author", right=("confidence",))
    for entry in shown:
        record = entry.record
        assert record is not None
        sure = record.naming.confidence
        table.add_row(
            f"#{entry.concept_id}",
            f"{entry.name}{' (suggested)' if entry.suggested else ''}",
            record.naming.tissue,
            "" if sure is None else f"{100 * sure:.0f} %",
            record.author or record.suggested_by,
        )
    results().print(table)
    note(f"{len(shown):,} names in {names.path}.")
    _tell_conflicts(names.conflicts)
    for line, what in names.unreadable:
        note(f"not understood, and kept: {line[:60]} ({what})")


def give_name(
    path: Path,
    concept: int,
    name: str,
    *,
    tissue: str,
    notes: str,
    synonyms: Sequence[str],
    confidence: float | None,
    author: str | None,
) -> None:
    """Name a concept; an empty name takes its name away."""
    from napari_cytosae.concepts.naming.author import remembered_author
    from napari_cytosae.concepts.naming.records import Naming

    names = open_names(path)
    if concept < 0:
        raise NamesError(f"Concepts are counted from 0; {concept} is none.")
    who = author or remembered_author()
    if not who:
        raise NamesError("Say who names it: --author NAME.")
    naming: Naming | None = None
    if name.strip():
        naming = Naming(name, tuple(synonyms), tissue, notes, confidence)
    names.give(concept, naming, who)
    note(f"#{concept} is {f'“{naming.name}”' if naming else 'without a name'} in {names.path}.")


def merge_names(path: Path, other: Path) -> None:
    """Take over all that others say; where two disagree, both stand side by side."""
    names = open_names(path)
    merged = names.merge(open_names(other) if other.is_dir() else other)
    note(
        f"{merged.added:,} new records on {len(merged.concepts):,} concepts; "
        f"{len(names.names):,} names in {names.path}."
    )
    _tell_conflicts(names.conflicts)


def _tell_conflicts(conflicts: Iterable[Entry]) -> None:
    """Show what persons disagree on, side by side."""
    conflicts = list(conflicts)
    if not conflicts:
        return
    note(f"On {len(conflicts):,} concepts people disagree; a name that is given anew decides it:")
    table = plain_table("concept", "said by", "on", "name")
    for entry in conflicts:
        for record in entry.standing:
            table.add_row(f"#{entry.concept_id}", record.author, record.date[:10], record.name)
    results().print(table)


def export_names(path: Path, out: Path, suggested: bool) -> None:
    """Write the names as a table (CSV, TSV), or with all their history as a file of names."""
    from napari_cytosae.concepts.durable import write_durably
    from napari_cytosae.concepts.naming.table import TABLE_SUFFIXES, write_names_table

    names = open_names(path)
    if out.suffix.lower() not in TABLE_SUFFIXES:
        text = names.to_file().to_text()
        write_durably(out, lambda part: part.write_text(text, encoding="utf-8"))
        note(f"{out} holds all that was ever said; merge it with: atlas names … merge {out}")
        return
    n = write_names_table(names, out, suggested=suggested)
    note(f"{n:,} names in {out}.")


def import_names(path: Path, table: Path, author: str | None) -> None:
    """Give the names of a table; those that stand already as they are change nothing."""
    from dataclasses import replace

    from napari_cytosae.concepts.naming.author import remembered_author
    from napari_cytosae.concepts.naming.table import give_rows, read_names_table

    names = open_names(path)
    rows = read_names_table(table)
    if author:
        rows = [replace(row, author=author) for row in rows]
    changed = give_rows(names, rows, remembered_author())
    note(f"{changed:,} of {len(rows):,} concepts are named anew in {names.path}.")
