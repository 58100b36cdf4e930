"""Microns per pixel, from whichever metadata a TIFF carries."""

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import tifffile

from napari_cytosae.errors import ImageError

# Resolution tags coarser than this are a printer's or a screen's (72, 96, 300 dpi are 353, 265
# and 85 µm), not a microscope's; and finer than this no lens resolves.
_COARSEST_UM = 10.0
_FINEST_UM = 0.005

_MICRONS_PER_UNIT = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "inch": 25_400.0,
    "in": 25_400.0,
    "m": 1e6,
}

_APERIO_MPP = re.compile(r"(?:^|\|)\s*MPP\s*=\s*([0-9.eE+-]+)")


def check_microns_per_pixel(value: float | None, name: str) -> float | None:
    """Return a pixel size that a user gave as a float, or None.

    Raises
    ------
    ImageError
        If it is not a positive finite number.
    """
    if value is None:
        return None
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ImageError(f"{name}: {value} is no pixel size; give microns per pixel, above 0.")
    return number


def microns_per_pixel(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> float | None:
    """Pixel size of a series' largest level along X, or None where the file does not say.

    Asked in this order: OME PhysicalSizeX, Aperio's MPP, ImageJ's unit, and the resolution tags,
    which count only between 0.005 and 10 µm per pixel.
    """
    page = series.keyframe
    if tif.is_ome and (size := _ome(tif.ome_metadata or "", page.imagewidth, page.imagelength)):
        return size
    if match := _APERIO_MPP.search(page.description or ""):
        try:
            return _plausible(float(match[1]))
        except ValueError:
            return None
    pixels_per_unit = _x_resolution(page)
    if pixels_per_unit is None:
        return None
    if tif.is_imagej:
        # ImageJ writes µ as an escape, and resolution tags without a unit.
        unit = str((tif.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    else:
        tag = page.tags.get("ResolutionUnit")
        unit = {2: "inch", 3: "cm"}.get(2 if tag is None else int(tag.value), "")
    microns = _MICRONS_PER_UNIT.get(unit)
    return None if microns is None else _plausible(microns / pixels_per_unit)


def _ome(xml: str, width: int, height: int) -> float | None:
    """PhysicalSizeX of the first image of that size that has one."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    for pixels in root.iter():
        if pixels.tag.rsplit("}", 1)[-1] != "Pixels":
            continue
        text = pixels.get("PhysicalSizeX")
        size_matches = (pixels.get("SizeX"), pixels.get("SizeY")) == (str(width), str(height))
        microns = _MICRONS_PER_UNIT.get(pixels.get("PhysicalSizeXUnit", "µm"))
        if text is None or microns is None or not size_matches:
            continue
        try:
            return _plausible(float(text) * microns)
        except ValueError:
            return None
    return None


def _x_resolution(page: Any) -> float | None:
    tag = page.tags.get("XResolution")
    if tag is None:
        return None
    numerator, denominator = tag.value
    if not numerator or not denominator:
        return None
    return float(numerator) / float(denominator)


def _plausible(microns: float) -> float | None:
    return microns if _FINEST_UM <= microns <= _COARSEST_UM else None
