"""Bytes of open files, for many threads at once, with errors in the user's words."""

import os
import threading
from pathlib import Path

from napari_cytosae.errors import ImageError, UnreachableImageError


class FileBytes:
    """Files that parts are read from; each stays open from the first part on.

    The handles are its own: tifffile's moves its position without a lock when it looks up a tag.

    Parameters
    ----------
    name : str
        What to call the image in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._handles: dict[Path, int] = {}
        self._reading = 0
        self._closed = False

    def read(self, path: Path, offset: int, count: int) -> bytes:
        """Read a part of a file.

        Raises
        ------
        ImageError
            If the files have been closed.
        UnreachableImageError
            If the file cannot be read there (any more).
        """
        with self._lock:
            if self._closed:
                raise ImageError(f"{self._name} has been closed; open it again to read from it.")
            self._reading += 1
        try:
            content = self._read(self._handle(path), offset, count)
        except OSError as error:
            raise UnreachableImageError(
                f"{self._name} can no longer be read ({error.strerror or error}); see that its "
                "disk or network drive is there."
            ) from error
        finally:
            with self._lock:
                self._reading -= 1
                self._close_unused()
        if len(content) != count:
            raise UnreachableImageError(
                f"{self._name} has become shorter since it was opened; copy it again from its "
                "source."
            )
        return content

    def _read(self, handle: int, offset: int, count: int) -> bytes:
        parts = []
        while count > 0 and (part := self._part(handle, offset, count)):
            parts.append(part)  # one call gives at most 2 GiB
            offset, count = offset + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, handle: int, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(handle, count, offset)
        with self._lock:
            os.lseek(handle, offset, os.SEEK_SET)
            return os.read(handle, count)

    def _handle(self, path: Path) -> int:
        with self._lock:
            handle = self._handles.get(path)
            if handle is None:
                handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                self._handles[path] = handle
            return handle

    def close(self) -> None:
        """Close all files, once no thread reads from them any more."""
        with self._lock:
            self._closed = True
            self._close_unused()

    def _close_unused(self) -> None:
        """Close what was to be closed; a number in use could come to mean another file."""
        if self._closed and not self._reading:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()
