"""What identifies an image: its content, never its file name."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides.axes import Axes, PixelSource, plane_shape
from napari_cytosae.slides.damage import read_around

# A pyramid of arrays is known by its coarsest level, up to this many px along each side, and by
# this many windows of the largest one.
_COARSE_PX = 2048
_WINDOWS = 64
_WINDOW_PX = 128


def digest_array(pixels: NDArray[np.generic]) -> str:
    """Hex SHA-256 of an array's values, shape and type; byte order and memory layout are not it."""
    native = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    sha = hashlib.sha256(f"array {native.dtype.str} {pixels.shape}".encode())
    sha.update(native.data.cast("B") if native.size else b"")
    return sha.hexdigest()


def digest_levels(levels: Sequence[PixelSource], axes: Axes) -> str:
    """Hex SHA-256 of the levels' shapes and types and a fixed sample of their values.

    A single array that is small enough to read is read whole.
    """
    facts = [axes, [[list(map(int, level.shape)), level.dtype.str] for level in levels]]
    sha = hashlib.sha256(json.dumps(["levels", facts]).encode())
    height, width = plane_shape(levels[-1].shape, axes)
    # Damage counts as black: a slide with a broken tile has an identity all the same.
    corner = (0, 0, min(height, _COARSE_PX), min(width, _COARSE_PX))
    sha.update(digest_array(read_around(levels[-1], axes, corner)[0]).encode())
    height, width = plane_shape(levels[0].shape, axes)
    side_y, side_x = min(height, _WINDOW_PX), min(width, _WINDOW_PX)
    rng = np.random.default_rng(0)
    tops = rng.integers(0, height - side_y + 1, _WINDOWS)
    lefts = rng.integers(0, width - side_x + 1, _WINDOWS)
    for top, left in zip(tops.tolist(), lefts.tolist(), strict=True):
        window = (top, left, top + side_y, left + side_x)
        sha.update(digest_array(read_around(levels[0], axes, window)[0]).encode())
    return sha.hexdigest()
