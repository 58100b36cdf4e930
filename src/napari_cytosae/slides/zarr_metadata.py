"""What the metadata of an OME-Zarr image (NGFF 0.4 and 0.5, and older) say of it."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.pixel_size import MICRONS_PER_UNIT, PixelSize, plausible

# Version 0.2 and before did not name the axes; these are always theirs.
_UNNAMED_AXES = "tczyx"

_RED_GREEN_BLUE = ("FF0000", "00FF00", "0000FF")


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image of several levels.

    Parameters
    ----------
    paths : tuple of str
        The levels' arrays within the image's group, the largest first.
    axes : str
        One lower-case letter per axis: t, c, z, y, x.
    pixel_size_um : (float, float) or None
        Height and width of a pixel of the largest level.
    """

    paths: tuple[str, ...]
    axes: str
    pixel_size_um: PixelSize | None


def read_multiscale(attributes: Mapping[str, Any], name: str) -> Multiscale:
    """Read the ``multiscales`` of a group's OME attributes; the first where there are several.

    Raises
    ------
    ImageError
        If the group holds something else than an image.
    """
    for key, words in (
        ("plate", "a plate of many wells; open one of its images (row/column/field)"),
        ("well", "a well of several fields; open one of them"),
        ("image-label", "a label image, not a picture"),
    ):
        if key in attributes:
            raise ImageError(f"{name} is {words}.")
    scales = attributes.get("multiscales")
    if not scales:
        raise ImageError(f"{name} is a Zarr group without an OME image (no multiscales in it).")
    first = scales[0]
    axes = first.get("axes") or list(_UNNAMED_AXES)
    letters = "".join(_letter(axis) for axis in axes)
    if "y" not in letters or "x" not in letters:
        raise ImageError(f"{name} has axes {letters}, which cannot be read as one image.")
    datasets = first["datasets"]
    return Multiscale(
        tuple(str(dataset["path"]) for dataset in datasets),
        letters,
        _pixel_size(axes, letters, first, datasets[0]),
    )


def stains(attributes: Mapping[str, Any]) -> bool:
    """Tell whether three channels are shown in other colours than red, green and blue."""
    channels = (attributes.get("omero") or {}).get("channels") or []
    colours = [str(channel.get("color", "")).upper().lstrip("#")[:6] for channel in channels]
    return len(colours) == 3 and all(colours) and tuple(colours) != _RED_GREEN_BLUE


def series_names(root: Path) -> list[str]:
    """Names of the images that bioformats2raw wrote into one folder, from its OME-XML."""
    try:
        tree = ElementTree.parse(root / "OME" / "METADATA.ome.xml").getroot()
    except (OSError, ElementTree.ParseError):
        return []
    images = [element for element in tree.iter() if element.tag.rsplit("}", 1)[-1] == "Image"]
    return [image.get("Name", "") for image in images]


def picture_kind(name: str) -> str:
    """Say which picture of the glass an image's name means; nothing where it may be the scan."""
    match = re.search(r"\b(label|macro|overview|thumbnail|barcode)\b", name, re.IGNORECASE)
    return match[1].lower() if match else ""


def _letter(axis: Any) -> str:
    name = axis["name"] if isinstance(axis, Mapping) else axis
    return str(name)[:1].lower()


def _pixel_size(
    axes: Sequence[Any], letters: str, scale: Mapping[str, Any], dataset: Mapping[str, Any]
) -> PixelSize | None:
    """Multiply the scales of the level and of the whole; they mean something only with units."""
    factors = [1.0] * len(letters)
    for owner in (scale, dataset):
        for transform in owner.get("coordinateTransformations") or ():
            steps = transform.get("scale") if transform.get("type") == "scale" else None
            if isinstance(steps, Sequence) and len(steps) == len(letters):
                factors = [a * float(b) for a, b in zip(factors, steps, strict=True)]
    sizes = []
    for letter in "yx":
        axis = axes[letters.index(letter)]
        unit = axis.get("unit") if isinstance(axis, Mapping) else None
        microns = MICRONS_PER_UNIT.get(str(unit))
        if microns is None:
            return None
        sizes.append(factors[letters.index(letter)] * microns)
    return plausible(sizes[0], sizes[1]) if all(map(math.isfinite, sizes)) else None
