"""Outlines from GeoJSON, as QuPath exports and imports them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells.found import Cells
from napari_cytosae.cells.outline import Outline
from napari_cytosae.cells.painting import paint_cells, polygon_outline
from napari_cytosae.cells.sources import cells_from_points
from napari_cytosae.errors import CellsError

_KINDS = ("Polygon", "MultiPolygon", "Point")


def read_geojson(path: Path, shape: tuple[int, int], microns_per_pixel: float | None) -> Cells:
    """Read cells from a FeatureCollection, a list of features, or one feature.

    Coordinates are pixels as QuPath counts them: x, y from the corner of the top left pixel. A
    QuPath cell's ``nucleusGeometry`` gives its nucleus. Where a file has cells or detections, the
    annotations around them are left out. The classification's name is kept as ``kind``, the
    feature's id as ``feature``.

    Parameters
    ----------
    path : Path
    shape : (int, int)
        Height and width of the image.
    microns_per_pixel : float or None
        For the size of points.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        Naming the file and the feature.
    """
    features = _features(path)
    outlines: list[Outline] = []
    nuclei: list[Outline | None] = []
    for number, feature in features:
        where = f"{path.name}, feature {number}"
        outlines.append(_outline(feature.get("geometry"), where, shape, microns_per_pixel))
        nucleus = feature.get("nucleusGeometry")
        if nucleus is None:
            nuclei.append(None)
        else:
            nuclei.append(_outline(nucleus, f"{where}, nucleus", shape, microns_per_pixel))
    ids = np.arange(1, len(outlines) + 1)
    labels, table = paint_cells(outlines, ids, shape, "geojson")
    painted_nuclei = None
    known = [n for n, nucleus in enumerate(nuclei) if nucleus is not None]
    if known:
        drawn = [nucleus for nucleus in nuclei if nucleus is not None]
        painted_nuclei, measured = paint_cells(drawn, ids[known], shape, "geojson")
        if isinstance(painted_nuclei, np.ndarray):  # a slide's are left as they were drawn
            painted_nuclei[painted_nuclei != labels] = 0
        table.loc[known, "nucleus_area_px"] = measured["area_px"].to_numpy(np.float64)
    table["kind"] = [_kind(feature) for _, feature in features]
    table["feature"] = [str(feature.get("id", "")) for _, feature in features]
    return Cells(labels, painted_nuclei, table, microns_per_pixel)


def _features(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Give the features that are cells, each with its number in the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CellsError(f"{path.name} is not JSON: {error}.") from error
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    if isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    if not isinstance(content, list) or not all(isinstance(f, dict) for f in content):
        raise CellsError(
            f"{path.name} is JSON, but not GeoJSON: it needs a FeatureCollection or a list of "
            "features."
        )
    numbered = list(enumerate(content, start=1))
    cells = [f for f in numbered if _properties(f[1]).get("objectType") in ("cell", "detection")]
    if not numbered:
        raise CellsError(f"{path.name} holds no cell: it has no features.")
    return cells or numbered


def _outline(
    geometry: Any, where: str, shape: tuple[int, int], microns_per_pixel: float | None
) -> Outline:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in _KINDS:
        raise CellsError(
            f"{where} is a {kind or 'feature without geometry'}; cells are {', '.join(_KINDS)}."
        )
    try:
        coordinates = geometry["coordinates"]
        if kind == "Point":
            point = _ring([coordinates])
        elif kind == "Polygon":
            polygons = [[_ring(ring) for ring in coordinates]]
        else:
            polygons = [[_ring(ring) for ring in polygon] for polygon in coordinates]
        if kind != "Point" and not all(polygon and len(polygon[0]) > 2 for polygon in polygons):
            raise ValueError("a ring has fewer than three points")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CellsError(f"{where}: its coordinates cannot be read ({error}).") from error
    if kind == "Point":
        disc = cells_from_points(
            point, shape, microns_per_pixel=microns_per_pixel, name=where, rows=["its point"]
        )
        box = disc.table[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy(np.int64)
        y0, x0, y1, x1 = box[0].tolist()
        return Outline(y0, x0, disc.labels[y0:y1, x0:x1] > 0)
    outline = polygon_outline(polygons, shape)
    if outline is None:
        corner = np.concatenate([ring for polygon in polygons for ring in polygon]).min(axis=0)
        raise CellsError(
            f"{where} (from y {corner[0] + 0.5:g}, x {corner[1] + 0.5:g} px) covers no pixel of "
            f"the image, which is {shape[0]} × {shape[1]} px (height × width)."
        )
    return outline


def _ring(points: Sequence[Any]) -> NDArray[np.float64]:
    """Give y, x with pixel centres at whole numbers."""
    ring = np.array([[point[1], point[0]] for point in points], np.float64) - 0.5
    if not np.isfinite(ring).all():
        raise ValueError("a coordinate is not a number")
    return ring


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _kind(feature: dict[str, Any]) -> str:
    classification = _properties(feature).get("classification")
    if isinstance(classification, dict):
        return str(classification.get("name", ""))
    return str(classification or "")
