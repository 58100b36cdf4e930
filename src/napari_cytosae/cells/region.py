"""A part of a slide that a person marked: one or more polygons, in px of level 0."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.cells.found import Cells
from napari_cytosae.cells.grid import Box
from napari_cytosae.cells.label_image import only_labels
from napari_cytosae.errors import CellsError


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where cells are wanted.

    Attributes
    ----------
    polygons : tuple of (n, 2) float64
        Corners of each, y and x, the centre of the top left pixel being 0, 0. What lies in any of
        them lies in the region.
    """

    polygons: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, polygons: Iterable[ArrayLike]) -> "Region":
        """Check polygons and make a region of them.

        Raises
        ------
        CellsError
            If there is none, or one has fewer than three corners or one that is no place.
        """
        checked = []
        for number, polygon in enumerate(polygons, start=1):
            corners = np.asarray(polygon, np.float64)
            if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
                raise CellsError(
                    f"Shape {number} of the region is no polygon: it needs three corners or more, "
                    "y and x of each."
                )
            if not np.isfinite(corners).all():
                raise CellsError(f"Shape {number} of the region has a corner that is no place.")
            checked.append(corners)
        if not checked:
            raise CellsError("The region is empty: draw at least one shape around cells.")
        return cls(tuple(checked))

    @classmethod
    def of_box(cls, y0: float, x0: float, y1: float, x1: float) -> "Region":
        """Make a region of a box, y0, x0, y1, x1 in px, half-open."""
        low_y, low_x, high_y, high_x = y0 - 0.5, x0 - 0.5, y1 - 0.5, x1 - 0.5
        return cls.of([[(low_y, low_x), (low_y, high_x), (high_y, high_x), (high_y, low_x)]])

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the corners."""
        content = json.dumps([polygon.tolist() for polygon in self.polygons])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def area_px(self) -> float:
        """Area, overlaps counted once for each polygon."""
        return float(sum(_area(polygon) for polygon in self.polygons))

    def box(self, shape: tuple[int, int]) -> Box | None:
        """Give the smallest box of whole pixels around the region; None where it is off the slide."""
        corners = np.concatenate(self.polygons)
        y0, x0 = np.maximum(np.floor(corners.min(axis=0) + 0.5), 0).astype(int)
        y1, x1 = np.minimum(np.ceil(corners.max(axis=0) + 0.5), shape).astype(int)
        return None if y0 >= y1 or x0 >= x1 else (int(y0), int(x0), int(y1), int(x1))

    def contains(self, points_yx: ArrayLike) -> NDArray[np.bool_]:
        """Tell which points lie inside, (n, 2) → (n,); a point on an upper or left edge does."""
        points = np.asarray(points_yx, np.float64).reshape(-1, 2)
        inside = np.zeros(len(points), bool)
        for polygon in self.polygons:
            inside |= _inside(points, polygon)
        return inside

    def meets(self, box: Box) -> bool:
        """Tell whether a box may hold a point of the region; never no where it does."""
        return any(_meets(polygon, box) for polygon in self.polygons)


def cells_within(cells: Cells, region: Region) -> Cells:
    """Keep the cells whose centre lies in a region; they keep their labels."""
    table = cells.table
    kept = region.contains(table[["centroid_y", "centroid_x"]].to_numpy(np.float64))
    ids = table["label"].to_numpy(np.int64)[kept]
    nuclei = None if cells.nuclei is None else only_labels(cells.nuclei, ids)
    return replace(
        cells,
        labels=only_labels(cells.labels, ids),
        nuclei=nuclei,
        table=table[kept].reset_index(drop=True),
    )


def read_region(source: str | Path) -> Region:
    """Read a region from four numbers, or from a GeoJSON file as QuPath exports annotations.

    Parameters
    ----------
    source : str or Path
        ``"y0,x0,y1,x1"`` in px of level 0, or a file of polygons.

    Raises
    ------
    CellsError
        If it is neither.
    """
    text = str(source)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 4:
        y0, x0, y1, x1 = numbers
        if not (np.isfinite(numbers).all() and y0 < y1 and x0 < x1):
            raise CellsError(
                f"The region {text} is empty; give y0,x0,y1,x1 in px, the end beyond the start."
            )
        return Region.of_box(y0, x0, y1, x1)
    path = Path(source)
    if not path.is_file():
        raise CellsError(
            f"There is no region {text}: give y0,x0,y1,x1 in px, or a GeoJSON file of polygons."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CellsError(f"{path.name} cannot be read as GeoJSON: {error}.") from error
    rings = list(_rings(content))
    if not rings:
        raise CellsError(f"{path.name} holds no polygon; draw a region and export it again.")
    return Region.of([_corners(ring, path.name) for ring in rings])


def _rings(content: object) -> Iterable[Sequence[object]]:
    """Go over the outer rings of whatever polygons a GeoJSON object holds."""
    if isinstance(content, list):
        for each in content:
            yield from _rings(each)
    if not isinstance(content, dict):
        return
    kind, places = content.get("type"), content.get("coordinates")
    if kind == "Polygon" and isinstance(places, list) and places:
        yield places[0]
    elif kind == "MultiPolygon" and isinstance(places, list):
        yield from (polygon[0] for polygon in places if isinstance(polygon, list) and polygon)
    for inner in ("features", "geometry", "geometries"):
        yield from _rings(content.get(inner))


def _corners(ring: Sequence[object], name: str) -> NDArray[np.float64]:
    try:
        xy = np.asarray(ring, np.float64)
        # GeoJSON counts from the corner of the first pixel, and has x first.
        return xy[:, 1::-1] - 0.5
    except (ValueError, TypeError, IndexError) as error:
        raise CellsError(f"{name}: a polygon's corners are no pairs of numbers.") from error


def _area(polygon: NDArray[np.float64]) -> float:
    y, x = polygon.T
    return abs(float(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))) / 2


def _inside(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Count the edges to the right of each point: an odd number is inside."""
    inside = np.zeros(len(points), bool)
    y, x = points.T
    for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y0 <= y) != (y1 <= y)
        if not crosses.any():
            continue
        at = x0 + (y[crosses] - y0) * (x1 - x0) / (y1 - y0)
        inside[crosses] ^= x[crosses] < at
    return inside


def _meets(polygon: NDArray[np.float64], box: Box) -> bool:
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    if high[0] < box[0] or high[1] < box[1] or low[0] >= box[2] or low[1] >= box[3]:
        return False
    corners = np.array([(box[y], box[x]) for y in (0, 2) for x in (1, 3)], np.float64)
    if _inside(corners, polygon).any():
        return True
    return any(
        _edge_meets(start, end, box)
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
    )


def _edge_meets(start: NDArray[np.float64], end: NDArray[np.float64], box: Box) -> bool:
    """Clip an edge to a box (Liang–Barsky); it meets the box where something is left."""
    first, last = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        low, high = box[axis] - start[axis], box[axis + 2] - start[axis]
        if step == 0:
            if low > 0 or high < 0:
                return False
            continue
        enter, leave = sorted((low / step, high / step))
        first, last = max(first, enter), min(last, leave)
    return first <= last
