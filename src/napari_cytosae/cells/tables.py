"""Centroids or boxes from CSV and TSV files, by whatever names their columns go."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells.found import Cells
from napari_cytosae.cells.sources import cells_from_boxes, cells_from_points, check_ids
from napari_cytosae.errors import CellsError

# Column names once simplified (lower case, words joined by "_", units taken off).
_CENTRES = (
    ("centroid_y", "centroid_x"),
    ("centroid_0", "centroid_1"),  # scikit-image's regionprops_table
    ("axis_0", "axis_1"),  # napari's Points
    ("center_y", "center_x"),
    ("centre_y", "centre_x"),
    ("y_center", "x_center"),
    ("y_centre", "x_centre"),
    ("y_centroid", "x_centroid"),
    ("cy", "cx"),
    ("ym", "xm"),  # ImageJ, centre of mass
    ("y", "x"),
)
_BOXES = (
    ("box_y0", "box_x0", "box_y1", "box_x1"),
    ("y0", "x0", "y1", "x1"),
    ("ymin", "xmin", "ymax", "xmax"),
    ("y_min", "x_min", "y_max", "x_max"),
    ("min_y", "min_x", "max_y", "max_x"),
    ("bbox_0", "bbox_1", "bbox_2", "bbox_3"),  # scikit-image's regionprops_table
    ("top", "left", "bottom", "right"),
)
# Corner, then size: COCO and ImageJ.
_CORNERS = (("by", "bx"), ("top", "left"), ("y", "x"))
_SIZES = (("height", "width"), ("h", "w"))
_IDS = ("label", "cell_id", "object_id", "id", "index")
_KINDS = ("kind", "classification", "class", "cell_type", "type")
_UNIT = re.compile(r"[\s_(\[]*(µm|μm|um|microns?|micrometers?|px|pixels?)[)\]]*$")


def read_table(path: Path, shape: tuple[int, int], microns_per_pixel: float | None) -> Cells:
    """Read a table of centroids or boxes.

    Boxes are preferred where a table has both. Units are read off the header ("Centroid X µm",
    "y (px)"); without one they are pixels. A column `kind`, `class`, … is kept as ``kind``, ids
    in `label`, `cell_id`, … are kept where they are numbers; as text (UUIDs) they are passed over.

    Parameters
    ----------
    path : Path
    shape : (int, int)
        Height and width of the image.
    microns_per_pixel : float or None
        Needed where the table is in µm.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        Naming file, row and column.
    """
    columns, lines = _read_columns(path)
    table = _Table(path, columns, lines, microns_per_pixel)
    rows = [f"row {line}" for line in lines]
    labels = table.ids(rows)
    boxes = table.boxes()
    if boxes is not None:
        cells = cells_from_boxes(
            boxes, shape, microns_per_pixel=microns_per_pixel, labels=labels, name=path.name,
            rows=rows,
        )  # fmt: skip
    else:
        diameter = table.numbers("diameter") if "diameter" in columns else None
        cells = cells_from_points(
            table.centres(), shape, diameter, microns_per_pixel=microns_per_pixel,
            labels=labels, name=path.name, rows=rows,
        )  # fmt: skip
    for key in _KINDS:
        if key in columns:
            cells.table["kind"] = columns[key].values
            break
    return cells


class _Column:
    """One column: its name in the file, whether it is in µm, and its cells as text."""

    def __init__(self, title: str) -> None:
        self.title = title
        unit = _UNIT.search(title.strip().lower())
        self.in_microns = unit is not None and not unit[1].startswith("p")
        bare = title.strip().lower()[: unit.start()] if unit else title.strip().lower()
        self.key = re.sub(r"[^a-z0-9]+", "_", bare).strip("_")
        self.values: list[str] = []


class _Table:
    """Columns of numbers, with errors that say where one is not."""

    def __init__(
        self,
        path: Path,
        columns: dict[str, _Column],
        lines: list[int],
        microns_per_pixel: float | None,
    ) -> None:
        self.path = path
        self.columns = columns
        self.lines = lines
        self.microns_per_pixel = microns_per_pixel

    def numbers(self, key: str) -> NDArray[np.float64]:
        """Give a column in pixels."""
        column = self.columns[key]
        numbers = np.empty(len(self.lines))
        for n, (line, text) in enumerate(zip(self.lines, column.values, strict=True)):
            try:
                numbers[n] = float(text.replace(",", "."))
            except ValueError:
                numbers[n] = np.nan
            if not np.isfinite(numbers[n]):
                raise CellsError(
                    f"{self.path.name}, row {line}, column “{column.title}”: “{text}” is not a "
                    "number."
                )
        if column.in_microns:
            if self.microns_per_pixel is None:
                raise CellsError(
                    f"{self.path.name}: column “{column.title}” is in µm, but the image's pixel "
                    "size is unknown; give it (microns per pixel)."
                )
            numbers /= self.microns_per_pixel
        return numbers

    def ids(self, rows: Sequence[str]) -> list[int] | None:
        """Give the user's ids, None where there are none that a label image could hold."""
        for key in _IDS:
            if key not in self.columns:
                continue
            texts = self.columns[key].values
            if not all(re.fullmatch(r"-?\d+(\.0*)?", text) for text in texts):
                continue
            ids = [int(float(text)) for text in texts]
            # napari and pandas count rows from 0: that is a position, not an id.
            if key == "index" and 0 in ids:
                continue
            return list(check_ids(ids, self.path.name, rows))
        return None

    def boxes(self) -> NDArray[np.float64] | None:
        """Give y0, x0, y1, x1 where the table has boxes."""
        for corners in _BOXES:
            if set(corners) <= set(self.columns):
                return self._stacked(corners)
        for sizes in _SIZES:
            if not set(sizes) <= set(self.columns):
                continue
            size = self._stacked(sizes)
            for first in _CORNERS:
                if set(first) <= set(self.columns):
                    corner = self._stacked(first)
                    return np.concatenate([corner, corner + size], axis=1)
            if (middle := self._centre_names()) is not None:
                centre = self._stacked(middle) + 0.5
                return np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        return None

    def centres(self) -> NDArray[np.float64]:
        """Give y, x."""
        names = self._centre_names()
        if names is None:
            titles = ", ".join(f"“{column.title}”" for column in self.columns.values())
            raise CellsError(
                f"{self.path.name} has no columns for places; it needs x and y (or centroid_x and "
                "centroid_y), or a box: xmin, ymin, xmax, ymax (or x, y, width, height). Its "
                f"columns are {titles}."
            )
        return self._stacked(names)

    def _stacked(self, names: Sequence[str]) -> NDArray[np.float64]:
        return np.stack([self.numbers(name) for name in names], axis=1)

    def _centre_names(self) -> tuple[str, str] | None:
        return next((names for names in _CENTRES if set(names) <= set(self.columns)), None)


def _read_columns(path: Path) -> tuple[dict[str, _Column], list[int]]:
    """Read a delimited file as text; also each row's line number in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="cp1252")  # what spreadsheets write on Windows
    header = text.lstrip().partition("\n")[0]
    delimiter = max("\t;,", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns: list[_Column] = []
    lines: list[int] = []
    for row in reader:
        if not any(field.strip() for field in row):
            continue
        if not columns:
            columns = [_Column(title) for title in row]
            continue
        if len(row) != len(columns):
            raise CellsError(
                f"{path.name}, row {reader.line_num}: {len(row)} fields, but the header has "
                f"{len(columns)}."
            )
        lines.append(reader.line_num)
        for column, field in zip(columns, row, strict=True):
            column.values.append(field.strip())
    if not lines:
        raise CellsError(f"{path.name} holds no cell: there is no row below a header.")
    # Of columns with the same name (in px and in µm, say) pixels count.
    by_key: dict[str, _Column] = {}
    for column in columns:
        if column.key not in by_key or by_key[column.key].in_microns:
            by_key[column.key] = column
    return by_key, lines
