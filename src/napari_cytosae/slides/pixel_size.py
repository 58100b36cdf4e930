"""Microns per pixel, from whichever metadata a TIFF carries."""

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import tifffile

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.scn import read_scn

PixelSize = tuple[float, float]
"""Height and width of a pixel in µm."""

# Resolution tags coarser than this are a printer's or a screen's (72, 96, 300 dpi are 353, 265
# and 85 µm), not a microscope's; and finer than this no lens resolves.
_COARSEST_UM = 10.0
_FINEST_UM = 0.005

# Scanners measure both directions one by one; a difference of up to 1 % is theirs, not the image's.
_SQUARE_TOLERANCE = 0.01

MICRONS_PER_UNIT = {
    "pm": 1e-6,
    "picometer": 1e-6,
    "Å": 1e-4,
    "angstrom": 1e-4,
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
    "meter": 1e6,
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


def check_pixel_size(given: float | PixelSize | None, name: str) -> PixelSize | None:
    """Return height and width of a pixel, where one number stands for both.

    Raises
    ------
    ImageError
        If one is not a positive finite number.
    """
    if isinstance(given, tuple):
        height, width = (check_microns_per_pixel(size, name) for size in given)
        return None if height is None or width is None else (height, width)
    size = check_microns_per_pixel(given, name)
    return None if size is None else (size, size)


def in_words(size: PixelSize | None) -> str:
    """Write a pixel size, without its unit."""
    if size is None:
        return "unknown"
    return f"{size[1]:g}" if is_square(size) else f"{size[0]:g} × {size[1]:g}"


def plausible(height_um: float, width_um: float) -> PixelSize | None:
    """Return a pixel size that a microscope can have, or None."""
    sizes = (height_um, width_um)
    return sizes if all(_FINEST_UM <= size <= _COARSEST_UM for size in sizes) else None


def is_square(size: PixelSize) -> bool:
    """Tell whether pixels are as high as they are wide."""
    return abs(size[0] - size[1]) <= _SQUARE_TOLERANCE * size[1]


def side_of_square(size: PixelSize | None, name: str) -> float | None:
    """Give the one number that says how large the pixels of an image are; None where unknown.

    Raises
    ------
    ImageError
        If pixels are not square.
    """
    if size is None:
        return None
    if not is_square(size):
        raise ImageError(
            f"The pixels of {name} are not square ({in_words(size)} µm); resample the image, or "
            "give the microns per pixel that it is to be taken for."
        )
    return size[1]


def tiff_pixel_size(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> PixelSize | None:
    """Pixel size of a series' largest level, or None where the file does not say.

    Asked in this order: OME's PhysicalSize, Aperio's MPP, Leica's and Philips' XML, ImageJ's unit,
    and the resolution tags. A size counts only between 0.005 and 10 µm per pixel.
    """
    page = series.keyframe
    if tif.is_ome and (size := _ome(tif.ome_metadata or "", page.imagewidth, page.imagelength)):
        return size
    if match := _APERIO_MPP.search(page.description or ""):
        return _both(match[1])
    if tif.is_scn:
        areas = read_scn(tif.pages.first.description)
        number = list(tif.series).index(series)
        size = areas[number].pixel_size_um if number < len(areas) else None
        return None if size is None else plausible(*size)
    if tif.is_philips and (size := _philips(tif.philips_metadata or "")):
        return size
    if tif.is_imagej:
        # ImageJ writes µ as an escape, and resolution tags without a unit.
        unit = str((tif.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    else:
        tag = page.tags.get("ResolutionUnit")
        unit = {2: "inch", 3: "cm"}.get(2 if tag is None else int(tag.value), "")
    microns = MICRONS_PER_UNIT.get(unit)
    per_unit_x = _resolution(page, "XResolution")
    per_unit_y = _resolution(page, "YResolution") or per_unit_x
    if microns is None or per_unit_x is None or per_unit_y is None:
        return None
    return plausible(microns / per_unit_y, microns / per_unit_x)


def _ome(xml: str, width: int, height: int) -> PixelSize | None:
    """PhysicalSizeY and PhysicalSizeX of the first image of that size that has one."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    for pixels in root.iter():
        if pixels.tag.rsplit("}", 1)[-1] != "Pixels":
            continue
        if (pixels.get("SizeX"), pixels.get("SizeY")) != (str(width), str(height)):
            continue
        size_x, size_y = _ome_size(pixels, "X"), _ome_size(pixels, "Y")
        if size_x is not None and (size := plausible(size_y or size_x, size_x)):
            return size
    return None


def _ome_size(pixels: ElementTree.Element, axis: str) -> float | None:
    microns = MICRONS_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    try:
        return None if microns is None else float(pixels.get(f"PhysicalSize{axis}", "")) * microns
    except ValueError:
        return None


def _philips(xml: str) -> PixelSize | None:
    """DICOM_PIXEL_SPACING of the largest level: two quoted numbers, rows first, in mm."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    for element in root.iter("Attribute"):
        if element.get("Name") == "DICOM_PIXEL_SPACING" and element.text:
            try:
                row, column = (float(part.strip('"')) for part in element.text.split())
            except ValueError:
                continue
            return plausible(row * 1e3, column * 1e3)
    return None


def _both(text: str) -> PixelSize | None:
    try:
        return plausible(float(text), float(text))
    except ValueError:
        return None


def _resolution(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None:
        return None
    numerator, denominator = tag.value
    if not numerator or not denominator:
        return None
    return float(numerator) / float(denominator)
