"""What a picture gives away of how it was made: covariates that a classifier can cheat with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_cytosae.cells import estimate_stain
from napari_cytosae.cohorts.table import Covariate
from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide

TECHNICAL = (
    "image_width_px", "image_height_px", "microns_per_pixel", "camera", "file_type",
    "glass_red", "glass_green", "glass_blue", "stain_density",
)  # fmt: skip
"""Covariates that are measured on every image."""

_LOOKED_AT_PX = 1200
_MAKE, _MODEL = 271, 272  # EXIF tags


def picture_facts(slide: Slide) -> dict[str, Covariate]:
    """Measure how a picture was made: size, camera, colour of the glass, strength of the stain.

    Colours are levels of 0 … 255; the strength is the optical density of red cells in green, where
    they are seen.
    """
    height, width = slide.shape
    facts: dict[str, Covariate] = {"image_width_px": float(width), "image_height_px": float(height)}
    if slide.microns_per_pixel is not None:
        facts["microns_per_pixel"] = float(slide.microns_per_pixel)
    if slide.path is not None:
        facts["file_type"] = slide.path.suffix.lower().lstrip(".")
        if camera := _camera(slide.path):
            facts["camera"] = camera
    level = next(
        (n for n, shape in enumerate(slide.level_shapes) if max(shape) <= 2 * _LOOKED_AT_PX),
        len(slide.level_shapes) - 1,
    )
    rows, columns = (min(size, 2 * _LOOKED_AT_PX) for size in slide.level_shapes[level])
    step = max(1, max(rows, columns) // _LOOKED_AT_PX)
    try:
        pixels = slide.read_region(0, 0, rows, columns, level)[::step, ::step]
    except ImageError:
        return facts  # the analysis itself says what is wrong with the pixels
    reference = estimate_stain(np.ascontiguousarray(pixels))
    for name, value in zip(("red", "green", "blue"), reference.glass, strict=True):
        facts[f"glass_{name}"] = float(value)
    if reference.red_cells_seen:
        facts["stain_density"] = float(reference.red_cell_density)
    return facts


def summarise_facts(facts: Iterable[Mapping[str, Covariate]]) -> dict[str, Covariate]:
    """Average what was measured on a patient's images; words that differ are joined by ``+``."""
    collected: dict[str, list[Covariate]] = {}
    for of_image in facts:
        for name, value in of_image.items():
            collected.setdefault(name, []).append(value)
    summary: dict[str, Covariate] = {}
    for name, values in collected.items():
        if all(isinstance(value, float) for value in values):
            summary[name] = float(np.mean([float(value) for value in values]))
        else:
            summary[name] = "+".join(sorted({str(value) for value in values}))
    return summary


def _camera(path: Path) -> str:
    """Read maker and model of the camera from EXIF; empty where the file does not say."""
    try:
        with Image.open(path) as image:
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
    words = (str(exif.get(tag, "")).strip(" \0") for tag in (_MAKE, _MODEL))
    return " ".join(word for word in words if word)
