"""What every source of cells gives: label images and one row per cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.label_image import LabelImage

COLUMNS = (
    "label",
    "centroid_y",
    "centroid_x",
    "box_y0",
    "box_x0",
    "box_y1",
    "box_x1",
    "area_px",
    "nucleus_area_px",
    "source",
)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one image; all coordinates in pixels of level 0.

    Attributes
    ----------
    labels : (H, W) int32 array or PaintedLabels
        Extent of each cell, 0 where there is none. Where extents overlap the smaller cell lies on
        top; a cell hidden altogether keeps its row in `table`.
    nuclei : (H, W) int32 array, PaintedLabels or None
        Extent of the nuclei with the same ids; None where the source knows of none.
    table : pandas.DataFrame
        One row per cell: ``label`` (positive, unique), ``centroid_y``, ``centroid_x`` (the centre
        of the top left pixel is 0, 0), ``box_y0``, ``box_x0``, ``box_y1``, ``box_x1`` (half-open),
        ``area_px``, ``nucleus_area_px`` (NaN where unknown), ``source``, and whatever columns the
        source adds.
    microns_per_pixel : float or None
        As given.
    estimated_microns_per_pixel : float or None
        As read off the red cells where none was given; good to some 10 %, as red cells are.
    """

    labels: LabelImage
    nuclei: LabelImage | None
    table: pd.DataFrame
    microns_per_pixel: float | None = None
    estimated_microns_per_pixel: float | None = None

    def __len__(self) -> int:
        return len(self.table)


def measure_cells(
    labels: NDArray[np.int32], nuclei: NDArray[np.int32] | None, source: str
) -> pd.DataFrame:
    """Measure every label of an image.

    Parameters
    ----------
    labels, nuclei : (H, W) int32
        Ids need not be consecutive.
    source : str
        Goes into the column of that name.

    Returns
    -------
    pandas.DataFrame
        The columns of `Cells.table`, sorted by label.
    """
    highest = int(labels.max(initial=0))
    # Counting is faster than sorting, but users' ids may be large and sparse.
    dense_enough = highest < 1 << 20
    ids = np.flatnonzero(np.bincount(labels.ravel())) if dense_enough else np.unique(labels)
    ids = ids[ids > 0]
    dense = labels
    if ids.size != highest:
        dense = np.searchsorted(ids, labels).astype(np.int32) + 1
        dense[labels == 0] = 0
    windows = ndi.find_objects(dense, max_label=ids.size)
    nucleus_px = np.full(ids.size, np.nan)
    if nuclei is not None:
        inside = nuclei[nuclei > 0]
        nucleus_px = np.bincount(np.searchsorted(ids, inside), minlength=ids.size).astype(float)
    rows = []
    for index, window in enumerate(windows, start=1):
        y, x = np.nonzero(dense[window] == index)
        top, left = window[0].start, window[1].start
        rows.append(
            (
                int(ids[index - 1]),
                float(y.mean() + top),
                float(x.mean() + left),
                top,
                left,
                window[0].stop,
                window[1].stop,
                int(y.size),
                float(nucleus_px[index - 1]),
                source,
            )
        )
    return cell_table(rows)


def cell_table(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    """Build `Cells.table` from rows in the order of `COLUMNS`, with its types even when empty."""
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    data: dict[str, NDArray[Any]] = {}
    for name, values in zip(COLUMNS, columns, strict=True):
        real = name.startswith("centroid") or name == "nucleus_area_px"
        kind = object if name == "source" else np.float64 if real else np.int64
        data[name] = np.array(values, dtype=kind)
    return pd.DataFrame(data).astype({"source": str})
