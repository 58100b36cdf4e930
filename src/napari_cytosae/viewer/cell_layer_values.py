"""What layers of cells are made of: pixels, features, widths and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap
from numpy.typing import NDArray

from napari_cytosae.cells import PaintedLabels
from napari_cytosae.concepts.stored_labels import StoredLabels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cytosae.cells import LabelImage
    from napari_cytosae.viewer.results import Results

# A layer of one level is painted as a whole; cells of a larger image get levels up to this size.
_LARGEST_PAINTED_PX = 2048


def in_levels(labels: LabelImage) -> bool:
    """Tell whether cells are those of a slide, whose label image is a pyramid on the disk."""
    return isinstance(labels, StoredLabels) and len(labels.levels) > 1


def layer_data(labels: LabelImage) -> Any:
    """Give a label image as a layer takes it: a slide's as the levels of its pyramid."""
    if isinstance(labels, StoredLabels):
        return labels.levels if len(labels.levels) > 1 else labels.levels[0]
    if not isinstance(labels, PaintedLabels) or max(labels.shape) <= _LARGEST_PAINTED_PX:
        return labels
    levels = [labels]
    while max(levels[-1].shape) > _LARGEST_PAINTED_PX:
        levels.append(levels[-1].halved())
    return levels


def outline_px(results: Results) -> int:
    """Width of an outline in image pixels: about a fortieth of a cell, never thinner than one."""
    table = results.table
    if not len(table):
        return 1
    diameter = float(np.sqrt(np.median(table["area_px"].to_numpy(float))))
    return max(1, round(diameter / 40))


def rings_of(
    results: Results, labels: Iterable[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give rings around cells: their centres (n, 2), y and x, and (n,) diameters in px."""
    rows = [results.row(label) for label in labels]
    centres = np.array([[row["centroid_y"], row["centroid_x"]] for row in rows], float)
    sides = [max(row["box_y1"] - row["box_y0"], row["box_x1"] - row["box_x0"]) for row in rows]
    return centres, 1.3 * np.array(sides, float)


def features_of(results: Results) -> pd.DataFrame:
    """Table of a Labels layer's features: ``index`` is the label, then what the cell is and shows."""
    table = results.table
    features = pd.DataFrame({"index": table["label"].to_numpy(np.int64)})
    size = results.slide.microns_per_pixel
    area = table["area_px"].to_numpy(float)
    features["area_px" if size is None else "area_um2"] = area if size is None else area * size**2
    for rank, (concepts, values) in enumerate(results.top_concepts(3), start=1):
        features[f"concept_{rank}"] = concepts
        features[f"activation_{rank}"] = values
    return features


def strength_colormap(strengths: dict[int, float]) -> DirectLabelColormap:
    """Colour for each label from its strength, viridis from zero to the strongest cell."""
    top = max(strengths.values(), default=0.0) or 1.0
    labels = list(strengths)
    colors = ensure_colormap("viridis").map(np.array([strengths[label] / top for label in labels]))
    table: dict[int | None, Any] = dict(zip(labels, colors, strict=True))
    return DirectLabelColormap(color_dict=table | {None: "transparent", 0: "transparent"})
