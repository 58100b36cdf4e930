"""Outlines as signed distances in µm (negative inside), and the textures that fill them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of pixels around a cell, measured in µm from the cell's centre.

    Parameters
    ----------
    y, x : (n, n) float32
        Where each pixel's middle lies.
    microns_per_pixel : float
        Distance between pixels.
    """

    y: Field
    x: Field
    microns_per_pixel: float

    @classmethod
    def around(
        cls, centre_yx: tuple[float, float], radius_um: float, microns_per_pixel: float
    ) -> tuple[Self, int, int]:
        """Lay a patch around a centre given in px; also return its top and left pixel."""
        reach = radius_um / microns_per_pixel
        top, left = (int(np.floor(c - reach)) for c in centre_yx)
        side = int(np.ceil(2 * reach)) + 2
        offsets = np.arange(side, dtype=np.float32)
        y = (offsets + np.float32(top - centre_yx[0])) * np.float32(microns_per_pixel)
        x = (offsets + np.float32(left - centre_yx[1])) * np.float32(microns_per_pixel)
        yy, xx = np.meshgrid(y, x, indexing="ij")
        return cls(yy, xx, microns_per_pixel), top, left

    def texture(self, rng: np.random.Generator, grain_um: float) -> Field:
        """Random smooth field of mean 0 and deviation 1, whose grains are about that wide."""
        sigma = max(grain_um / 2 / self.microns_per_pixel, 0.3)
        noise = rng.standard_normal(self.y.shape, np.float32)
        smooth: Field = ndimage.gaussian_filter(noise, sigma, mode="wrap")
        return smooth / np.float32(smooth.std() + 1e-6)


def coverage(distance: Field, softness_um: float = 0.2) -> Field:
    """Share of each pixel that lies inside, with an edge as soft as a lens makes it."""
    ramp: Field = np.clip(np.float32(0.5) - distance / np.float32(softness_um), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def blob(patch: Patch, rng: np.random.Generator, radius_um: float, wobble: float) -> Field:
    """Signed distance to a roundish outline whose radius wavers by about that share."""
    angle = np.arctan2(patch.y, patch.x)
    radius = np.ones_like(angle)
    for waves in range(2, 7):
        phase = rng.uniform(0, 2 * np.pi)
        amplitude = wobble * rng.normal() * 1.6 / waves
        radius += np.float32(amplitude) * np.cos(waves * angle + np.float32(phase))
    outline: Field = np.hypot(patch.y, patch.x) - np.float32(radius_um) * radius
    return outline


def ellipse(
    patch: Patch, centre: tuple[float, float], semi_axes: tuple[float, float], angle: float
) -> Field:
    """Signed distance (nearly) to an ellipse; the first semi-axis points along `angle`."""
    y, x = patch.y - np.float32(centre[0]), patch.x - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    a, b = np.float32(semi_axes[0]), np.float32(semi_axes[1])
    return (np.hypot(along / a, across / b) - 1) * min(a, b)


def capsule(
    patch: Patch, start: tuple[float, float], end: tuple[float, float], radius_um: float
) -> Field:
    """Signed distance to a rod with round ends."""
    dy, dx = end[0] - start[0], end[1] - start[1]
    y, x = patch.y - np.float32(start[0]), patch.x - np.float32(start[1])
    along = np.clip((y * dy + x * dx) / max(dy * dy + dx * dx, 1e-9), 0, 1).astype(np.float32)
    return np.hypot(y - along * dy, x - along * dx).astype(np.float32) - np.float32(radius_um)


def union(shapes: Iterable[Field], blend_um: float = 0.4) -> Field:
    """Signed distance to all shapes together, their joints filled up smoothly."""
    joined: Field | None = None
    for shape in shapes:
        if joined is None:
            joined = shape
            continue
        mix = np.clip(np.float32(0.5) + (shape - joined) / np.float32(2 * blend_um), 0, 1)
        joined = shape + (joined - shape) * mix - np.float32(blend_um) * mix * (1 - mix)
    assert joined is not None, "a union needs a shape"
    return joined


def polar(radius: float, angle: float) -> tuple[float, float]:
    """(y, x) of a point given by its distance from the centre and its angle."""
    return radius * float(np.sin(angle)), radius * float(np.cos(angle))


def granules(
    patch: Patch,
    rng: np.random.Generator,
    inside: NDArray[np.bool_],
    spacing_um: float,
    radius_um: tuple[float, float],
    share: float = 1.0,
) -> Field:
    """Height of granules, 0 to 1, on a jittered hexagonal lattice over the inside.

    Parameters
    ----------
    inside : (n, n) bool
        Granules have their middles here.
    spacing_um : float
        Of the lattice.
    radius_um : (float, float)
        Smallest and largest radius.
    share : float
        Of the lattice's places that hold a granule.
    """
    height = np.zeros_like(patch.y)
    side, step = patch.y.shape[0], patch.microns_per_pixel
    top, left = float(patch.y[0, 0]), float(patch.x[0, 0])
    rows = np.arange(0, side * step, spacing_um * 0.866)
    columns = np.arange(0, side * step, spacing_um)
    for number, row in enumerate(rows):
        shifts = rng.normal(0, spacing_um * 0.2, (columns.size, 2))
        radii = rng.uniform(*radius_um, columns.size)
        kept = rng.random(columns.size) < share
        for column, (dy, dx), radius, keep in zip(columns, shifts, radii, kept, strict=True):
            y, x = row + dy, column + dx + (number % 2) * spacing_um / 2
            middle = (round(y / step), round(x / step))
            if not (keep and 0 <= middle[0] < side and 0 <= middle[1] < side and inside[middle]):
                continue
            reach = int(np.ceil(radius * 1.4 / step)) + 1
            window = tuple(slice(max(m - reach, 0), m + reach + 1) for m in middle)
            distance = np.hypot(patch.y[window] - top - y, patch.x[window] - left - x)
            dome = coverage(distance.astype(np.float32) - np.float32(radius), 0.6 * radius)
            np.maximum(height[window], dome, out=height[window])
    return height
