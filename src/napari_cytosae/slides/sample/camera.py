"""From optical densities to what a camera saw: lamp, lens, sensor."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A lens of numerical aperture 1.25 blurs green light by about this much (deviation, µm).
_BLUR_UM = 0.085


def photograph(
    density: NDArray[np.float32], rng: np.random.Generator, microns_per_pixel: float
) -> NDArray[np.uint8]:
    """Photograph a smear: (H, W, 3) densities to (H, W, 3) uint8."""
    light = np.exp(-density)
    sigma = _BLUR_UM * rng.uniform(0.9, 1.25) / microns_per_pixel
    light = ndimage.gaussian_filter(light, (sigma, sigma, 0))
    light *= _lamp(light.shape[:2], rng)
    # Photon noise grows with the root of the light; neighbouring pixels share some of it, since
    # sensors have a colour filter and fill the gaps.
    noise = rng.standard_normal(light.shape, np.float32)
    noise = np.float32(0.6) * noise + np.float32(1.1) * ndimage.gaussian_filter(
        noise, (0.8, 0.8, 0)
    )
    light += noise * np.sqrt(light) * np.float32(0.0065)
    rgb: NDArray[np.uint8] = np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)
    return rgb


def _lamp(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven light: brightest near the middle, fading to one side, tinted by the white balance."""
    tint = np.array([0.885, 0.872, 0.862]) * rng.normal(1, 0.014, 3)
    height, width = shape
    y = (np.arange(height, dtype=np.float32) / height - 0.5)[:, np.newaxis]
    x = (np.arange(width, dtype=np.float32) / width - 0.5)[np.newaxis]
    off_y, off_x = rng.normal(0, 0.1, 2).astype(np.float32)
    vignette = 1 - np.float32(rng.uniform(0.14, 0.24)) * ((y - off_y) ** 2 + (x - off_x) ** 2)
    slope = rng.normal(0, 0.02, 2).astype(np.float32)
    even = vignette + slope[0] * y + slope[1] * x
    lamp: NDArray[np.float32] = even[..., np.newaxis] * tint.astype(np.float32)
    return lamp
