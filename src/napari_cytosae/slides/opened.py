"""What opening an image file gives, whatever its format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari_cytosae.slides.axes import Axes, PixelSource


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image file's levels, largest first, and what is known of it.

    Parameters
    ----------
    levels : sequence of PixelSource
        Arrays, or what slices like them.
    axes : Axes
        Of every level.
    microns_per_pixel : float or None
        Of the largest level, from the file's metadata.
    digest : callable
        Computes the hex SHA-256 of the content; reads from the file.
    close : callable or None
        Closes the file; None where everything has been read.
    """

    levels: Sequence[PixelSource]
    axes: Axes
    microns_per_pixel: float | None
    digest: Callable[[], str]
    close: Callable[[], None] | None = None
