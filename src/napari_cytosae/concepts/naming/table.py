"""Names as a table that a spreadsheet opens: written, edited there, and read again."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming.records import Naming
from napari_cytosae.errors import NamesError

if TYPE_CHECKING:
    from napari_cytosae.concepts.naming.dictionary import Dictionary

_COLUMNS: Final = ("concept", "name", "synonyms", "tissue", "notes", "confidence")
_DETAILS: Final = ("author", "date", "suggested_by")
TABLE_SUFFIXES: Final = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One named concept of a table.

    Parameters
    ----------
    concept_id
        The concept.
    naming
        What it is called.
    author
        Who said so; empty where the table does not tell.
    """

    concept_id: int
    naming: Naming
    author: str


def write_names_table(dictionary: "Dictionary", path: Path, *, suggested: bool = False) -> int:
    """Write what concepts are called now, as CSV, or TSV where the file's name ends so.

    Parameters
    ----------
    dictionary
        The names.
    path
        Where the table goes.
    suggested
        Whether suggested names that no person has confirmed go along, marked as such.

    Returns
    -------
    How many names it holds.

    Raises
    ------
    RunError
        It cannot be written.
    """
    rows = []
    for concept, entry in sorted(dictionary.entries.items()):
        record = entry.record
        if record is None or not entry.name or (entry.suggested and not suggested):
            continue
        said = record.naming
        rows.append(
            [
                concept, said.name, "; ".join(said.synonyms), said.tissue, said.notes,
                "" if said.confidence is None else said.confidence,
                record.author, record.date, record.suggested_by,
            ]
        )  # fmt: skip

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=_delimiter(path))
            writer.writerow([*_COLUMNS, *_DETAILS])
            writer.writerows(rows)

    write_durably(path, write)
    return len(rows)


def read_names_table(path: Path) -> list[TableRow]:
    """Read a table with the columns concept and name; suggested names are passed over.

    Raises
    ------
    NamesError
        It cannot be read; the message says in which row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=_delimiter(path)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NamesError(f"{path} cannot be read ({error}).") from error
    if not rows or not {"concept", "name"} <= rows[0].keys():
        raise NamesError(f"{path} needs the columns concept and name, and a row below them.")
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            concept = int(str(row["concept"]).lstrip("#"))
            sure = (row.get("confidence") or "").strip()
            naming = Naming(
                row["name"] or "",
                tuple((row.get("synonyms") or "").split(";")),
                row.get("tissue") or "",
                row.get("notes") or "",
                float(sure) if sure else None,
            )
        except (ValueError, NamesError) as error:
            raise NamesError(f"{path}, row {number}: {error}") from error
        if concept < 0:
            raise NamesError(f"{path}, row {number}: concepts are counted from 0.")
        if naming.name and not (row.get("suggested_by") or "").strip():
            found.append(TableRow(concept, naming, (row.get("author") or "").strip()))
    return found


def give_rows(dictionary: "Dictionary", rows: Iterable[TableRow], author: str = "") -> int:
    """Give the names of a table; those that stand already as they are change nothing.

    Parameters
    ----------
    dictionary
        Where they go.
    rows
        What was read.
    author
        Who stands behind names of which the table does not say it.

    Returns
    -------
    How many concepts are named anew.

    Raises
    ------
    NamesError
        Nobody stands behind a name, or the names cannot be saved.
    """
    given: dict[str, dict[int, Naming | None]] = {}
    for row in rows:
        who = row.author or author
        if not who:
            raise NamesError("Say who names them: give an author, or a column author.")
        given.setdefault(who, {})[row.concept_id] = row.naming
    return sum(len(dictionary.give_many(names, who).changes) for who, names in given.items())


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
