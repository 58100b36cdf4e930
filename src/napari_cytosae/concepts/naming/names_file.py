"""The file that names live in: a header, then one record a line, in an order that never changes.

Lines are JSON, sorted by concept, then by what came first. Because lines are only ever added, two versions of
the file are merged by keeping the lines of both, as git's union merge does; even a file with git's
conflict marks in it is read as just that.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from napari_cytosae.concepts.durable import lock_beside, write_durably
from napari_cytosae.concepts.naming.entries import in_order
from napari_cytosae.concepts.naming.records import Record
from napari_cytosae.errors import NamesError, RunError, UnsavedNamesError

FORMAT: Final = "napari-cytosae names"
VERSION: Final = 1
SUFFIX: Final = ".jsonl"
_MARKS: Final = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")


@dataclass(frozen=True, slots=True)
class NamesFile:
    """The content of a file of names.

    Parameters
    ----------
    sae_digest
        Digest of the SAE whose concepts are named; empty where the file does not say.
    about
        A line about the file for whoever opens it: which model, which lab.
    records
        All records, each once.
    unreadable
        Lines that are no records, with what is wrong with each. They are kept when the file is
        written again.
    """

    sae_digest: str
    about: str
    records: tuple[Record, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str:
        """Write the file's text."""
        header = {"format": FORMAT, "version": VERSION, "sae": self.sae_digest, "about": self.about}
        lines = [json.dumps(header, ensure_ascii=False)]
        lines += [record.to_line() for record in _sorted(self.records)]
        lines += [line for line, _ in self.unreadable]
        return "\n".join(lines) + "\n"


def read_names(path: Path) -> NamesFile:
    """Read a file of names.

    Raises
    ------
    NamesError
        Where there is none, it cannot be read, is of a later version, or names concepts of two
        SAEs. Single lines that cannot be read are no error.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NamesError(f"There is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise NamesError(
            f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8, or take an "
            "earlier copy of it."
        ) from error
    except OSError as error:
        raise NamesError(f"{path} cannot be read ({error.strerror or error}).") from error
    return _parse(text, path)


Stamp = tuple[int, int, int]
"""Time, size and number of a file: by them it is known to be as it was."""


def stamp_of(path: Path) -> Stamp | None:
    """Give a file's stamp, None where there is no such file.

    Raises
    ------
    NamesError
        Where the folder cannot be looked into.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NamesError(f"{path} cannot be read ({error.strerror or error}).") from error
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def update_names(
    path: Path,
    change: Callable[[NamesFile], NamesFile],
    known: NamesFile,
    known_stamp: Stamp | None = None,
) -> tuple[NamesFile, Stamp | None]:
    """Read the file, change its content and write it, while no other process does the same.

    Parameters
    ----------
    path
        The file; made, with its folder, where it does not exist.
    change
        Gets what is in the file now.
    known
        What the file held when its stamp was `known_stamp`, so that it is read again only where
        it has changed; and what one that does not exist, or no longer, is taken to hold.
    known_stamp
        See `known`.

    Returns
    -------
    NamesFile
        What was written.
    Stamp or None
        The file's stamp now.

    Raises
    ------
    NamesError
        Where the file that is there cannot be read.
    UnsavedNamesError
        Where it cannot be written, or another process holds it for long.
    """
    path = path.resolve()  # replace what a link points to, not the link
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_beside(path):
            stamp = stamp_of(path)
            before = known if stamp in (None, known_stamp) else read_names(path)
            after = change(before)
            if stamp is None or after != before:
                text = after.to_text()
                write_durably(path, lambda temporary: _write(temporary, text, path))
            return after, stamp_of(path)
    except (RunError, OSError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause)
        raise UnsavedNamesError(
            f"The names could not be saved to {path} ({reason}). They are kept while the program "
            "runs: make room or allow writing there, and save again."
        ) from error


def _write(temporary: Path, text: str, path: Path) -> None:
    temporary.write_text(text, encoding="utf-8", newline="\n")
    if path.exists():
        shutil.copymode(path, temporary)  # a shared file stays writable for the group


def _parse(text: str, path: Path) -> NamesFile:
    digests: list[str] = []
    about = ""
    records: dict[str, Record] = {}
    unreadable: list[tuple[str, str]] = []
    for line in _lines(text):
        header = _header(line)
        if header is not None:
            if header.get("version") != VERSION:
                raise NamesError(
                    f"{path} has version {header.get('version')!r} of its format; this "
                    f"napari-cytosae reads {VERSION}. Update napari-cytosae."
                )
            digests.append(str(header.get("sae") or ""))
            about = about or str(header.get("about") or "")
            continue
        try:
            record = Record.from_line(line)
        except (ValueError, RecursionError) as error:
            unreadable.append((line, str(error)))
            continue
        records[record.id] = record
    named = sorted({digest for digest in digests if digest})
    if len(named) > 1:
        raise NamesError(
            f"{path} names concepts of two SAEs ({named[0][:12]}… and {named[1][:12]}…); the names "
            "of one mean nothing in the other. Keep them in two files."
        )
    if not digests and not records and unreadable:
        raise NamesError(
            f"{path} is no file of names: its first line is {unreadable[0][0][:60]!r}."
        )
    kept = dict.fromkeys(unreadable)  # a union of two versions holds such a line twice
    return NamesFile(named[0] if named else "", about, tuple(records.values()), tuple(kept))


def _lines(text: str) -> Iterator[str]:
    # Not splitlines(): it also splits at characters that JSON leaves within a line.
    for raw in text.split("\n"):
        line = raw.strip()
        if line and not line.startswith(_MARKS):
            yield line


def _header(line: str) -> dict[str, Any] | None:
    if '"format"' not in line:
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_header = isinstance(content, dict) and content.get("format") == FORMAT
    return content if is_header else None


def _sorted(records: Iterable[Record]) -> Iterator[Record]:
    """Sort by concept, and within it each record after those that it replaces.

    A line that is in the file already never moves to another side of its neighbours, which git's
    merge would take for a change.
    """
    of_concept: dict[int, list[Record]] = {}
    for record in records:
        of_concept.setdefault(record.concept_id, []).append(record)
    for concept_id in sorted(of_concept):
        ordered = in_order(of_concept[concept_id])
        yield from (record for record in ordered if not record.suggested)
        yield from (record for record in ordered if record.suggested)
