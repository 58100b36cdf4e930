"""PNG, JPEG and BMP: camera fields and single-cell crops, decoded at once."""

import hashlib
import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import find_axes
from napari_cytosae.slides.large_pictures import open_large_picture, picture_header
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.tiffs import FIELD_PX

PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM")  # first bytes of PNG, JPEG and BMP

_FORMATS = ("PNG", "JPEG", "BMP")

# Pillow's modes whose numpy arrays are intensities as they are.
_DIRECT_MODES = ("1", "L", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "I;16L")

# In a PNG, the bit depth follows the signature (8 bytes), IHDR's length and name (8) and the
# image's width and height (8).
_PNG_BIT_DEPTH = 24


def open_picture(path: Path, folder: Callable[[], Path]) -> OpenedImage:
    """Decode a PNG, JPEG or BMP file, upright by its EXIF orientation.

    The dpi in such files is a printer's, not a microscope's: the pixel size stays unknown.

    Parameters
    ----------
    path : Path
    folder : callable
        Gives the folder for the raw pixels of pictures that are too large for memory.

    Raises
    ------
    ImageError
        If the file is damaged.
    """
    try:
        header = picture_header(path)
        if header.width * header.height > FIELD_PX:
            _refuse_animation(header, path.name)
            return open_large_picture(path, header, folder())
        content = path.read_bytes()
        pixels = _decode(content, path.name)
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error) as error:
        raise ImageError(
            f"{path.name} is damaged or incomplete ({error}); copy it again from its source."
        ) from error
    axes = find_axes(pixels.shape, pixels.dtype, path.name)
    digest = hashlib.sha256(content).hexdigest()
    return OpenedImage([pixels], axes, None, lambda: digest, backend="picture")


def _decode(content: bytes, name: str) -> NDArray[Any]:
    with warnings.catch_warnings():
        # Pillow warns of large pictures, and refuses those that are twice as large.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
    with image:
        _refuse_animation(image, name)
        image.load()
        if image.format == "PNG" and content[_PNG_BIT_DEPTH] == 16:
            # Pillow would keep only 8 bits of colour.
            return np.asarray(imagecodecs.png_decode(content))
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("LA", "PA") or "transparency" in upright.info:
            upright = upright.convert("RGBA")
        elif upright.mode not in _DIRECT_MODES:
            upright = upright.convert("RGB")
        return np.array(upright)


def _refuse_animation(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's MPO holds previews of one picture
        raise ImageError(f"{name} is an animation of {frames} images; save the one to analyse.")
