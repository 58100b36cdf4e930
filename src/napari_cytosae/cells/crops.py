"""Crops: the square of the slide that a model sees of each cell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.errors import CellsError


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """How large a crop is.

    Attributes
    ----------
    crop_um : float
        Side in µm where the pixel size is known; 25 µm as in the MLL23 and Hehr data sets.
    cell_fraction : float
        Where it is unknown, the longer side of the cell's box fills this share of the crop.
    whole : bool
        The crop is the whole image. An oblong image is padded to a square by reflection, so that
        nothing is stretched.
    """

    crop_um: float = 25.0
    cell_fraction: float = 0.5
    whole: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.crop_um) and self.crop_um > 0):
            raise CellsError(f"A crop of {self.crop_um} µm is not possible; give a positive size.")
        if not 0 < self.cell_fraction <= 1:
            raise CellsError(
                f"A cell cannot fill {self.cell_fraction} of its crop; give a share above 0, up "
                "to 1."
            )


@dataclass(frozen=True, slots=True, eq=False)
class CropBatch:
    """A few crops on their way to the model.

    Attributes
    ----------
    labels : (B,) int64
    boxes : (B, 4) float64
        y0, x0, y1, x1 in pixels of level 0, half-open; may reach outside the image.
    pixels : list of (S, S, 3) uint8
        S may differ from crop to crop where the pixel size is unknown.
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    pixels: list[NDArray[np.uint8]]


class RegionSource(Protocol):
    """What crops are cut from; a `Slide` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of level 0."""

    def read_region(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a rectangle that lies inside."""


def crop_boxes(
    table: pd.DataFrame,
    geometry: CropGeometry,
    microns_per_pixel: float | None,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Place one square crop on every cell, centred on its box.

    Parameters
    ----------
    table : pandas.DataFrame
        `Cells.table`, or rows of it.
    geometry : CropGeometry
    microns_per_pixel : float or None
        Measured pixel size; an estimate is not good enough for a crop of fixed size.
    shape : (int, int)
        Height and width of the image.

    Returns
    -------
    (n, 4) float64
        y0, x0, y1, x1 in whole pixels of level 0, half-open; may reach outside the image.
    """
    height, width = shape
    if geometry.whole:
        side = np.full(len(table), float(max(height, width)))
        centre = np.tile([height / 2, width / 2], (len(table), 1))
    else:
        low = table[["box_y0", "box_x0"]].to_numpy(np.float64)
        high = table[["box_y1", "box_x1"]].to_numpy(np.float64)
        centre = (low + high) / 2
        if microns_per_pixel is not None:
            side = np.full(len(table), geometry.crop_um / microns_per_pixel)
        else:
            side = (high - low).max(axis=1, initial=0.0) / geometry.cell_fraction
        side = np.maximum(np.rint(side), 1.0)
    # Half-up, so that a cell moved by one pixel moves its crop by one pixel.
    corner = np.floor(centre - side[:, np.newaxis] / 2 + 0.5)
    return np.concatenate([corner, corner + side[:, np.newaxis]], axis=1)


def iter_crops(
    slide: RegionSource,
    table: pd.DataFrame,
    geometry: CropGeometry,
    *,
    batch_cells: int = 16,
    microns_per_pixel: float | None = None,
) -> Iterator[CropBatch]:
    """Cut the crops of cells, batch by batch; only one batch is in memory.

    Parameters
    ----------
    slide : RegionSource
        A `Slide`.
    table : pandas.DataFrame
        `Cells.table`, or rows of it.
    geometry : CropGeometry
    batch_cells : int
        Crops per batch.
    microns_per_pixel : float, optional
        Measured pixel size.

    Yields
    ------
    CropBatch
    """
    if batch_cells < 1:
        raise CellsError(f"A batch of {batch_cells} cells is not possible; give 1 or more.")
    boxes = crop_boxes(table, geometry, microns_per_pixel, slide.shape)
    labels = table["label"].to_numpy(np.int64)
    for start in range(0, len(table), batch_cells):
        chosen = slice(start, start + batch_cells)
        pixels = [read_reflected(slide, box) for box in boxes[chosen]]
        yield CropBatch(labels[chosen], boxes[chosen], pixels)


def read_reflected(slide: RegionSource, box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Read a box that may reach outside the slide, which goes on there as in a mirror.

    The mirror stands in the middle of the outermost pixel, as in ``numpy.pad(mode="reflect")``;
    where the box reaches further than the slide is long, the image is thrown to and fro.
    """
    y0, x0, y1, x1 = (int(v) for v in box)
    rows = _mirrored(np.arange(y0, y1), slide.shape[0])
    columns = _mirrored(np.arange(x0, x1), slide.shape[1])
    top, left = int(rows.min()), int(columns.min())
    region = slide.read_region(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)
    if region.shape[:2] == (y1 - y0, x1 - x0):
        return region
    return region[np.ix_(rows - top, columns - left)]


def _mirrored(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Fold indices back into 0 … size − 1."""
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    folded = np.mod(index, period)
    return np.asarray(np.minimum(folded, period - folded))
