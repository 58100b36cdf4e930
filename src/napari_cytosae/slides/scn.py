"""What the XML of a Leica SCN file says of its images."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ScnArea:
    """One image of an SCN file.

    Parameters
    ----------
    is_overview : bool
        Whether it shows the whole glass.
    pixel_size_um : (float, float) or None
        Height and width of a pixel at the largest level.
    """

    is_overview: bool
    pixel_size_um: tuple[float, float] | None


@lru_cache(maxsize=8)
def read_scn(xml: str) -> tuple[ScnArea, ...]:
    """Describe the images of an SCN file in their order; none where the XML cannot be read.

    Sizes are in nanometres on the glass. The overview is as large as the whole collection.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return ()
    areas: list[ScnArea] = []
    for collection in _children(root, "collection"):
        whole = (collection.get("sizeX"), collection.get("sizeY"))
        for image in _children(collection, "image"):
            view = next(iter(_children(image, "view")), None)
            size = (None, None) if view is None else (view.get("sizeX"), view.get("sizeY"))
            areas.extend(
                ScnArea(size == whole and None not in size, _pixel_size(size, pixels))
                for pixels in _children(image, "pixels")
            )
    # A scan of all the glass, alone in its file, is no overview of another.
    if areas and all(area.is_overview for area in areas):
        return tuple(ScnArea(False, area.pixel_size_um) for area in areas)
    return tuple(areas)


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if child.tag.rsplit("}", 1)[-1] == name]


def _pixel_size(
    size_nm: tuple[str | None, str | None], pixels: ElementTree.Element
) -> tuple[float, float] | None:
    try:
        x = float(size_nm[0] or "") / float(pixels.get("sizeX", "")) / 1000
        y = float(size_nm[1] or "") / float(pixels.get("sizeY", "")) / 1000
    except (ValueError, ZeroDivisionError):
        return None
    return y, x
