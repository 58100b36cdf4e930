"""What to analyse and how: an analysis as data."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from napari_cytosae.cells import Cells, LabelImage, cells_from_labels, read_cells
from napari_cytosae.cells.read import NAMED_SOURCES
from napari_cytosae.cells.region import Region, cells_within
from napari_cytosae.concepts.encode import Precision
from napari_cytosae.concepts.focus import concept_ids_of
from napari_cytosae.errors import CellsError, RunError
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide, image_stem

_BAND_ROWS = 1024
THRESHOLD = 0.2
"""τ of the paper's patient barcodes, which count the tokens above it."""


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisJob:
    """One analysis, as data.

    Parameters
    ----------
    image
        A file, an array, or an open slide.
    bundle
        A bundle, its name, or its folder.
    cells
        ``"detect"`` (nucleated cells), ``"red"`` (red cells), ``"whole"`` (the image is one crop),
        a file of cells, a label image, or `Cells`.
    out
        The run folder; `default_folder` where None.
    precision, device
        ``"auto"``, or as in `EncodeOptions`.
    microns_per_pixel
        Pixel size at level 0, where it is known better than from the file.
    crop_um
        Side of a crop in µm, where the pixel size is known.
    threshold
        τ: ``layers["count"]`` counts the tokens above it.
    batch_cells
        Cells per forward pass.
    overwrite
        Replace a run that is in the folder instead of reopening or refusing it.
    morphology
        Measure the cells too, and what each of their patches shows.
    focus
        The only concepts to encode: ids, a file of them (see `read_focus`), or an atlas's focus.
        None encodes all that the bundle does.
    region
        The part of the image whose cells are wanted; None takes all of it.
    """

    image: str | Path | ArrayLike | Slide
    bundle: str | Path | Bundle = "starter"
    cells: str | Path | ArrayLike | Cells = "detect"
    out: str | Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    microns_per_pixel: float | None = None
    crop_um: float = 25.0
    threshold: float = THRESHOLD
    batch_cells: int = 16
    overwrite: bool = False
    morphology: bool = True
    focus: str | Path | ArrayLike | Iterable[int] | None = None
    region: Region | None = None

    def focused(self, bundle: Bundle) -> Bundle:
        """Restrict a bundle to the concepts in focus.

        Raises
        ------
        FocusError
            Where they cannot be read, or are not this bundle's.
        """
        return bundle if self.focus is None else bundle.focused(concept_ids_of(self.focus))

    def open_slide(self) -> Slide:
        """Open the image, or wrap it.

        Raises
        ------
        ImageError
            Where it cannot be read.
        """
        if isinstance(self.image, Slide):
            return self.image
        if isinstance(self.image, str | Path):
            return Slide.open(self.image, microns_per_pixel=self.microns_per_pixel)
        return Slide.from_array(self.image, microns_per_pixel=self.microns_per_pixel)

    def find_cells(self, slide: Slide, microns_per_pixel: float | None) -> Cells:
        """Detect, read or take the cells.

        Raises
        ------
        CellsError
            Where they cannot be read, or are cells of another image.
        """
        cells = self._all_cells(slide, microns_per_pixel)
        return cells if self.region is None else cells_within(cells, self.region)

    def _all_cells(self, slide: Slide, microns_per_pixel: float | None) -> Cells:
        if isinstance(self.cells, str | Path):
            return read_cells(self.cells, slide, microns_per_pixel=microns_per_pixel)
        if not isinstance(self.cells, Cells):
            return cells_from_labels(
                self.cells, shape=slide.shape, microns_per_pixel=microns_per_pixel
            )
        if tuple(self.cells.labels.shape) != slide.shape:
            raise CellsError(
                f"The cells lie on an image of {self.cells.labels.shape} px, and {slide.name} has "
                f"{slide.shape} px (height, width). Give cells of this image."
            )
        return self.cells

    @property
    def whole(self) -> bool:
        """Whether the image is one crop."""
        return isinstance(self.cells, str) and self.cells == "whole"

    def cells_identity(self) -> str:
        """Say by which cells a run is known: a method's name, or a digest of the cells given."""
        if isinstance(self.cells, str | Path):
            path = Path(self.cells)
            if self.cells in NAMED_SOURCES or not path.is_file():
                return str(self.cells)
            return hashlib.sha256(path.read_bytes()).hexdigest()
        digest = hashlib.sha256()
        if isinstance(self.cells, Cells):
            digest.update(self.cells.table.to_csv(index=False).encode())
            labels: LabelImage = self.cells.labels
        else:
            labels = np.asarray(self.cells)
        digest.update(f"{labels.shape} {labels.dtype}".encode())
        for rows in range(0, labels.shape[0], _BAND_ROWS):  # it may be larger than memory
            digest.update(np.ascontiguousarray(labels[rows : rows + _BAND_ROWS]).data)
        return digest.hexdigest()


def default_folder(image: str | Path | Slide) -> Path:
    """Name the run folder that an image has without another wish: ``NAME.cytosae`` beside it.

    Raises
    ------
    RunError
        For an image that is no file.
    """
    path = image.path if isinstance(image, Slide) else Path(image)
    if path is None:
        raise RunError(
            "An image that is not a file has no folder beside it: say where the run is to be kept "
            "with out='NAME.cytosae'."
        )
    return path.with_name(image_stem(path) + ".cytosae")
