"""Which image of a TIFF file is the scan, which are pictures of the glass, what channels it has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tifffile

from napari_cytosae.errors import ChannelsError, ImageError
from napari_cytosae.slides.axes import Axes
from napari_cytosae.slides.scn import read_scn

# Pictures of the glass that scanners store beside the scan. A label can carry a patient's name.
_NOT_THE_SCAN = re.compile(r"\b(label|macro|map|overview|thumbnail|barcode)\b", re.IGNORECASE)

_PLANES = {"Z": "a z-stack of {} planes", "T": "a time series of {} images"}


class NeedsOpenSlideError(ImageError):
    """OpenSlide puts together what tifffile would show in part or out of place."""


@dataclass(frozen=True, slots=True)
class TiffImages:
    """The images of a file, told apart.

    Parameters
    ----------
    scan : tifffile.TiffPageSeries
        The image itself.
    associated : mapping of str to tifffile.TiffPageSeries
        Pictures of the glass, by what they show: ``"label"``, ``"macro"``, ``"thumbnail"``, …
    """

    scan: tifffile.TiffPageSeries
    associated: Mapping[str, tifffile.TiffPageSeries]


def find_images(tif: tifffile.TiffFile, name: str) -> TiffImages:
    """Tell the scan, the largest image that is no picture of the glass, from the others.

    Raises
    ------
    ImageError
        If there is no image, or several that could be meant.
    """
    if tif.is_bif:
        raise NeedsOpenSlideError(
            f"{name} is a Ventana file, whose tiles overlap; the openslide extra (pip install "
            '"napari-cytosae[openslide]") reads it.'
        )
    kinds = {series: _kind(tif, number, series) for number, series in enumerate(tif.series)}
    if kinds and all(kinds.values()):
        # An image that is all there is, is what a person wants to see, whatever it is called.
        kinds = dict.fromkeys(kinds, "")
    scans = [series for series, kind in kinds.items() if not kind]
    if not scans:
        raise ImageError(f"{name} holds no image; copy it again from its source.")
    areas = [s.keyframe.imagewidth * s.keyframe.imagelength for s in scans]
    largest = [s for s, area in zip(scans, areas, strict=True) if area == max(areas)]
    if tif.is_scn and len(scans) > 1:
        raise NeedsOpenSlideError(
            f"{name} holds {len(scans)} scanned areas; with the openslide extra (pip install "
            '"napari-cytosae[openslide]") they are read as one slide.'
        )
    if len(largest) > 1:
        raise ImageError(
            f"{name} holds {len(largest)} images of the same size; save the one to analyse."
        )
    associated: dict[str, tifffile.TiffPageSeries] = {}
    for series, kind in kinds.items():
        if kind:
            number = sum(each.split(" ")[0] == kind for each in associated)
            associated[kind if not number else f"{kind} {number + 1}"] = series
    return TiffImages(largest[0], associated)


def _kind(tif: tifffile.TiffFile, number: int, series: tifffile.TiffPageSeries) -> str:
    """Say what picture of the glass a series is; nothing where it may be the scan."""
    if tif.is_scn:
        areas = read_scn(tif.pages.first.description)
        return "macro" if number < len(areas) and areas[number].is_overview else ""
    match = _NOT_THE_SCAN.search(series.name or "")
    return match[1].lower() if match else ""


@dataclass(frozen=True, slots=True)
class Channels:
    """How the channels of a series are stored, and which of them are read.

    Parameters
    ----------
    axes : Axes
        Of the stored level.
    chosen : tuple of int or None
        The channels to read; all where None.
    multiple : bool
        Whether the file has separate stains rather than colours.
    """

    axes: Axes
    chosen: tuple[int, ...] | None
    multiple: bool


def find_channels(
    series: tifffile.TiffPageSeries, chosen: Sequence[int] | None, name: str
) -> Channels:
    """Check that a series is one grey or colour image, or that the chosen channels make one.

    Raises
    ------
    ImageError
        If it is a stack, has too many channels, or not the chosen ones.
    """
    sizes = named_sizes(series)
    if not sizes or 0 in sizes.values():
        raise ImageError(f"{name} holds no image; copy it again from its source.")
    for axis, size in sizes.items():
        if axis not in "YXSC":
            words = _PLANES.get(axis, "a stack of {} images").format(size)
            raise ImageError(f"{name} is {words} (axis {axis}); choose one of them.")
    count = sizes.get("S", 1) * sizes.get("C", 1)
    check_channels(count, chosen, name, colours=(1, 3) if "C" in sizes else (1, 3, 4))
    order = "".join(sizes).replace("C", "S")
    if order == "YX":
        axes: Axes = "YX"
    elif order == "YXS":
        axes = "YXS"
    elif order == "SYX":
        axes = "SYX"
    else:
        raise ImageError(f"{name} has axes {series.axes}, which cannot be read as one image.")
    if count == 1:
        chosen = None
    return Channels(axes, None if chosen is None else tuple(chosen), count not in (1, 3, 4))


def named_sizes(series: tifffile.TiffPageSeries) -> dict[str, int]:
    """Return the sizes of a series' axes, those of a single element left out but for Y and X."""
    return {
        axis: int(size)
        for axis, size in zip(series.axes, series.shape, strict=True)
        if size != 1 or axis in "YX"
    }


def check_channels(
    count: int, chosen: Sequence[int] | None, name: str, colours: Sequence[int] = (1, 3)
) -> None:
    """Check that an image has colours as it is, or that the chosen channels make some.

    Raises
    ------
    ImageError
        If it has not.
    """
    if chosen is None:
        if count not in colours:
            raise ChannelsError(
                f"{name} has {count} channels; choose the three that are red, green and blue "
                "(channels=…), or a single one.",
                count,
            )
    elif len(chosen) not in (1, 3):
        raise ImageError(
            f"{name}: {len(chosen)} channels make no image; choose one, or the three that are red, "
            "green and blue."
        )
    elif not all(0 <= each < count for each in chosen):
        raise ImageError(
            f"{name} has {count} channel(s), numbered from 0; there is no channel "
            f"{next(each for each in chosen if not 0 <= each < count)}."
        )


def level_axes(shape: Sequence[Any]) -> Axes:
    """Axes of a level as it is read: grey, or channels last."""
    return "YXS" if len(shape) == 3 else "YX"
