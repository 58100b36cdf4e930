"""Red cells and platelets."""

import numpy as np

from napari_cytosae.slides.sample import stains
from napari_cytosae.slides.sample.geometry import (
    Field,
    Patch,
    blob,
    capsule,
    coverage,
    ellipse,
    polar,
    union,
)
from napari_cytosae.slides.sample.stains import Density, stain

# Shares of red cells by shape: mostly normal discs, and a few of what a morphologist counts.
RED_CELL_SHAPES = {
    "normal": 0.80,
    "ovalocyte": 0.07,
    "target": 0.04,
    "teardrop": 0.03,
    "stomatocyte": 0.03,
    "spherocyte": 0.03,
}


def paint_red_cell(patch: Patch, rng: np.random.Generator, radius_um: float, shape: str) -> Density:
    """Optical density (n, n, 3) of one red cell."""
    turn = rng.uniform(0, 2 * np.pi)
    if shape == "ovalocyte":
        stretch = rng.uniform(1.18, 1.35)
        cell = ellipse(patch, (0, 0), (radius_um * stretch, radius_um / stretch), turn)
    elif shape == "teardrop":
        body = ellipse(patch, (0, 0), (radius_um * 0.86, radius_um * 0.8), turn)
        tail = [
            capsule(patch, polar(radius_um * a, turn), polar(radius_um * b, turn), width)
            for a, b, width in ((0.5, 0.95, 0.85), (0.9, 1.3, 0.4), (1.2, 1.5, 0.2))
        ]
        cell = union([body, *tail], 0.7)
    else:
        cell = blob(patch, rng, radius_um, 0.045)
        stretch = rng.uniform(1.0, 1.12)
        squeeze = ellipse(patch, (0, 0), (radius_um * stretch, radius_um / stretch), turn)
        cell = np.float32(0.5) * (cell + squeeze)
    thickness = _thickness(patch, rng, cell, radius_um, shape, turn)
    thickness = thickness * (1 + np.float32(0.03) * patch.texture(rng, 1.0))
    strength = np.float32(np.clip(rng.normal(1.0, 0.10), 0.7, 1.3))
    # The outline bends light: a thin bright hem lies around it.
    hem = np.float32(0.10) * np.exp(-(((cell - np.float32(0.3)) / np.float32(0.16)) ** 2))
    values = coverage(cell, 0.3) * thickness * strength - hem
    return stain(values, stains.HAEMOGLOBIN)


def _thickness(
    patch: Patch, rng: np.random.Generator, cell: Field, radius: float, shape: str, turn: float
) -> Field:
    """Haemoglobin per area: a full rim and a paler middle, of about a third of the width."""
    full: Field = np.float32(0.55) + np.float32(0.45) * np.clip(-cell / np.float32(0.7), 0, 1)
    if shape == "spherocyte":
        return np.float32(1.2) * full
    if shape == "stomatocyte":
        slit = ellipse(patch, (0, 0), (radius * 0.5, radius * 0.16), turn)
        return full * (1 - np.float32(0.6) * coverage(slit, 0.9))
    shift_y, shift_x = rng.normal(0, 0.05 * radius, 2).astype(np.float32)
    from_middle = np.hypot(patch.y - shift_y, patch.x - shift_x) / np.float32(radius)
    to_outline = np.clip(1 + cell / np.float32(radius), 0, 1.2)  # 1 at the outline
    # The dimple is half round, half as long as the cell.
    off = (from_middle + to_outline) / 2
    if shape == "target":
        dip = np.float32(0.62) * np.exp(-(((off - np.float32(0.52)) / np.float32(0.16)) ** 2))
    else:
        width = np.float32(rng.uniform(0.36, 0.46))
        dip = np.float32(rng.uniform(0.35, 0.82)) / (1 + (off / width) ** 4)
    dimpled: Field = full * (1 - dip)
    return dimpled


def paint_platelet(patch: Patch, rng: np.random.Generator, radius_um: float) -> Density:
    """Optical density (n, n, 3) of one platelet: a pale hem around purple granules."""
    stretch = rng.uniform(1.0, 1.25)
    turn = rng.uniform(0, 2 * np.pi)
    body = ellipse(patch, (0, 0), (radius_um * stretch, radius_um / stretch), turn)
    body = body + np.float32(0.12) * patch.texture(rng, 0.9)
    core = coverage(body + np.float32(0.35 * radius_um), 0.6)
    grains = np.clip(np.float32(0.55) + np.float32(0.4) * patch.texture(rng, 0.4), 0, 1.5)
    hem = stain(coverage(body, 0.3), stains.PLATELET_CYTOPLASM)
    return hem + stain(core * grains, stains.PLATELET_GRANULE)
