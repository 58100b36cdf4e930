"""Which class each cell is of, as a person has said: by folder, by column, or in a table."""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.errors import AtlasError

FOLDER = "folder"
_CLASS_COLUMNS = ("class", "label_name", "cell_type", "kind")
_IMAGE_COLUMNS = ("image", "run", "file")
_CELL_COLUMN = "cell"


@dataclass(frozen=True, slots=True)
class Labels:
    """Where the cells' classes come from.

    Parameters
    ----------
    folder
        The class is the name of the folder that the run or image lies in.
    but_in
        Folders whose names are no classes.
    column
        Name of a column of the runs' tables of cells.
    of_image
        Class of all cells of a run or image, by its name or path.
    of_cell
        Class of single cells, by the name or path of their run or image, and by label.
    """

    folder: bool = False
    but_in: frozenset[Path] = frozenset()
    column: str | None = None
    of_image: Mapping[str, str] = field(default_factory=dict)
    of_cell: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: str | Path | Mapping[str, str] | None) -> "Labels":
        """Understand what a person gave.

        Parameters
        ----------
        given
            ``"folder"``; a mapping from names or paths of runs or images to classes; a CSV file
            with the columns ``image``, ``class`` and, for single cells, ``cell``; or the name of a
            column of the runs' tables of cells.

        Raises
        ------
        AtlasError
            Where a file cannot be read, or lacks a column.
        """
        if given is None:
            return cls()
        if isinstance(given, Mapping):
            return cls(of_image={str(key): str(value) for key, value in given.items()})
        if given == FOLDER:
            return cls(folder=True)
        path = Path(given)
        if isinstance(given, Path) or path.suffix.lower() == ".csv":
            return cls._read(path)
        return cls(column=str(given))

    @classmethod
    def _read(cls, path: Path) -> "Labels":
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                image = next((name for name in _IMAGE_COLUMNS if name in columns), None)
                kind = next((name for name in _CLASS_COLUMNS if name in columns), None)
                if image is None or kind is None:
                    raise AtlasError(
                        f"{path} has the columns {', '.join(columns) or 'none'}; it needs image "
                        "and class, and cell where the cells of one image differ."
                    )
                of_image: dict[str, str] = {}
                of_cell: dict[str, dict[int, str]] = {}
                for row in reader:
                    cell = (row.get(_CELL_COLUMN) or "").strip()
                    word = (row[kind] or "").strip()
                    if cell:
                        of_cell.setdefault(row[image], {})[int(cell)] = word
                    else:
                        of_image[row[image]] = word
        except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
            raise AtlasError(f"{path} cannot be read ({error}).") from error
        return cls(of_image=of_image, of_cell=of_cell)

    @classmethod
    def of_subfolders(cls, images: list[Path], roots: list[Path]) -> "Labels":
        """Take subfolders for classes, as image data sets have them; no labels without any."""
        but_in = frozenset(root.resolve() for root in roots if root.is_dir())
        nested = but_in and any(image.resolve().parent not in but_in for image in images)
        return cls(folder=True, but_in=but_in) if nested else cls()

    @property
    def described(self) -> str:
        """Where the classes come from, in a few words: the same for the same labels."""
        if self.folder:
            return "folder"
        if self.column is not None:
            return f"column {self.column}"
        if not self:
            return ""
        listed = [sorted(self.of_image.items())]
        cells = [(name, sorted(words.items())) for name, words in sorted(self.of_cell.items())]
        content = json.dumps([listed, cells]).encode()
        return f"table {hashlib.sha256(content).hexdigest()[:12]}"

    def __bool__(self) -> bool:
        return bool(self.folder or self.column or self.of_image or self.of_cell)

    def of_cells(
        self, path: Path, image: str, cells: NDArray[np.int64], table: pd.DataFrame | None
    ) -> list[str]:
        """Give the class of each cell of a run or image; empty where it has none.

        Parameters
        ----------
        path
            The run folder or image file.
        image
            Path or name of the image.
        cells
            Labels of the cells.
        table
            The run's table of cells, in the same order; None for an image.

        Raises
        ------
        AtlasError
            Where the run's table has no such column.
        """
        if self.column is not None:
            if table is None or self.column not in table:
                has = "" if table is None else f" It has {', '.join(map(str, table.columns))}."
                raise AtlasError(f"The cells of {path} have no column {self.column!r}.{has}")
            words = table[self.column]
            return ["" if pd.isna(word) else str(word) for word in words]
        if self.folder:
            parent = path.resolve().parent
            return ["" if parent in self.but_in else parent.name] * len(cells)
        names = _names_of(path, image)
        whole = next((self.of_image[name] for name in names if name in self.of_image), "")
        single = next((self.of_cell[name] for name in names if name in self.of_cell), {})
        return [single.get(int(cell), whole) for cell in cells]


def _names_of(path: Path, image: str) -> list[str]:
    """Under what names a person may have listed a run or its image."""
    file = Path(image)
    return [
        str(path), path.as_posix(), str(path.resolve()), path.name, path.stem,
        image, file.name, file.stem,
    ]  # fmt: skip
