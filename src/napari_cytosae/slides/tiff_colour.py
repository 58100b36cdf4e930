"""TIFF's ways to store colour, brought to grey, RGB or RGBA."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from napari_cytosae.errors import ImageError

ColourConversion = Callable[[NDArray[Any]], NDArray[Any]]

# Codecs that give RGB back, whatever the tag says of what is stored.
_DECODED_TO_RGB = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.WEBP, COMPRESSION.JPEGXL)


def colour_conversion(
    page: tifffile.TiffPage, name: str, *, keep_extra: bool = False
) -> ColourConversion | None:
    """Return what to do to the page's blocks (h, w) or (h, w, samples), or None for nothing.

    Parameters
    ----------
    page : tifffile.TiffPage
    name : str
        What to call the file in an error.
    keep_extra : bool
        Whether a fourth sample of unknown meaning stays.

    Raises
    ------
    ImageError
        If the colours are of a kind for print or for raw sensors.
    """
    photometric, compression = page.photometric, page.compression
    if photometric == PHOTOMETRIC.MINISWHITE:
        full = (1 << page.bitspersample) - 1
        return lambda block: ~block if block.dtype.kind == "b" else (full - block)
    if photometric == PHOTOMETRIC.PALETTE:
        # (3, 2 ** bits) uint16; tifffile keeps whatever scale the writer used.
        colours = np.moveaxis(np.asarray(page.colormap), 0, -1)
        return lambda block: (colours[block] >> 8).astype(np.uint8)
    if compression == COMPRESSION.APERIO_JP2000_YCBC or (
        photometric == PHOTOMETRIC.YCBCR and compression not in _DECODED_TO_RGB
    ):
        return _ycbcr_to_rgb
    if photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR):
        raise ImageError(
            f"{name} stores its colours as {PHOTOMETRIC(photometric).name}; save it as RGB."
        )
    unknown = page.samplesperpixel == 4 and not keep_extra
    if unknown and page.extrasamples[-1:] == (EXTRASAMPLE.UNSPECIFIED,):
        return lambda block: block[..., :3]
    return None


def _ycbcr_to_rgb(block: NDArray[Any]) -> NDArray[np.uint8]:
    """ITU-R BT.601, full range, as in JFIF."""
    y, cb, cr = np.moveaxis(block[..., :3].astype(np.float32), -1, 0)
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    whole: NDArray[np.uint8] = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return whole
