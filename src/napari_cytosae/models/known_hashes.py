"""Remember what model files contained when they were first used, and notice when that changes.

Their publishers give no hashes, so the first file that loads as a model is trusted. From then on
the file on disk must stay the same, and so must what its address gives.
"""

import hashlib
import json
from pathlib import Path
from typing import Final

from napari_cytosae.errors import DownloadError

NAME: Final = "known_hashes.json"

# {"files": {file name: SHA-256}, "addresses": {URL: SHA-256}, "origins": {file name: URL}}
_Known = dict[str, dict[str, str]]


def hash_of(path: Path) -> str:
    """Compute a file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected_from(url: str, folder: Path) -> str | None:
    """Give the hash of what an address gave before, or None where it was never trusted."""
    return _read(folder)["addresses"].get(url)


def note_origin(path: Path, url: str) -> None:
    """Write down where a file came from; it is not trusted by that."""
    known = _read(path.parent)
    known["origins"][path.name] = url
    known["files"].pop(path.name, None)
    _write(path.parent, known)


def check(path: Path) -> None:
    """Compare a file with what it was when it was first used.

    Raises
    ------
    DownloadError
        It has changed.
    """
    wanted = _read(path.parent)["files"].get(path.name)
    if wanted is None:
        return
    found = hash_of(path)
    if found != wanted:
        raise DownloadError(
            f"{path} is not the file that was used before (SHA-256 {found[:12]}…, it was "
            f"{wanted[:12]}…). Delete it and fetch it again; if you replaced it on purpose, delete "
            f"{path.parent / NAME} instead."
        )


def trust(path: Path) -> None:
    """Remember the hash of a file that proved to be a model."""
    known = _read(path.parent)
    if path.name in known["files"]:
        return
    known["files"][path.name] = hash_of(path)
    if url := known["origins"].get(path.name):
        known["addresses"][url] = known["files"][path.name]
    _write(path.parent, known)


def _read(folder: Path) -> _Known:
    path = folder / NAME
    known: _Known = {"files": {}, "addresses": {}, "origins": {}}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {part: dict(found[part]) for part in known}
    except FileNotFoundError:
        return known
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{path} cannot be read ({error!r}). Delete it.") from None


def _write(folder: Path, known: _Known) -> None:
    path = folder / NAME
    temporary = path.with_name(f"{NAME}.part")
    try:
        temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise DownloadError(f"{path} cannot be written ({error}).") from None
