"""Fetch model files: resumed where the server can, whole or absent, checked against what is known."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pooch
import requests

from napari_cytosae.errors import Cancelled, DownloadError
from napari_cytosae.models import known_hashes

Progress = Callable[[int, int | None], None]

_CHUNK: Final = 1 << 18
_TIMEOUT_S: Final = (10, 60)
# A transfer that breaks off is taken up again at once, so many times in all.
_ATTEMPTS: Final = 5


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch one file from the first mirror that gives it.

    The file grows under another name and is renamed when it is whole. A broken transfer goes on
    where it stopped if the server still has the same file, else starts anew. Proxies are taken
    from the environment, as requests does.

    Parameters
    ----------
    urls
        Mirrors, tried in turn.
    target
        The file to write. Its folder is made. What is there already is only checked.
    sha256
        The hash that the file must have, in hex; otherwise what the address gave when it was
        first trusted (see `known_hashes`).
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
    if target.is_file():
        known_hashes.check(target)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be made ({error}).") from None
    failures = []
    for url in urls:
        wanted = sha256 or known_hashes.expected_from(url, target.parent)
        transfer = _Transfer(target.with_name(f"{target.name}.part"), progress, cancelled)
        try:
            with _silent_pooch():
                pooch.retrieve(url, wanted, target.name, target.parent, downloader=transfer)
        except requests.RequestException as error:
            failures.append(f"{url}: {_reason(error)}")
        except ValueError:  # pooch has compared the hashes, and deleted what it got
            failures.append(f"{url}: gives another file than it should (its SHA-256 is wrong)")
        except OSError as error:
            raise DownloadError(
                f"{target.name} cannot be written to {target.parent} ({error}). Make room there, "
                "or name another folder with the environment variable NAPARI_CYTOSAE_HOME."
            ) from None
        else:
            known_hashes.note_origin(target, url)
            return target
    raise DownloadError(
        f"{target.name} could not be downloaded:\n  "
        + "\n  ".join(failures)
        + f"\nTry again when the network is there, or fetch it by other means and put it here:\n"
        f"  {target}"
    )


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A downloader for pooch that picks up what an earlier one left in `part`."""

    part: Path
    progress: Progress
    cancelled: Callable[[], bool]

    def __call__(self, url: str, output_file: str, _pooch: Any, check_only: bool = False) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._transfer(url)
                break
            except _Interrupted:
                if attempt == _ATTEMPTS:
                    raise
        self._tag.unlink(missing_ok=True)
        self.part.replace(output_file)

    @property
    def _tag(self) -> Path:
        """Says where the part came from, and which version of the file it was."""
        return self.part.with_name(f"{self.part.name}.tag")

    def _transfer(self, url: str) -> None:
        self._stop_if_cancelled()
        have, validator = self._kept(url)
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == 416:  # what is here is no beginning of that file
                self.part.unlink()
                raise _Interrupted("the file has changed on the server")
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise requests.RequestException("gives a web page, not the file")
            starts_at = f"bytes {have}-"
            going_on = answer.status_code == 206 and answer.headers.get(
                "Content-Range", ""
            ).startswith(starts_at)
            if answer.status_code == 206 and not going_on:
                self.part.unlink(missing_ok=True)
                raise _Interrupted("the server sent another part than it was asked for")
            self._receive(answer, url, have if going_on else 0)

    def _kept(self, url: str) -> tuple[int, str]:
        """Give how many bytes of this very file are here already, and its version."""
        if not (self.part.is_file() and self._tag.is_file()):
            return 0, ""
        source, _, validator = self._tag.read_text(encoding="utf-8").partition("\n")
        if source != url or not validator:
            return 0, ""
        return self.part.stat().st_size, validator

    def _receive(self, answer: requests.Response, url: str, done: int) -> None:
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - done > free:
            raise OSError(f"{total - done:,} bytes are to come, {free:,} are free")
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        self._tag.write_text(f"{url}\n{validator}", encoding="utf-8")
        with self.part.open("ab" if done else "wb") as file:
            self.progress(done, total)
            try:
                for piece in answer.iter_content(_CHUNK):
                    file.write(piece)
                    done += len(piece)
                    self.progress(done, total)
                    self._stop_if_cancelled()
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise _Interrupted(f"the connection broke after {done:,} bytes") from error
            file.flush()
            os.fsync(file.fileno())
        if total is not None and self.part.stat().st_size != total:
            if self.part.stat().st_size > total:
                self.part.unlink()  # two programs wrote to it
            raise _Interrupted(f"the connection broke after {done:,} of {total:,} bytes")

    def _stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled("The download was stopped; it goes on where it was next time.")


class _Interrupted(requests.ConnectionError):
    """A transfer broke off and can be taken up again."""


def _reason(error: requests.RequestException) -> str:
    """Say in a few words why an address did not give its file."""
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.ConnectionError) and not isinstance(error, _Interrupted):
        return "cannot be reached"
    return str(error)


@contextmanager
def _silent_pooch() -> Iterator[None]:
    """Keep pooch from writing to the terminal, where a progress bar may be."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
