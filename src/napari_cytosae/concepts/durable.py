"""Files that are whole or absent, and folders that only one process works in."""

import errno
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_cytosae.errors import RunError

TEMPORARY_SUFFIX = ".part"
LOCK_NAME = "run.lock"

# Windows forbids reading a locked byte, so the byte that is locked lies far behind the text.
_LOCKED_BYTE = 1 << 20


def write_durably(
    path: Path, write: Callable[[Path], object], *, needed_bytes: int | None = None
) -> None:
    """Let `write` fill a temporary file, flush it to the disk, then rename it to `path`.

    Whenever the machine stops, `path` is either as it was or complete.

    Parameters
    ----------
    path
        The file to write or replace.
    write
        Called with the temporary file's path.
    needed_bytes
        What the message asks for where the disk is full.

    Raises
    ------
    RunError
        Where the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explain_write_error(error, path, needed_bytes) from error


def write_json_durably(path: Path, content: object, *, indent: int | None = 2) -> None:
    """Write JSON so that `path` holds the old content or the new one, never half of it."""
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    write_durably(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def explain_write_error(error: OSError, path: Path, needed_bytes: int | None = None) -> RunError:
    """Put a failed write into the user's words."""
    # HDF5 reports the system's error number in its message only.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "errno = 28" in str(error):
        free = shutil.disk_usage(path.parent).free
        needed = "" if needed_bytes is None else f"about {_mebibytes(needed_bytes)} are needed and "
        return RunError(
            f"The disk is full: {path} could not be written; {needed}{_mebibytes(free)} are free. "
            "Make room and start the same analysis again: it goes on from what has been written."
        )
    return RunError(
        f"{path} cannot be written ({error.strerror or error}). Choose a folder that you may write "
        "to."
    )


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that no second process works on the same run.

    The lock is the operating system's and goes with the process that holds it, however that ends: a
    lock file left behind by a killed process is simply taken over.

    Raises
    ------
    RunError
        Where another process, or another thread of this one, holds the lock.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explain_write_error(error, path) from error
    try:
        if not (_try_lock(descriptor) and _is_still(path, descriptor)):
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            raise RunError(
                f"{folder} is being written by {holder}. Wait until that is done, or choose "
                "another folder."
            )
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lock_beside(path: Path, *, wait_s: float = 20.0) -> Iterator[None]:
    """Hold ``NAME.lock`` beside a file that several processes may write; wait while another does.

    The lock is the operating system's, as in `only_process`, and is meant to be held for the moment
    of reading and writing the file only.

    Raises
    ------
    RunError
        Where another process holds the lock for longer than `wait_s` seconds.
    OSError
        Where the folder cannot be written to.
    """
    lock = path.with_name(path.name + ".lock")
    until = time.monotonic() + wait_s
    while (descriptor := _taken(lock)) is None:
        if time.monotonic() > until:
            raise RunError(f"another process has been writing {path.name} for {wait_s:.0f} s")
        time.sleep(0.02)
    try:
        yield
    finally:
        # While it is still held, so that whoever opened it in the meantime sees it go; Windows
        # deletes no open file and leaves it lying.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _taken(lock: Path) -> int | None:
    """Take a lock if it is free; None where it is not."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    if _try_lock(descriptor) and _is_still(lock, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether the file was not deleted by its last holder between opening and locking it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.lseek(descriptor, 0, os.SEEK_SET)
            return False
        return True

    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems have no locks at all; a run there is worth more than none.
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows needs and offers no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
