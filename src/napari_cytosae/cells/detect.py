"""Find the nucleated cells of a stained smear; no weights, no training."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage as ndi

from napari_cytosae.cells.extent import cell_matter, grow_cells, join_parts_of_one_cell
from napari_cytosae.cells.found import Cells, measure_cells
from napari_cytosae.cells.nuclei import NucleusRules, azure_density, find_nuclei
from napari_cytosae.cells.scale import RED_CELL_UM, SIDE, red_cell_diameter
from napari_cytosae.cells.stain import StainReference, estimate_stain, relative_density
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide, to_rgb8

# Cells are found at this pixel size (or the image's own, if coarser) and drawn at full size.
WORKING_UM = 0.2
BLUR_UM = 0.2
# Usual diameter of a nucleus with the area of all its segments; the ruler where an image shows
# no red cells.
NUCLEUS_UM = 9.0
# Colours are estimated on an image of at most so many pixels a side.
STAIN_PX = 400
# Glass is never as dark as this in green, even underexposed by half.
DARK = 40
# Larger images are measured in windows, so that red cells stay large enough to be seen.
WINDOW_PX = 1024
MOST_WINDOWS = 9


def detect_cells(
    image: ArrayLike | Slide,
    microns_per_pixel: float | None = None,
    rules: NucleusRules | None = None,
) -> Cells:
    """Find the nucleated cells of a Romanowsky-stained smear or marrow.

    Parameters
    ----------
    image : (H, W, 3 or 4) array or Slide
        Bright field, in colour; any type that `to_rgb8` takes.
    microns_per_pixel : float, optional
        Pixel size. Without it (and where the slide does not know) it is estimated from the red
        cells, or the nuclei where there are none.
    rules : NucleusRules, optional
        What counts as a nucleus.

    Returns
    -------
    Cells
        Ids 1 … n from top to bottom; empty where the image has no nucleated cell.

    Raises
    ------
    CellsError
        If the image has no colour, is dark (fluorescence), or the pixel size is not positive.
    """
    if isinstance(image, Slide):
        rgb = image.read()
        microns_per_pixel = microns_per_pixel or image.microns_per_pixel
    else:
        rgb = to_rgb8(image)
    check_microns_per_pixel(microns_per_pixel)
    reference = estimate_stain(_reduced(rgb, max(1.0, max(rgb.shape[:2]) / STAIN_PX)))
    _check_colour(rgb, reference)
    estimated = None if microns_per_pixel else estimate_microns_per_pixel(rgb, reference)
    return detect_with(rgb, reference, microns_per_pixel, estimated, rules)


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


def detect_with(
    rgb: NDArray[np.uint8],
    reference: StainReference,
    microns_per_pixel: float | None,
    estimated_microns_per_pixel: float | None = None,
    rules: NucleusRules | None = None,
) -> Cells:
    """Find cells where stain and pixel size are known: for one tile of a slide, say.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    reference : StainReference
        From :func:`estimate_stain` on the whole slide.
    microns_per_pixel, estimated_microns_per_pixel : float or None
        The first that is known is used; without both no cell is found, as nothing tells a
        lymphocyte from a platelet.
    rules : NucleusRules, optional

    Returns
    -------
    Cells
    """
    height, width = rgb.shape[:2]
    pixel_um = microns_per_pixel or estimated_microns_per_pixel
    nuclei = np.zeros((height, width), np.int32)
    labels = nuclei
    if pixel_um is not None:
        small = _reduced(rgb, max(1.0, WORKING_UM / pixel_um))
        working_um = pixel_um * width / small.shape[1]
        blur_px = BLUR_UM / working_um
        relative = ndi.gaussian_filter(relative_density(small, reference), (blur_px, blur_px, 0))
        small_nuclei = find_nuclei(relative, working_um, rules)
        small_cells = grow_cells(small_nuclei, cell_matter(relative), working_um)
        small_nuclei, small_cells = join_parts_of_one_cell(small_nuclei, small_cells, working_um)
        labels = _enlarged(small_cells, (height, width))
        nuclei = np.where(labels > 0, _enlarged(small_nuclei, (height, width)), 0)
        # Two smooth outlines may cross by a pixel: a nucleus never leaves its own cell.
        nuclei[nuclei != labels] = 0
    return Cells(
        labels,
        nuclei,
        measure_cells(labels, nuclei, "detect"),
        microns_per_pixel,
        estimated_microns_per_pixel,
    )


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
    from_red_cells, from_nuclei = [], []
    for window in _windows(rgb.shape[:2]):
        part = rgb[window]
        small = _reduced(part, max(1.0, max(part.shape[:2]) / SIDE))
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


def _reduced(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Shrink an image by area averaging."""
    if factor <= 1.0:
        return rgb
    height, width = (max(1, round(size / factor)) for size in rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def _enlarged(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Draw labels at full size with smooth outlines."""
    if labels.shape == shape:
        return labels
    full = np.zeros(shape, np.int32)
    zoom_y, zoom_x = shape[0] / labels.shape[0], shape[1] / labels.shape[1]
    for index, found in enumerate(ndi.find_objects(labels), start=1):
        if found is None:
            continue
        y0, x0 = max(found[0].start - 2, 0), max(found[1].start - 2, 0)
        y1 = min(found[0].stop + 2, labels.shape[0])
        x1 = min(found[1].stop + 2, labels.shape[1])
        mask = (labels[y0:y1, x0:x1] == index).astype(np.float32)
        mask = ndi.gaussian_filter(mask, 0.7, mode="nearest")
        top, bottom = round(y0 * zoom_y), round(y1 * zoom_y)
        left, right = round(x0 * zoom_x), round(x1 * zoom_x)
        # Whole pixels of the full image map to fractions of the small one's.
        source = (left / zoom_x - x0, top / zoom_y - y0, right / zoom_x - x0, bottom / zoom_y - y0)
        source = (
            max(source[0], 0.0),
            max(source[1], 0.0),
            min(source[2], x1 - x0),
            min(source[3], y1 - y0),
        )
        large = Image.fromarray(mask).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=source
        )
        region = full[top:bottom, left:right]
        region[(np.asarray(large) > 0.5) & (region == 0)] = index
    return full


def _check_colour(rgb: NDArray[np.uint8], reference: StainReference) -> None:
    """Refuse images in which stains cannot be told apart."""
    step = max(1, max(rgb.shape[:2]) // 256)
    red, green, blue = np.moveaxis(rgb[::step, ::step].astype(np.int16), -1, 0)
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
