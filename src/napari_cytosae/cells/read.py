"""Cells from a name or a file, whatever its kind."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from napari_cytosae.cells.detect import detect_cells
from napari_cytosae.cells.found import Cells
from napari_cytosae.cells.geojson import read_geojson
from napari_cytosae.cells.red_cells import detect_red_cells
from napari_cytosae.cells.sources import cells_from_labels, whole_image
from napari_cytosae.cells.tables import read_table
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide

NAMED_SOURCES = ("detect", "red", "whole")
"""Sources of cells that are known by name."""

_LABELS = (".tif", ".tiff", ".png")
_TABLES = (".csv", ".tsv", ".txt")
_OUTLINES = (".geojson", ".json")


def read_cells(
    source: str | Path, slide: Slide, *, microns_per_pixel: float | None = None
) -> Cells:
    """Find or read the cells of a slide.

    Parameters
    ----------
    source : str or Path
        ``"detect"`` (nucleated cells), ``"red"`` (red cells), ``"whole"``, or a file: a label
        image (TIFF, PNG), a table of centroids or boxes (CSV, TSV), or outlines (GeoJSON).
    slide : Slide
        What the cells lie on.
    microns_per_pixel : float, optional
        Pixel size, where it is known better than from the slide.

    Returns
    -------
    Cells

    Raises
    ------
    CellsError
        Naming the file, and the row and column, feature or pixel that is wrong.
    """
    pixel_um = microns_per_pixel or slide.microns_per_pixel
    if source == "detect":
        return detect_cells(slide, pixel_um)
    if source == "red":
        return detect_red_cells(slide, pixel_um)
    if source == "whole":
        return whole_image(slide.shape, microns_per_pixel=pixel_um)
    path = Path(source)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise CellsError(
            f"There is no file {path}; give a label image, a CSV or GeoJSON file, “detect”, "
            "“red” or “whole”."
        )
    if suffix in _LABELS:
        return _read_labels(path, slide.shape, pixel_um)
    if suffix in _TABLES:
        return read_table(path, slide.shape, pixel_um)
    if suffix in _OUTLINES:
        return read_geojson(path, slide.shape, pixel_um)
    raise CellsError(
        f"{path.name}: cells cannot be read from a {suffix or 'nameless'} file; give a label image "
        f"({', '.join(_LABELS)}), a table ({', '.join(_TABLES)}) or outlines "
        f"({', '.join(_OUTLINES)})."
    )


def _read_labels(path: Path, shape: tuple[int, int], microns_per_pixel: float | None) -> Cells:
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                # A palette only colours the labels; its indices are they.
                labels = np.asarray(image)
        else:
            labels = tifffile.imread(path)
    except (UnidentifiedImageError, tifffile.TiffFileError, OSError, ValueError) as error:
        raise CellsError(f"{path.name} cannot be read as an image: {error}.") from error
    if labels.ndim == 3 and labels.shape[-1] in (3, 4):
        raise CellsError(
            f"{path.name} is a colour picture; a label image has one whole number per pixel."
        )
    return cells_from_labels(
        labels, shape=shape, microns_per_pixel=microns_per_pixel, name=path.name
    )
