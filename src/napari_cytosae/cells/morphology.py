"""What can be measured of a cell in the field's own terms: size, shape, lobes, chromatin, colour.

Every measure is of one cell in the window of the slide around it, so that slides of any size are
measured cell by cell. Densities are in units of what the slide's red cells absorb in green (see
`stain`), so that a pale and a strong stain, a dark and a bright camera give much the same numbers.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.cells.colour import StainMeasures, measure_stain
from napari_cytosae.cells.crops import RegionSource
from napari_cytosae.cells.label_image import LabelImage
from napari_cytosae.cells.nuclear_lobes import count_lobes
from napari_cytosae.cells.shape import coarsened, measure_shape
from napari_cytosae.cells.stain import StainReference, relative_density
from napari_cytosae.cells.views import MARGIN_UM, CellView, guess_pixel_um, iter_views

MORPHOLOGY: Final = MappingProxyType(
    {
        "area_um2": "cell area (µm²)",
        "roundness": "cell roundness",
        "solidity": "cell solidity",
        "elongation": "cell elongation",
        "nucleus_area_um2": "nucleus area (µm²)",
        "nc_ratio": "N:C ratio",
        "nucleus_roundness": "nucleus roundness",
        "nucleus_solidity": "nucleus solidity",
        "nucleus_elongation": "nucleus elongation",
        "nucleus_offset": "nucleus off centre",
        "lobes": "number of lobes",
        "chromatin_density": "chromatin density",
        "chromatin_texture": "chromatin texture",
        "basophilia": "basophilic cytoplasm",
        "eosinophilia": "eosinophilic cytoplasm",
        "granularity": "granularity",
        "vacuoles": "vacuoles",
        "vacuole_share": "vacuole share",
    }
)
"""Columns that `measure_morphology` gives, with the words for them."""

# Finer pixels than this show nothing more of a stained cell, and cost time.
WORKING_UM = 0.12


def measure_morphology(
    slide: RegionSource,
    table: pd.DataFrame,
    labels: LabelImage,
    nuclei: LabelImage | None,
    reference: StainReference | None,
    microns_per_pixel: float | None,
    estimated_microns_per_pixel: float | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """Measure cells, each in its window of the slide.

    Where cells came as points, boxes or whole images, their outlines are found first; where they
    came without nuclei, those are.

    Parameters
    ----------
    slide : RegionSource
        A `Slide`.
    table : pandas.DataFrame
        `Cells.table`, or rows of it: ``label``, ``box_y0`` …, ``area_px`` and ``source``.
    labels, nuclei : (H, W) int32
        Label images, of which one window per cell is read.
    reference : StainReference or None
        Of the whole slide. Without it (grey or fluorescent images) nothing is said of colours.
    microns_per_pixel : float or None
        Pixel size.
    estimated_microns_per_pixel : float or None
        Used for textures and lobes where the size is not known. Areas are given in µm² only where
        it is known.
    cancelled : callable
        Asked before each cell.

    Returns
    -------
    pandas.DataFrame
        One row per row of `table`, with the columns of `MORPHOLOGY`: ``area_um2``,
        ``nucleus_area_um2``; ``roundness`` (4πA/P², 1 for a disc), ``solidity`` (share of the
        convex hull) and ``elongation`` (longer over shorter axis) of cell and nucleus;
        ``nc_ratio``, nucleus over whole cell by area; ``nucleus_offset``, the distance of the two
        centres over the cell's radius; ``lobes``; the measures of `StainMeasures`. NaN where a
        measure is not possible.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    """
    pixel_um = microns_per_pixel or estimated_microns_per_pixel or guess_pixel_um(table)
    views = iter_views(slide, table, labels, nuclei, reference, pixel_um, cancelled=cancelled)
    rows = [
        measure_view(view, reference, pixel_um, known=bool(microns_per_pixel)) for view in views
    ]
    return pd.DataFrame(rows, columns=list(MORPHOLOGY), index=table.index, dtype=np.float64)


def measure_view(
    view: CellView | None, reference: StainReference | None, pixel_um: float, *, known: bool
) -> dict[str, float]:
    """Measure the cell of a view; see `measure_cell`."""
    if view is None:
        return dict.fromkeys(MORPHOLOGY, np.nan)
    near = view.tight(round(MARGIN_UM / pixel_um))
    return measure_cell(near.rgb, near.cell, near.nucleus, reference, pixel_um, known=known)


def measure_cell(
    rgb: NDArray[np.uint8],
    cell: NDArray[np.bool_],
    nucleus: NDArray[np.bool_] | None,
    reference: StainReference | None,
    microns_per_pixel: float,
    *,
    known: bool = True,
) -> dict[str, float]:
    """Measure one cell in its window.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    cell, nucleus : (H, W) bool
    reference : StainReference or None
    microns_per_pixel : float
    known : bool
        Whether the pixel size is known, and areas in µm² can be given.

    Returns
    -------
    dict
        By the names of `MORPHOLOGY`.
    """
    measures = dict.fromkeys(MORPHOLOGY, np.nan)
    shape = measure_shape(cell, microns_per_pixel)
    if shape is None:
        return measures
    um2 = microns_per_pixel**2 if known else np.nan
    measures["area_um2"] = shape.area_px * um2
    for name in ("roundness", "solidity", "elongation"):
        measures[name] = getattr(shape, name)
    inner = None if nucleus is None else measure_shape(nucleus & cell, microns_per_pixel)
    if nucleus is not None and inner is not None:
        apart = np.hypot(inner.centre[0] - shape.centre[0], inner.centre[1] - shape.centre[1])
        measures["nucleus_area_um2"] = inner.area_px * um2
        measures["nc_ratio"] = inner.area_px / shape.area_px
        measures["nucleus_offset"] = float(apart / np.sqrt(shape.area_px / np.pi))
        measures["lobes"] = float(count_lobes(nucleus & cell, microns_per_pixel))
        for name in ("roundness", "solidity", "elongation"):
            measures[f"nucleus_{name}"] = getattr(inner, name)
    if reference is not None:
        stain = _stain(rgb, cell, nucleus, reference, microns_per_pixel)
        measures |= {name: getattr(stain, name) for name in StainMeasures.__slots__}
    return measures


def _stain(
    rgb: NDArray[np.uint8],
    cell: NDArray[np.bool_],
    nucleus: NDArray[np.bool_] | None,
    reference: StainReference,
    microns_per_pixel: float,
) -> StainMeasures:
    factor = WORKING_UM / microns_per_pixel
    if factor > 1:
        cell, _ = coarsened(cell, factor)
        nucleus = None if nucleus is None else coarsened(nucleus, factor)[0]
        height, width = cell.shape
        small = Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX)
        rgb = np.asarray(small)
        microns_per_pixel *= factor
    return measure_stain(relative_density(rgb, reference), cell, nucleus, microns_per_pixel)
