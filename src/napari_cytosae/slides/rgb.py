"""Any image as 8-bit RGB: one documented rule for each kind of pixel value."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cytosae.slides.axes import find_axes, plane_shape, read_window

# Rows are converted in bands of this many values, so that floats cost no second image.
_BAND_VALUES = 1 << 22

# Resampling overshoots: a float image of 0..1 may reach a little beyond both ends.
_OVERSHOOT = 0.01


@dataclass(frozen=True, slots=True)
class Tones:
    """Which values become black, white and opaque.

    Parameters
    ----------
    black, white : float
        Values that become 0 and 255; what lies outside is clipped. Where both are equal, the
        image has no contrast and every pixel becomes white, the background of a smear.
    opaque : float
        Alpha of an opaque pixel.
    """

    black: float
    white: float
    opaque: float

    @classmethod
    def measured(cls, blocks: Iterable[NDArray[Any]]) -> "Tones":
        """Find the tones of an image that is given block by block, channels last.

        - bool: False is black, True is white.
        - Unsigned integers, and signed ones without negative values: white is the full scale of
          the fewest bits, 8 at least, that hold the largest value. A 12-bit camera's image in a
          16-bit file is so read as 12 bits (white = 4095), and one bright pixel shifts the tones
          by a whole power of two or not at all.
        - Floats within 0..1, or within 0..255: those ranges (each with 1 % for overshoot).
        - Other floats, and integers with negative values: smallest to largest finite value.
        - An alpha channel has its own full scale, by the same rules; other ranges than 0..1 and
          0..255 count up to its largest value.
        """
        low, high, alpha_high = math.inf, -math.inf, -math.inf
        kind = "f"
        for block in blocks:
            kind = block.dtype.kind
            if block.dtype == np.uint8:
                return cls(0.0, 255.0, 255.0)
            if kind == "b":
                return cls(0.0, 1.0, 1.0)
            has_alpha = block.ndim == 3 and block.shape[2] == 4
            block_low, block_high = _finite_range(block[..., :3] if has_alpha else block)
            low, high = min(low, block_low), max(high, block_high)
            if has_alpha:
                alpha_high = max(alpha_high, _finite_range(block[..., 3])[1])
        black, white = _scale(kind, low, high)
        opaque = 1.0 if alpha_high <= 0 else _scale(kind, 0.0, alpha_high)[1]
        return cls(black, white, opaque)

    def apply(self, block: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert a block (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) to (H, W, 3) uint8."""
        height, width = block.shape[:2]
        rgb = np.empty((height, width, 3), np.uint8)
        if block.dtype == np.uint8 and not (block.ndim == 3 and block.shape[2] == 4):
            rgb[:] = block[..., np.newaxis] if block.ndim == 2 else block
            return rgb
        rows = max(1, _BAND_VALUES // (width * (block.shape[2] if block.ndim == 3 else 1)))
        for top in range(0, height, rows):
            rgb[top : top + rows] = self._convert(block[top : top + rows])
        return rgb

    def _convert(self, block: NDArray[Any]) -> NDArray[np.uint8]:
        # float32 holds every 16-bit value exactly; wider types need more.
        work = np.float32 if block.dtype.itemsize <= 2 or block.dtype == np.float32 else np.float64
        values: NDArray[np.floating] = block.astype(work)
        if values.ndim == 2:
            values = values[..., np.newaxis]
        colour = values[..., :3]
        if self.white > self.black:
            # Halved first, so that not even the span of the whole type overflows.
            low, high = self.black / 2, self.white / 2
            scaled = (np.clip(colour / 2, low, high) - low) / (high - low)
        else:
            scaled = np.where(np.isnan(colour), np.nan, work(1))
        if values.shape[2] == 4:
            alpha = np.clip(np.nan_to_num(values[..., 3:], nan=0.0) / self.opaque, 0, 1)
            # Nothing shows through a transparent pixel, not even a NaN.
            scaled = np.where(alpha == 0, 1, scaled * alpha + (1 - alpha))
        scaled = np.where(np.isnan(scaled).any(axis=2, keepdims=True), 1, scaled)
        return np.floor(scaled * 255 + 0.5).astype(np.uint8)


def to_rgb8(array: ArrayLike, *, name: str = "image") -> NDArray[np.uint8]:
    """Convert an image of any common kind to 8-bit RGB.

    Grey is repeated in all three channels; alpha is composited over white, the background of a
    smear; `Tones.measured` says how 16-bit, float, signed and boolean values are scaled. A pixel
    with NaN in any channel becomes white, as if nothing had been imaged there; +inf counts as the
    brightest value, -inf as the darkest.

    Parameters
    ----------
    array : array-like
        (H, W), (H, W, 1), (H, W, 3), (H, W, 4), or (3, H, W) where that is unambiguous.
    name : str
        What to call the image in an error.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3), always a new array.

    Raises
    ------
    ImageError
        If the image is empty, a stack, or has a number of channels that is not 1, 3 or 4.

    Examples
    --------
    >>> to_rgb8(np.array([[0, 4095]], np.uint16))[..., 0]
    array([[  0, 255]], dtype=uint8)
    """
    pixels = np.asarray(array)
    axes = find_axes(pixels.shape, pixels.dtype, name)
    height, width = plane_shape(pixels.shape, axes)
    block = read_window(pixels, axes, 0, 0, height, width)
    return Tones.measured(bands(block)).apply(block)


def bands(block: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut a block into bands of rows of bounded size."""
    rows = max(1, _BAND_VALUES // math.prod(block.shape[1:]))
    for top in range(0, block.shape[0], rows):
        yield block[top : top + rows]


def _finite_range(block: NDArray[Any]) -> tuple[float, float]:
    if block.dtype.kind == "f":
        block = block[np.isfinite(block)]
        if block.size == 0:
            return math.inf, -math.inf
    return float(block.min()), float(block.max())


def _scale(kind: str, low: float, high: float) -> tuple[float, float]:
    """Black and white for values of one kind between `low` and `high`."""
    if high < low:  # not one finite value
        return 0.0, 1.0
    if kind in "ui" and low >= 0:
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    if kind == "f":
        for full in (1.0, 255.0):
            if low >= -_OVERSHOOT * max(1.0, high) and high <= full * (1 + _OVERSHOOT):
                return 0.0, full
    return low, high
