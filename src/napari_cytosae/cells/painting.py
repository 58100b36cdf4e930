"""Draw outlines into one label image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from napari_cytosae.cells.found import cell_table
from napari_cytosae.cells.label_image import LabelImage, PaintedLabels
from napari_cytosae.cells.outline import Outline
from napari_cytosae.cells.survey import is_field


def paint_cells(
    outlines: Sequence[Outline], ids: NDArray[np.int64], shape: tuple[int, int], source: str
) -> tuple[LabelImage, pd.DataFrame]:
    """Paint outlines, smaller ones on top of larger ones, and measure each as if alone.

    Parameters
    ----------
    outlines : sequence of Outline
    ids : (n,) int64
    shape : (int, int)
    source : str

    Returns
    -------
    labels : (H, W) int32 array, or PaintedLabels where the image is a slide
    table : pandas.DataFrame
        See `Cells.table`; in the order given. A cell hidden by others has its row all the same.
    """
    areas = [int(outline.mask.sum()) for outline in outlines]
    order = sorted(range(len(outlines)), key=lambda n: -areas[n])
    painted = PaintedLabels(shape, [ids[n] for n in order], [outlines[n] for n in order])
    rows = []
    for outline, label, area in zip(outlines, ids.tolist(), areas, strict=True):
        y, x = np.nonzero(outline.mask)
        rows.append(
            (
                label,
                float(y.mean() + outline.y),
                float(x.mean() + outline.x),
                int(y.min() + outline.y),
                int(x.min() + outline.x),
                int(y.max() + outline.y + 1),
                int(x.max() + outline.x + 1),
                area,
                np.nan,
                source,
            )
        )
    labels = np.asarray(painted) if is_field(shape) else painted
    return labels, cell_table(rows)


def polygon_outline(
    polygons: Sequence[Sequence[NDArray[np.float64]]], shape: tuple[int, int]
) -> Outline | None:
    """Fill polygons with holes.

    Parameters
    ----------
    polygons : sequence of sequence of (n, 2) float64
        Each polygon's outer ring, then its holes; y, x in pixel-centre coordinates.
    shape : (int, int)
        Height and width of the image.

    Returns
    -------
    Outline or None
        None where no pixel's centre is inside.
    """
    points = np.concatenate([polygon[0] for polygon in polygons])
    low = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0)) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    mask = np.zeros(tuple(high - low), bool)
    for outer, *holes in polygons:
        filled = polygon2mask(mask.shape, outer - low)
        for hole in holes:
            filled &= ~polygon2mask(mask.shape, hole - low)
        mask |= filled
    return Outline(int(low[0]), int(low[1]), mask) if mask.any() else None
