"""What is measured once for a whole slide before its cells are looked for: stain, scale, glass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.glass import OccupiedMap, map_occupied
from napari_cytosae.cells.nuclei import NucleusRules, azure_density
from napari_cytosae.cells.reduced import reduced
from napari_cytosae.cells.sampling import sample_windows
from napari_cytosae.cells.scale import RED_CELL_UM, SIDE, red_cell_diameter
from napari_cytosae.cells.stain import StainReference, estimate_stain, relative_density
from napari_cytosae.errors import CellsError, DamagedImageError, ImageError
from napari_cytosae.slides import Slide

# Usual diameter of a nucleus with the area of all its segments; the ruler where an image shows
# no red cells.
NUCLEUS_UM = 9.0
# Colours are estimated on an image of at most so many pixels a side, or on windows of a slide
# that are reduced by a factor.
STAIN_PX = 400
_STAIN_REDUCTION = 2.0
_STAIN_WINDOW_PX = 640
_STAIN_WINDOWS = 40
# Glass is never as dark as this in green, even underexposed by half.
DARK = 40
# Larger images are measured in windows, so that red cells stay large enough to be seen.
WINDOW_PX = 1024
MOST_WINDOWS = 9
# Images up to this area are read whole; of larger ones a sample is.
FIELD_PX = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What every part of a slide is measured against.

    It comes from a fixed sample of the slide, so that it does not depend on the tiles that the
    slide is then gone through in.

    Attributes
    ----------
    reference : StainReference
    microns_per_pixel : float or None
        As given.
    estimated_microns_per_pixel : float or None
        Read off the red cells where none was given.
    occupied : OccupiedMap or None
        Where there is anything but glass; None where that was not looked for: everywhere.
    """

    reference: StainReference
    microns_per_pixel: float | None
    estimated_microns_per_pixel: float | None = None
    occupied: OccupiedMap | None = None

    @property
    def pixel_um(self) -> float | None:
        """The pixel size that cells are found with; None where nothing tells it."""
        return self.microns_per_pixel or self.estimated_microns_per_pixel


def is_field(shape: tuple[int, int]) -> bool:
    """Tell whether an image is small enough to be looked at as a whole."""
    return shape[0] * shape[1] <= FIELD_PX


def survey_image(rgb: NDArray[np.uint8], microns_per_pixel: float | None = None) -> Survey:
    """Measure an image that is in memory.

    Raises
    ------
    CellsError
        If it has no colour, is dark (fluorescence), or the pixel size is not positive.
    """
    check_microns_per_pixel(microns_per_pixel)
    reference = estimate_stain(reduced(rgb, max(1.0, max(rgb.shape[:2]) / STAIN_PX)))
    check_colour(rgb, reference)
    estimated = None if microns_per_pixel else estimate_microns_per_pixel(rgb, reference)
    return Survey(reference, microns_per_pixel, estimated)


def survey_slide(slide: Slide, microns_per_pixel: float | None = None) -> Survey:
    """Measure a slide on a fixed sample of windows, and find its bare glass.

    Parameters
    ----------
    slide : Slide
    microns_per_pixel : float, optional
        Where it is known better than from the slide.

    Raises
    ------
    CellsError
        If it has no colour, is dark (fluorescence), or the pixel size is not positive.
    ImageError
        If none of it can be read.
    """
    microns_per_pixel = microns_per_pixel or slide.microns_per_pixel
    if is_field(slide.shape):
        try:
            return survey_image(slide.read(), microns_per_pixel)
        except DamagedImageError:
            pass  # a damaged tile; the rest of the image is measured below
    check_microns_per_pixel(microns_per_pixel)
    windows = sample_windows(slide, _STAIN_WINDOW_PX, _STAIN_WINDOWS)
    if not windows:
        raise ImageError(
            f"{slide.name}: none of the places that were looked at can be read; the file may be "
            "damaged. Copy it again from its source."
        )
    smaller = [reduced(window, _STAIN_REDUCTION) for window in windows]
    sample = np.concatenate([each.reshape(-1, 1, 3) for each in smaller])
    reference = estimate_stain(sample)
    check_colour(sample, reference)
    estimated = None
    if not microns_per_pixel:
        large = sample_windows(slide, WINDOW_PX, MOST_WINDOWS, bright=False)
        estimated = _pixel_size_of(large, reference)
    survey = Survey(reference, microns_per_pixel, estimated)
    if survey.pixel_um is None:
        return survey
    occupied = map_occupied(slide, reference, survey.pixel_um)
    return Survey(reference, microns_per_pixel, estimated, occupied)


def estimate_microns_per_pixel(rgb: NDArray[np.uint8], reference: StainReference) -> float | None:
    """Estimate the pixel size of a smear from its red cells, or else from its nuclei.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    reference : StainReference

    Returns
    -------
    float or None
        Microns per pixel; None where neither red cells nor nuclei stand out.
    """
    return _pixel_size_of([rgb[window] for window in _windows(rgb.shape[:2])], reference)


def _pixel_size_of(windows: list[NDArray[np.uint8]], reference: StainReference) -> float | None:
    from_red_cells, from_nuclei = [], []
    for part in windows:
        small = reduced(part, max(1.0, max(part.shape[:2]) / SIDE))
        zoom = part.shape[1] / small.shape[1]
        relative = relative_density(small, reference)
        azure = ndi.gaussian_filter(azure_density(relative), 1.0)
        stained = ndi.binary_opening(azure > NucleusRules().azure)
        near_nuclei = ndi.binary_dilation(ndi.binary_fill_holes(stained), iterations=5)
        diameter = red_cell_diameter(relative[..., 1], near_nuclei)
        if diameter is not None:
            from_red_cells.append(RED_CELL_UM / (diameter * zoom))
        parts, _ = ndi.label(stained)
        across = np.sqrt(np.bincount(parts.ravel())[1:] * 4 / np.pi)
        # Smaller specks may be anything.
        across = across[across > SIDE / 30]
        from_nuclei += [NUCLEUS_UM / (float(d) * zoom) for d in across]
    if from_red_cells:
        return float(np.median(from_red_cells))
    return float(np.median(from_nuclei)) if from_nuclei else None


def _windows(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Cut an image into windows, or spread a few over a large one."""
    starts = []
    for size in shape[:2]:
        count = min(int(np.sqrt(MOST_WINDOWS)), -(-size // WINDOW_PX))
        side = min(size, WINDOW_PX)
        starts.append([round(s) for s in np.linspace(0, size - side, count)])
    return [
        (slice(y, y + WINDOW_PX), slice(x, x + WINDOW_PX)) for y in starts[0] for x in starts[1]
    ]


def check_microns_per_pixel(microns_per_pixel: float | None) -> None:
    """Refuse a pixel size that is none.

    Raises
    ------
    CellsError
        Where it is not positive, or not finite.
    """
    if microns_per_pixel is not None and not (
        np.isfinite(microns_per_pixel) and microns_per_pixel > 0
    ):
        raise CellsError(
            f"The pixel size is {microns_per_pixel} µm; give a positive number, or none at all."
        )


def check_colour(rgb: NDArray[np.uint8], reference: StainReference) -> None:
    """Refuse images in which stains cannot be told apart.

    Raises
    ------
    CellsError
        Where the image is grey, or its background dark.
    """
    step_y, step_x = (max(1, size // 256) for size in rgb.shape[:2])
    red, green, blue = np.moveaxis(rgb[::step_y, ::step_x].astype(np.int16), -1, 0)
    instead = "Give the cells themselves instead: a label image, points or boxes."
    low, high = np.percentile(green, (1, 99))
    colour = np.maximum(np.abs(red - green), np.abs(blue - green))
    if high - low > 20 and np.percentile(colour, 99) <= 2:
        raise CellsError(
            "The image is grey, and cells are found by the colour of their stain. " + instead
        )
    if reference.glass[1] < DARK:
        raise CellsError(
            "The image's background is dark (fluorescence?), and cells are found on bright-field "
            "smears only. " + instead
        )
