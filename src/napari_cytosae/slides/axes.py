"""Which axis of an array is which, and what to say when that cannot be told."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError

Axes = Literal["YX", "YXS", "SYX"]

# More samples than this at the end of a shape are columns of a stack, not channels.
_MOST_CHANNELS = 16


class PixelSource(Protocol):
    """What a level is read from: a numpy, zarr or dask array, or anything that slices like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and samples, in the order of the source's axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""

    def __getitem__(self, key: Any, /) -> Any: ...


def find_axes(shape: Sequence[int], dtype: np.dtype[Any], name: str) -> Axes:
    """Tell grey, channels-last and channels-first images apart.

    (H, W) is grey; (H, W, 1), (H, W, 3) and (H, W, 4) have their channels last. (3, H, W) and
    (1, H, W) are taken as channels first where both H and W are above 4. Four planes in front are
    not: they are as often a stack, or four stains, as they are red, green, blue and alpha.

    Raises
    ------
    ImageError
        If the image is empty, its values are no intensities, or its axes cannot be told.
    """
    if dtype.kind not in "buif":
        raise ImageError(
            f"{name} holds values of type {dtype}, which are no intensities; "
            "use whole numbers or floats."
        )
    sizes = " × ".join(str(n) for n in shape)
    if 0 in shape or not shape:
        raise ImageError(f"{name} is empty ({sizes or 'no axes'}): there is no pixel to look at.")
    if len(shape) == 1:
        raise ImageError(f"{name} has one axis of {sizes} values; an image has height and width.")
    if len(shape) == 2:
        return "YX"
    if len(shape) > 3:
        raise ImageError(
            f"{name} has {len(shape)} axes ({sizes}): a z-stack or time series. "
            "Choose one plane of it."
        )
    first, height, last = shape
    if last in (1, 3, 4):
        return "YXS"
    if first in (1, 3) and min(height, last) > 4:
        return "SYX"
    if last <= _MOST_CHANNELS:
        raise ImageError(
            f"{name} has {last} channels ({sizes}); choose the three that are red, green and blue."
        )
    raise ImageError(
        f"{name} is a stack of {first} planes ({sizes}): choose one plane, "
        "or the three that are red, green and blue."
    )


def plane_shape(shape: Sequence[int], axes: Axes) -> tuple[int, int]:
    """Height and width of an array with these axes."""
    return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


def read_window(
    source: PixelSource, axes: Axes, y: int, x: int, height: int, width: int
) -> NDArray[Any]:
    """Read one window of a source, channels last: (height, width) or (height, width, samples)."""
    window = (slice(y, y + height), slice(x, x + width))
    if axes == "SYX":
        return np.moveaxis(np.asarray(source[(slice(None), *window)]), 0, -1)
    return np.asarray(source[window])


def check_levels(sources: Sequence[PixelSource], name: str) -> Axes:
    """Check that arrays are the levels of one image, the largest first, and tell their axes.

    Raises
    ------
    ImageError
        If there is none, one is larger than the one before it, or their channels or types differ.
    """
    if not sources:
        raise ImageError(f"{name} has no levels: there is no pixel to look at.")
    axes = find_axes(sources[0].shape, sources[0].dtype, name)
    previous = plane_shape(sources[0].shape, axes)
    for number, level in enumerate(sources[1:], start=1):
        same_kind = len(level.shape) == len(axes) and (
            "S" not in axes or level.shape[axes.index("S")] == sources[0].shape[axes.index("S")]
        )
        if not same_kind or level.dtype != sources[0].dtype:
            raise ImageError(
                f"{name}: level {number} is {level.dtype} {tuple(level.shape)}, which does not "
                f"go with level 0, {sources[0].dtype} {tuple(sources[0].shape)}."
            )
        shape = plane_shape(level.shape, axes)
        if 0 in shape or shape[0] > previous[0] or shape[1] > previous[1]:
            raise ImageError(
                f"{name}: level {number} ({shape[0]} × {shape[1]}) does not fit below "
                f"level {number - 1} ({previous[0]} × {previous[1]}); give the largest first."
            )
        previous = shape
    return axes
