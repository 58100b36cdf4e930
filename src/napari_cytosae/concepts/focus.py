"""Lists of concepts to focus on: read from files, kept with a run."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.errors import FocusError

ID_COLUMN = "concept_id"
_LARGEST_BYTES = 64 << 20  # a hundred times what any SAE's list of all concepts takes


def concept_ids_of(focus: str | Path | ArrayLike | Iterable[int]) -> NDArray[Any]:
    """Give the ids that a focus stands for, as they were written; no bundle has checked them yet.

    Parameters
    ----------
    focus
        A file (see `read_focus`), concept ids, or anything with ``concept_ids``, as an atlas's
        focus has.

    Raises
    ------
    FocusError
        A file cannot be read.
    """
    if isinstance(focus, str | Path):
        return read_focus(focus)
    ids: Any = getattr(focus, "concept_ids", focus)
    return np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))


def read_focus(path: str | Path) -> NDArray[np.int64]:
    """Read concept ids from a file.

    Parameters
    ----------
    path
        A text or CSV file with one id a line (text after ``#`` is left out), a table with a column
        ``concept_id``, or an array of whole numbers as ``.npy``.

    Returns
    -------
    (n,) int64, in the file's order.

    Raises
    ------
    FocusError
        There is no such file, or it holds something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise FocusError(f"{path} is too large to be a list of concept ids.")
        if path.suffix.lower() == ".npy":
            return _from_array(np.load(path, allow_pickle=False), path)
        return _from_text(path.read_text(encoding="utf-8-sig"), path)
    except OSError as error:
        raise FocusError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, EOFError) as error:  # no text, no array
        raise FocusError(f"{path} is no list of concept ids ({error}).") from error


def focus_text(concept_ids: NDArray[np.int64]) -> str:
    """Write ids as a table that `read_focus` reads."""
    return "\n".join([ID_COLUMN, *map(str, concept_ids.tolist())]) + "\n"


def _from_array(array: NDArray[np.generic], path: Path) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise FocusError(
            f"{path} holds an array of shape {array.shape} and type {array.dtype}; a focus is a "
            "list of whole numbers."
        )
    return array.astype(np.int64)


def _from_text(text: str, path: Path) -> NDArray[np.int64]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    head = next(filter(None, lines), "")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows = [row for row in reader if any(row)]
    column = 0
    if rows and not _is_id(rows[0][0]):
        header = [name.strip() for name in rows.pop(0)]
        if ID_COLUMN not in header:
            raise FocusError(
                f"{path} begins with {', '.join(header)[:60]!r}. A focus is a file of concept ids, "
                f"one a line, or a table with a column {ID_COLUMN!r}."
            )
        column = header.index(ID_COLUMN)
    elif any(len(row) > 1 for row in rows):
        raise FocusError(
            f"{path} has several columns and no header; name the one with the ids {ID_COLUMN!r}."
        )
    ids = []
    for row in rows:
        cell = row[column].strip() if column < len(row) else ""
        if not _is_id(cell):
            raise FocusError(f"{path}: {cell[:40]!r} is no concept id, which is a whole number.")
        ids.append(int(cell))
    return np.array(ids, np.int64)


def _is_id(text: str) -> bool:
    text = text.strip()
    return text.isascii() and text.isdigit() and len(text) < 10
