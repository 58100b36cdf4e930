"""Fetch model files: resumed where the server can, whole or absent, checked against what is known."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from napari_cytosae.errors import Cancelled, DownloadError

KNOWN_HASHES = "known_hashes.json"
_CHUNK = 1 << 18
_TIMEOUT_S = (10, 60)

Progress = Callable[[int, int | None], None]


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch one file from the first mirror that gives it.

    The file grows under another name and is renamed when it is whole; a broken transfer goes on
    where it stopped if the server still has the same file, else starts anew. Without a hash, the
    first file that comes is trusted and its hash recorded beside it; later ones must equal it.
    Proxies are taken from the environment, as requests does.

    Parameters
    ----------
    urls
        Mirrors, tried in turn.
    target
        The file to write. Its folder is made.
    sha256
        The hash that the file must have, in hex.
    progress
        Called with bytes done and in all (None where the server does not say).
    cancelled
        Asked between pieces.

    Raises
    ------
    DownloadError
        No mirror gave the file, or it is not what it should be. The message names the place where
        a file that was fetched by other means can be put.
    Cancelled
        `cancelled` said so; what came is kept for the next time.
    """
    wanted = sha256 or _known(target)
    if target.is_file():
        _check(target, target, wanted)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = []
    for url in urls:
        try:
            _fetch(url, part, progress, cancelled)
        except (requests.RequestException, OSError) as error:
            failures.append(f"{url}: {error}")
            continue
        _check(part, target, wanted)
        part.replace(target)
        _remember(target)
        return target
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(failures)}). Try again when the network "
        f"is there, or put the file here: {target}"
    )


def _fetch(url: str, part: Path, progress: Progress, cancelled: Callable[[], bool]) -> None:
    tag_file = part.with_name(part.name + ".tag")
    have = part.stat().st_size if part.is_file() else 0
    tag = tag_file.read_text(encoding="utf-8") if have and tag_file.is_file() else ""
    stored_url, _, validator = tag.partition("\n")
    headers = {"Accept-Encoding": "identity"}
    if have and validator and stored_url == url:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        if answer.status_code == 416:  # the part is longer than the file: not the same file
            part.unlink(missing_ok=True)
        answer.raise_for_status()
        resumed = answer.status_code == 206
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        tag_file.write_text(f"{url}\n{validator}", encoding="utf-8")
        with part.open("ab" if resumed else "wb") as file:
            progress(done, total)
            for piece in answer.iter_content(_CHUNK):
                if cancelled():
                    raise Cancelled("The download was stopped; it goes on where it was next time.")
                file.write(piece)
                done += len(piece)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise requests.ConnectionError(f"the connection broke after {done} of {total} bytes")
    tag_file.unlink(missing_ok=True)


def _check(path: Path, target: Path, wanted: str | None) -> None:
    if wanted is None:
        return
    found = _sha256(path)
    if found != wanted:
        if path != target:
            path.unlink()
        raise DownloadError(
            f"{target.name} is not the file that it should be (SHA-256 {found[:12]}…, expected "
            f"{wanted[:12]}…). It was not used; delete {target} if it exists and fetch it again."
        )


def _known(target: Path) -> str | None:
    path = target.parent / KNOWN_HASHES
    if not path.is_file():
        return None
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return known.get(target.name)


def _remember(target: Path) -> None:
    path = target.parent / KNOWN_HASHES
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[target.name] = _sha256(target)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
