"""What opening an image file gives, whatever its format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides.axes import Axes, PixelSource
from napari_cytosae.slides.pixel_size import PixelSize

if TYPE_CHECKING:
    from napari_cytosae.slides.virtual import TileMaker

ReadPicture = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image file's levels, largest first, and what is known of it.

    Parameters
    ----------
    levels : sequence of PixelSource
        Arrays, or what slices like them.
    axes : Axes
        Of every level.
    pixel_size_um : (float, float) or None
        Height and width of a pixel of the largest level, from the file's metadata.
    digest : callable
        Computes the hex SHA-256 of the content; reads from the file.
    close : callable or None
        Closes the file; None where everything has been read.
    backend : str
        What reads the pixels.
    associated : mapping of str to callable
        Pictures of the glass beside the scan, each read when called for: (H, W, 3) uint8.
    maker : TileMaker or None
        Makes the last levels, where the file does not have them.
    stored : int or None
        How many of the levels the file has; all where None.
    """

    levels: Sequence[PixelSource]
    axes: Axes
    pixel_size_um: PixelSize | None
    digest: Callable[[], str]
    close: Callable[[], None] | None = None
    backend: str = "tifffile"
    associated: Mapping[str, ReadPicture] = field(default_factory=dict)
    maker: "TileMaker | None" = None
    stored: int | None = None
