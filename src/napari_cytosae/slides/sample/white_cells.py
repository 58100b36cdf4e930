"""The five kinds of white cell, as a Romanowsky stain shows them at 100×."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides.sample import stains
from napari_cytosae.slides.sample.geometry import (
    Field,
    Patch,
    blob,
    capsule,
    coverage,
    ellipse,
    granules,
    polar,
    union,
)
from napari_cytosae.slides.sample.stains import Density, stain


@dataclass(frozen=True, slots=True)
class Painting:
    """One cell on its patch.

    Parameters
    ----------
    density : (n, n, 3) float32
        Optical density in red, green and blue.
    extent, nucleus : (n, n) bool
        Where the cell and its nucleus are, by the middles of the pixels; the nucleus lies within.
    """

    density: Density
    extent: NDArray[np.bool_]
    nucleus: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of white cell: how large it is, how common, and how it is painted."""

    radius_um: tuple[float, float]
    frequency: float
    paint: Callable[[Patch, np.random.Generator, float], Painting]


def _finish(cell: Field, nucleus: Field, cytoplasm: Density, chromatin: Field) -> Painting:
    """Lay the nucleus into the cytoplasm; most of the cytoplasm lies beside it, not over it."""
    body, core = coverage(cell, 0.3), coverage(nucleus, 0.3)
    density = cytoplasm * (body * (1 - np.float32(0.7) * core))[..., np.newaxis]
    density += stain(core * chromatin, stains.CHROMATIN)
    # A membrane that is seen from its side takes a little more of the stain.
    density *= (1 + np.float32(0.12) * np.exp(-((cell / np.float32(0.25)) ** 2)))[..., np.newaxis]
    return Painting(density, (cell < 0) | (nucleus < 0), nucleus < 0)


def _chromatin(
    patch: Patch,
    rng: np.random.Generator,
    nucleus: Field,
    *,
    strength: float,
    clumps_um: float,
    contrast: float,
) -> Field:
    """Density of a nucleus: clumps of dark chromatin, paler threads between, a dark rim."""
    clumps = np.tanh(np.float32(1.5) * patch.texture(rng, clumps_um))
    cloud = patch.texture(rng, 3.2 * clumps_um)
    depth = np.clip(-nucleus / np.float32(0.9), 0, 1)  # rounded off towards its edge
    rim = np.exp(-(((nucleus + np.float32(0.22)) / np.float32(0.2)) ** 2))
    values = np.float32(0.80) + np.float32(0.20) * depth + np.float32(0.16) * rim
    values = values * (1 + np.float32(contrast) * clumps + np.float32(0.06) * cloud)
    chromatin: Field = (np.float32(strength) * values).astype(np.float32)
    return chromatin


def _rough(patch: Patch, rng: np.random.Generator, shape: Field, depth_um: float) -> Field:
    rough: Field = shape + np.float32(depth_um) * patch.texture(rng, 1.6)
    return rough


def _neutrophil(patch: Patch, rng: np.random.Generator, radius: float) -> Painting:
    cell = blob(patch, rng, radius, 0.025)
    lobes = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
    spread = {3: 1.5, 4: 1.28, 5: 1.1}[lobes]
    start, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    middles, parts = [], []
    for number in range(lobes):
        angle = start + turn * (number * spread + rng.normal(0, 0.1))
        middle = polar(radius * rng.uniform(0.44, 0.56), angle)
        along = radius * rng.uniform(0.28, 0.36) * {3: 1.15, 4: 1.0, 5: 0.88}[lobes]
        across = along * rng.uniform(0.58, 0.82)
        parts.append(
            ellipse(patch, middle, (along, across), angle + np.pi / 2 + rng.normal(0, 0.4))
        )
        middles.append(middle)
    # Lobes hang together by threads of chromatin.
    for first, second in pairwise(middles):
        parts.append(capsule(patch, first, second, rng.uniform(0.3, 0.6)))
    nucleus = np.maximum(_rough(patch, rng, union(parts, 0.35), 0.13), cell + np.float32(0.4))
    dust = np.clip(patch.texture(rng, 0.35) - np.float32(0.2), 0, 2)
    cytoplasm = stains.NEUTROPHIL_CYTOPLASM * (
        1 + np.float32(0.08) * patch.texture(rng, 1.5)[..., np.newaxis]
    ) + stain(dust * np.float32(0.42), stains.NEUTROPHIL_GRANULE)
    chromatin = _chromatin(patch, rng, nucleus, strength=0.95, clumps_um=0.9, contrast=0.24)
    return _finish(cell, nucleus, cytoplasm, chromatin)


def _eosinophil(patch: Patch, rng: np.random.Generator, radius: float) -> Painting:
    cell = blob(patch, rng, radius, 0.02)
    start = rng.uniform(0, 2 * np.pi)
    spread = rng.uniform(1.75, 2.15)
    middles = [
        polar(radius * rng.uniform(0.44, 0.5), start + side * spread / 2) for side in (-1, 1)
    ]
    parts = [
        ellipse(
            patch,
            middle,
            (radius * rng.uniform(0.36, 0.42), radius * rng.uniform(0.29, 0.34)),
            start + side * spread / 2 + np.pi / 2 + rng.normal(0, 0.25),
        )
        for middle, side in zip(middles, (-1, 1), strict=True)
    ]
    parts.append(capsule(patch, middles[0], middles[1], 0.4))
    nucleus = np.maximum(_rough(patch, rng, union(parts, 0.3), 0.12), cell + np.float32(0.35))
    # Coarse granules of one size fill the cell, and a few lie over the nucleus.
    room = (cell < -0.35) & ((nucleus > 0.15) | (patch.texture(rng, 2.0) > 1.9))
    height = granules(patch, rng, room, 0.68, (0.30, 0.46), share=0.95)
    shine = 1 + np.float32(0.16) * patch.texture(rng, 0.9)
    cytoplasm = stains.EOSINOPHIL_CYTOPLASM + stain(height * shine, stains.EOSINOPHIL_GRANULE)
    chromatin = _chromatin(patch, rng, nucleus, strength=0.85, clumps_um=0.9, contrast=0.20)
    return _finish(cell, nucleus, cytoplasm, chromatin)


def _basophil(patch: Patch, rng: np.random.Generator, radius: float) -> Painting:
    cell = blob(patch, rng, radius, 0.03)
    start = rng.uniform(0, 2 * np.pi)
    # An S of three soft lobes, hard to see below the granules.
    middles = [
        polar(radius * 0.40, start),
        (0.0, 0.0),
        polar(radius * 0.40, start + np.pi + rng.normal(0, 0.3)),
    ]
    parts = [
        ellipse(
            patch,
            middle,
            (radius * rng.uniform(0.34, 0.42), radius * rng.uniform(0.28, 0.36)),
            start + rng.uniform(0.6, 2.2),
        )
        for middle in middles
    ]
    nucleus = np.maximum(_rough(patch, rng, union(parts, 0.6), 0.12), cell + np.float32(0.4))
    height = granules(patch, rng, cell < -0.3, 0.92, (0.26, 0.55), share=0.72)
    chromatin = _chromatin(patch, rng, nucleus, strength=0.72, clumps_um=1.2, contrast=0.08)
    cytoplasm = stains.BASOPHIL_CYTOPLASM * (
        1 + np.float32(0.1) * patch.texture(rng, 1.2)[..., np.newaxis]
    )
    painting = _finish(cell, nucleus, cytoplasm, chromatin)
    painting.density[...] += stain(height * coverage(cell), stains.BASOPHIL_GRANULE)
    return painting


def _lymphocyte(patch: Patch, rng: np.random.Generator, radius: float) -> Painting:
    cell = blob(patch, rng, radius, 0.02)
    angle = rng.uniform(0, 2 * np.pi)
    # Nearly all nucleus; the rim of cytoplasm is wider on one side, where the nucleus is dented.
    size = radius * rng.uniform(0.84, 0.90)
    middle = polar(radius - size - 0.15, angle)
    nucleus = ellipse(patch, middle, (size * rng.uniform(0.94, 1.0), size), angle)
    dent = ellipse(patch, polar(size * 1.45, angle + np.pi), (size * 0.55, size * 0.6), angle)
    nucleus = -union([-nucleus, dent + np.float32(0.15)], 0.4)
    nucleus = np.maximum(_rough(patch, rng, nucleus, 0.05), cell + np.float32(0.12))
    cytoplasm = stains.LYMPHOCYTE_CYTOPLASM * (
        1 + np.float32(0.08) * patch.texture(rng, 0.8)[..., np.newaxis]
    )
    chromatin = _chromatin(patch, rng, nucleus, strength=0.98, clumps_um=1.3, contrast=0.24)
    return _finish(cell, nucleus, cytoplasm, chromatin)


def _monocyte(patch: Patch, rng: np.random.Generator, radius: float) -> Painting:
    cell = blob(patch, rng, radius, 0.045)
    start = rng.uniform(0, 2 * np.pi)
    # A kidney: a thick rod bent around a point beside the middle.
    bend = radius * rng.uniform(0.36, 0.44)
    opening = rng.uniform(2.3, 3.3)
    shift = polar(radius * 0.12, start)
    arc = [
        tuple(c - s for c, s in zip(polar(bend, start + a), shift, strict=True))
        for a in np.linspace(-opening / 2, opening / 2, 7)
    ]
    widths = radius * rng.uniform(0.27, 0.32) * (1 + 0.08 * rng.normal(size=len(arc)))
    nucleus = union(
        [
            capsule(patch, (a[0], a[1]), (b[0], b[1]), float(width))
            for (a, b), width in zip(pairwise(arc), widths, strict=False)
        ],
        0.5,
    )
    nucleus = np.maximum(_rough(patch, rng, nucleus, 0.12), cell + np.float32(0.5))
    cytoplasm = stains.MONOCYTE_CYTOPLASM * (
        1
        + np.float32(0.10) * patch.texture(rng, 0.5)[..., np.newaxis]
        + np.float32(0.06) * patch.texture(rng, 2.5)[..., np.newaxis]
    )
    dust = granules(patch, rng, cell < -0.5, 0.9, (0.10, 0.18), share=0.25)
    cytoplasm = cytoplasm + stain(dust, stains.AZUROPHILIC_GRANULE)
    room = (cell < -0.9) & (nucleus > 0.5)
    vacuoles = granules(patch, rng, room, 1.7, (0.22, 0.6), share=0.26)
    cytoplasm = cytoplasm * (1 - np.float32(0.62) * vacuoles)[..., np.newaxis]
    chromatin = _chromatin(patch, rng, nucleus, strength=0.74, clumps_um=0.8, contrast=0.24)
    return _finish(cell, nucleus, cytoplasm, chromatin)


# Frequencies as in an adult's blood; radii as on a smear, where cells lie flat.
WHITE_CELLS: Mapping[str, Kind] = MappingProxyType(
    {
        "neutrophil": Kind((6.0, 6.9), 0.58, _neutrophil),
        "eosinophil": Kind((6.2, 7.0), 0.08, _eosinophil),
        "basophil": Kind((5.4, 6.2), 0.04, _basophil),
        "lymphocyte": Kind((4.0, 5.2), 0.22, _lymphocyte),
        "monocyte": Kind((7.4, 8.6), 0.08, _monocyte),
    }
)
