"""What the stain tells of a cell: chromatin, basophilia and eosinophilia, granules, vacuoles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label, regionprops_table

from napari_cytosae.cells.nuclei import azure_density

# What lies nearer to an edge than this is mixed with what is beyond it.
EDGE_UM = 0.35
# Azure's density in blue, and eosin's in red, where each has a density of 1 in its own channel, as
# seen on nuclei and red cells of several cameras. Green is absorbed by both.
AZURE_IN_BLUE = 0.25
EOSIN_IN_RED = 0.40
# Clumps of chromatin are finer than the second blur, and coarser than the first.
CHROMATIN_FINE_UM, CHROMATIN_COARSE_UM = 0.15, 1.2
# Granules are 0.2 to 1 µm wide: a band between two blurs holds them.
GRANULE_FINE_UM, GRANULE_COARSE_UM = 0.12, 0.5
# A vacuole is paler than this share of what is pale in the cytoplasm, and nearly as clear as glass;
# the gaps between granules are filled with cytoplasm, and are neither as round nor as large.
VACUOLE_PALE = 0.65
VACUOLE_DENSITY = 0.4
VACUOLE_UM2 = 0.12
VACUOLE_SOLIDITY = 0.85
# A vacuole is a hole in something; cytoplasm as pale as glass has none that could be seen.
VACUOLE_LEAST_DENSITY = 0.15
FEWEST_PIXELS = 12


@dataclass(frozen=True, slots=True)
class StainMeasures:
    """Measures of one cell in units of the slide's red cells; NaN where there is too little to see.

    Attributes
    ----------
    chromatin_density : float
        Mean azure density within the nucleus.
    chromatin_texture : float
        Standard deviation of the density within the nucleus, slow changes left out, over its mean.
    basophilia, eosinophilia : float
        Mean density of azure and of eosin within the cytoplasm.
    granularity : float
        Standard deviation of the cytoplasm's density at the size of granules.
    vacuoles : float
        Number of vacuoles.
    vacuole_share : float
        Their share of the cytoplasm's area.
    """

    chromatin_density: float = np.nan
    chromatin_texture: float = np.nan
    basophilia: float = np.nan
    eosinophilia: float = np.nan
    granularity: float = np.nan
    vacuoles: float = np.nan
    vacuole_share: float = np.nan


def measure_stain(
    relative: NDArray[np.float32],
    cell: NDArray[np.bool_],
    nucleus: NDArray[np.bool_] | None,
    microns_per_pixel: float,
) -> StainMeasures:
    """Measure one cell's colours.

    Parameters
    ----------
    relative : (H, W, 3) float32
        Relative densities, see :func:`napari_cytosae.cells.stain.relative_density`.
    cell, nucleus : (H, W) bool
        Without a nucleus all of the cell counts as cytoplasm.
    microns_per_pixel : float
    """
    edge_px = EDGE_UM / microns_per_pixel
    inside = cell & (_depth(cell) > edge_px)
    chromatin = (np.nan, np.nan)
    cytoplasm, rim = inside, cell
    if nucleus is not None and nucleus.any():
        chromatin = _chromatin(relative, nucleus & (_depth(nucleus) > edge_px), microns_per_pixel)
        cytoplasm = inside & (ndi.distance_transform_edt(~nucleus) > edge_px)
        rim = cell & ~nucleus
    azure, eosin = unmix(relative)
    if np.count_nonzero(cytoplasm) < FEWEST_PIXELS:
        # A narrow rim still has a colour, but no texture that would not be its edges'.
        if np.count_nonzero(rim) < FEWEST_PIXELS:
            return StainMeasures(*chromatin)
        return StainMeasures(*chromatin, float(azure[rim].mean()), float(eosin[rim].mean()))
    total = relative.mean(axis=-1)
    fine = _blurred(total, cytoplasm, GRANULE_FINE_UM / microns_per_pixel)
    coarse = _blurred(total, cytoplasm, GRANULE_COARSE_UM / microns_per_pixel)
    return StainMeasures(
        *chromatin,
        float(azure[cytoplasm].mean()),
        float(eosin[cytoplasm].mean()),
        float((fine - coarse)[cytoplasm].std()),
        *_vacuoles(fine, cytoplasm, microns_per_pixel),
    )


def unmix(relative: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Part the densities of azure (basophilia) and of eosin or haemoglobin (eosinophilia).

    Azure absorbs red and little blue, eosin blue and little red: two equations per pixel, in red
    and in blue. Green, which both absorb, is left out.

    Returns
    -------
    azure, eosin : (...) float32
        In units of the red cells' density in green; below 0 by noise.
    """
    red, blue = relative[..., 0], relative[..., 2]
    scale = np.float32(1 / (1 - AZURE_IN_BLUE * EOSIN_IN_RED))
    azure = (red - np.float32(EOSIN_IN_RED) * blue) * scale
    eosin = (blue - np.float32(AZURE_IN_BLUE) * red) * scale
    return np.asarray(azure), np.asarray(eosin)


def _chromatin(
    relative: NDArray[np.float32], inner: NDArray[np.bool_], microns_per_pixel: float
) -> tuple[float, float]:
    if np.count_nonzero(inner) < FEWEST_PIXELS:
        return np.nan, np.nan
    green = relative[..., 1]
    fine = _blurred(green, inner, CHROMATIN_FINE_UM / microns_per_pixel)
    coarse = _blurred(green, inner, CHROMATIN_COARSE_UM / microns_per_pixel)
    mean = float(green[inner].mean())
    texture = float((fine - coarse)[inner].std()) / mean if mean > 0 else np.nan
    return float(azure_density(relative)[inner].mean()), texture


def _vacuoles(
    fine: NDArray[np.float32], cytoplasm: NDArray[np.bool_], microns_per_pixel: float
) -> tuple[float, float]:
    # A quarter is paler than this: in a cell full of granules that is the gaps between them, which
    # are no vacuoles; elsewhere it is the cytoplasm itself.
    usual = float(np.percentile(fine[cytoplasm], 25))
    if usual < VACUOLE_LEAST_DENSITY:
        return np.nan, np.nan
    pale = label(cytoplasm & (fine < min(VACUOLE_PALE * usual, VACUOLE_DENSITY)), connectivity=1)
    sizes = np.bincount(pale.ravel())
    sizes[0] = 0
    pale[sizes[pale] * microns_per_pixel**2 < VACUOLE_UM2] = 0
    if not pale.any():
        return 0.0, 0.0
    found = regionprops_table(pale, properties=("area", "solidity"))
    round_ones = found["solidity"] >= VACUOLE_SOLIDITY
    share = float(found["area"][round_ones].sum()) / np.count_nonzero(cytoplasm)
    return float(np.count_nonzero(round_ones)), share


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the outline, beyond which the window ends as well."""
    return np.asarray(ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])


def _blurred(
    values: NDArray[np.float32], mask: NDArray[np.bool_], sigma_px: float
) -> NDArray[np.float32]:
    """Blur within a mask, as if nothing were beyond it."""
    sigma_px = max(0.5, sigma_px)
    weight = mask.astype(np.float32)
    total = ndi.gaussian_filter(values * weight, sigma_px, truncate=3.0)
    share = ndi.gaussian_filter(weight, sigma_px, truncate=3.0)
    return np.asarray(total / np.maximum(share, 1e-6), np.float32)
