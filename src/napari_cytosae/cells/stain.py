"""Stain densities that do not depend on exposure, white balance or a camera's contrast.

Romanowsky stains (Wright, Giemsa, May-Grünwald, Pappenheim) colour three things on clear glass:
haemoglobin and eosinophil granules take up eosin (absorbs green, then blue), nuclei, platelets and
basophilic cytoplasm take up azure B and methylene blue (absorb red and green, hardly any blue).
Optical densities are measured against the glass of the same image and in units of what its red
cells absorb in green, so one set of thresholds serves dark, pale and tinted images alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Below this density in green (about 7 % absorbed) a pixel is glass, whatever the camera.
GLASS_DENSITY = 0.03
# Red cells measured from 0.06 (pale field cameras) to 0.45 (slide scanners) in green; a unit
# outside these limits is not trusted.
RED_CELL_DENSITY_LIMITS = (0.05, 0.42)
# What a typical field camera gives; used only where an image shows no red cells.
TYPICAL_RED_CELL_DENSITY = 0.15


@dataclass(frozen=True, slots=True)
class StainReference:
    """What densities in an image are measured against.

    Attributes
    ----------
    glass : tuple of float
        Red, green and blue of bare glass, 0 to 255.
    red_cell_density : float
        Median optical density of red cells in green: the unit of contrast.
    red_cells_seen : bool
        False where the image shows too few red cells and ``red_cell_density`` is a guess.
    """

    glass: tuple[float, float, float]
    red_cell_density: float
    red_cells_seen: bool


def estimate_stain(rgb: NDArray[np.uint8]) -> StainReference:
    """Estimate the glass colour and the red cells' density of an image.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        A whole image, a reduced copy, or a sample of its pixels.

    Returns
    -------
    StainReference
        Serves any part of the same slide.
    """
    pixels = rgb.reshape(-1, 3)
    glass = _glass_colour(pixels)
    density = optical_density(pixels, glass)
    red, green, blue = density[:, 0], density[:, 1], density[:, 2]
    # Haemoglobin absorbs green most, blue next, red least; nuclei absorb red more than blue. Some
    # cameras mix red into green, and all red cells look grey; blue tells them all the same.
    hue = (blue < 1.2 * green) & (blue > 0.7 * red)
    usual = (red < 0.65 * green) & (blue > 0.2 * green)
    greyish = (red < 0.85 * green) & (blue > 0.45 * green)
    like_red_cells = green[hue & (usual | greyish)]
    # One red cell in a field of 50 µm covers about 2 %; fewer pixels than a quarter of that are
    # edges and cytoplasm.
    seen = bool(np.count_nonzero(like_red_cells > 1.5 * GLASS_DENSITY) > 0.005 * green.size)
    unit = _first_mode(like_red_cells) if seen else TYPICAL_RED_CELL_DENSITY
    low, high = RED_CELL_DENSITY_LIMITS
    return StainReference(
        (float(glass[0]), float(glass[1]), float(glass[2])), min(max(unit, low), high), seen
    )


def optical_density(rgb: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give ``-log10(I / I_glass)`` per channel; light brighter than the glass is negative."""
    return _looked_up(rgb, _density_table(glass))


def relative_density(rgb: NDArray[np.uint8], reference: StainReference) -> NDArray[np.float32]:
    """Give optical densities in units of the red cells' density in green.

    Parameters
    ----------
    rgb : (..., 3) uint8
    reference : StainReference
        From :func:`estimate_stain` on the same slide.

    Returns
    -------
    (..., 3) float32
        Red cells lie near (0.4, 1, 0.6), nuclei above (1.1, 1.5, 0.2). Each channel is contiguous.
    """
    table = _density_table(np.asarray(reference.glass, np.float32))
    return _looked_up(rgb, table / np.float32(reference.red_cell_density))


def _density_table(glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the density of every intensity, (256, 3)."""
    intensity = np.maximum(np.arange(256, dtype=np.float32), 1.0)
    table = np.log10(glass.astype(np.float32)) - np.log10(intensity)[:, np.newaxis]
    return table.astype(np.float32)


def _looked_up(rgb: NDArray[np.uint8], table: NDArray[np.float32]) -> NDArray[np.float32]:
    # A table per channel: three look-ups instead of a logarithm for every pixel.
    planes = np.empty((3, *rgb.shape[:-1]), np.float32)
    for channel in range(3):
        np.take(table[:, channel], rgb[..., channel], out=planes[channel])
    return np.moveaxis(planes, 0, -1)


def _first_mode(density: NDArray[np.float32]) -> float:
    """Give the faintest common density: eosinophil granules share red cells' hue, but are denser."""
    # From the noise of the glass on, so that its tail is seen to fall and is not taken for a mode.
    edges = np.geomspace(0.01, 1.5, 51)  # steps of about 10 %
    counts = np.histogram(density, edges)[0].astype(np.float64)
    smooth = np.convolve(counts, np.ones(5), mode="same")
    peaks = _peaks(smooth, 3)
    peaks = peaks[edges[peaks] > GLASS_DENSITY]
    if peaks.size == 0:
        return float(np.median(density[density > 1.5 * GLASS_DENSITY]))
    highest = int(peaks[np.argmax(smooth[peaks])])
    # Pale rims of red cells may make a shoulder; a mode of its own stands apart by a valley.
    first = next(
        int(peak)
        for peak in peaks[smooth[peaks] > 0.55 * smooth[highest]]
        if peak >= highest or smooth[peak:highest].min() < 0.6 * smooth[peak]
    )
    near = (density > edges[max(first - 4, 0)]) & (density < edges[min(first + 5, 50)])
    return float(np.median(density[near]))


def _peaks(values: NDArray[np.float64], reach: int) -> NDArray[np.int64]:
    """Give the places of values that none within reach exceeds."""
    padded = np.pad(values, reach)
    highest = np.max([padded[i : i + values.size] for i in range(2 * reach + 1)], axis=0)
    return np.flatnonzero((values == highest) & (values > 0))


def _glass_colour(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Find the colour of bare glass: the brightest mode of green that holds real area."""
    green = pixels[:, 1]
    counts = np.bincount(green, minlength=256).astype(np.float64)
    smooth = np.convolve(counts, np.ones(7) / 7, mode="same")
    mass = np.convolve(counts, np.ones(17), mode="same")
    peaks = _peaks(smooth, 3)
    peaks = peaks[mass[peaks] > 0.04 * green.size]
    # A field full of cells shows no glass peak; its brightest percentiles are the best guess.
    level = int(peaks[-1]) if peaks.size else int(np.percentile(green, 98))
    near = np.abs(green.astype(np.int16) - level) <= 8
    near = np.abs(green.astype(np.int16) - np.median(green[near])) <= 4
    glass = np.median(pixels[near], axis=0)
    return np.asarray(np.maximum(glass, 16.0), np.float32)
