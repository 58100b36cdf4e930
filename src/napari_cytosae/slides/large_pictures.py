"""PNG, JPEG and BMP files that are too large for memory: decoded once, into a file, row by row."""

import hashlib
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin
from PIL.Image import Image

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.axes import PixelSource, find_axes
from napari_cytosae.slides.file_bytes import FileBytes
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.tiff_tiles import RawRows
from napari_cytosae.slides.tile_store import make_room
from napari_cytosae.slides.turned import Turned

# Pillow's classes themselves: its `open` refuses large pictures.
_READERS: dict[bytes, Callable[[Path], Image]] = {
    b"\x89PNG": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}

_EXIF_ORIENTATION = 274

# PNG: bit depth and colour type follow the signature, and IHDR's length, name, width and height.
_PNG_BIT_DEPTH, _PNG_COLOUR = 24, 25
_PNG_SAMPLES: dict[int, tuple[int, ...]] = {0: (), 2: (3,), 3: (3,), 6: (4,)}
_MODE_SAMPLES: dict[str, tuple[int, ...]] = {"L": (), "RGB": (3,)}

# Of a progressive JPEG, all coefficients have to be in memory: about 3 bytes for each px.
_MOST_PROGRESSIVE_PX = 1 << 29


def picture_header(path: Path) -> Image:
    """Read the size and kind of a picture, and none of its pixels.

    Raises
    ------
    OSError, SyntaxError, ValueError
        If it is damaged.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    reader = next(reader for start, reader in _READERS.items() if magic.startswith(start))
    with reader(path) as image:
        return image


def open_large_picture(path: Path, header: Image, folder: Path) -> OpenedImage:
    """Open a picture through a file of its raw pixels, which is made where it is not there yet.

    Parameters
    ----------
    path : Path
    header : PIL.Image.Image
        What `picture_header` gave.
    folder : Path
        Where raw pixels are kept.

    Raises
    ------
    ImageError
        If it is damaged, of a kind that cannot be decoded so, or the disk is full.
    """
    with path.open("rb") as stored:  # mapped, for the file itself may be large
        content = mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ)
    digest = hashlib.sha256(content).hexdigest()
    samples, dtype = _pixel(path.name, header, content)
    shape = (header.height, header.width, *samples)
    raw = folder / f"{digest}.pixels"
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        if not (raw.is_file() and raw.stat().st_size == needed):
            _decode(path.name, content, header, shape, dtype, raw)
        os.utime(raw)
        file = FileBytes(path.name)
        file.read(raw, 0, 1)  # from now on it may be deleted
    except OSError as error:
        raise ImageError(
            f"{path.name} is too large for memory, and cannot be decoded into {folder} "
            f"({error.strerror or error}); save it as a tiled TIFF."
        ) from error
    axes = find_axes(shape, dtype, path.name)
    level: PixelSource = RawRows(file, raw, 0, shape, dtype, axes=axes, channels=None, convert=None)
    # Pillow looks for what follows a PNG's pixels by decoding them all.
    has_exif = header.format != "PNG" or "exif" in header.info
    orientation = int(header.getexif().get(_EXIF_ORIENTATION, 1)) if has_exif else 1
    if orientation in range(2, 9):
        level = Turned(level, orientation)
    return OpenedImage([level], axes, None, lambda: digest, file.close, backend="picture")


def _pixel(name: str, header: Image, content: mmap.mmap) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Say how many samples a decoded pixel has, and of which type."""
    if header.format == "PNG":
        samples = _PNG_SAMPLES.get(content[_PNG_COLOUR])
        dtype = np.dtype(np.uint16 if content[_PNG_BIT_DEPTH] == 16 else np.uint8)
    else:
        samples, dtype = _MODE_SAMPLES.get(header.mode), np.dtype(np.uint8)
    if samples is None:
        raise ImageError(
            f"{name} is too large for memory, and its colours ({header.mode}) are of a kind that "
            "is read only there; save it as a tiled TIFF."
        )
    if header.info.get("progressive") and header.width * header.height > _MOST_PROGRESSIVE_PX:
        raise ImageError(
            f"{name} is a progressive JPEG, which has to be in memory as a whole and is too large "
            "for it; save it as a tiled TIFF."
        )
    return samples, dtype


def _decode(
    name: str,
    content: mmap.mmap,
    header: Image,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    raw: Path,
) -> None:
    """Decode into a file that is mapped into memory; the system writes it out as it fills."""
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw.parent.mkdir(parents=True, exist_ok=True)
    make_room(raw.parent, needed)
    free = shutil.disk_usage(raw.parent).free
    if free < needed:
        raise OSError(
            None, f"{needed / 2**30:,.1f} GiB are needed there and {free / 2**30:,.1f} GiB are free"
        )
    codec = {
        "PNG": imagecodecs.png_decode, "JPEG": imagecodecs.jpeg8_decode, "MPO":
        imagecodecs.jpeg8_decode, "BMP": imagecodecs.bmp_decode,
    }[str(header.format)]  # fmt: skip
    part = raw.with_name(f"{raw.name}.{os.getpid()}.part")
    try:
        _reserve(part, needed)
        pixels = np.memmap(part, dtype, "r+", shape=shape)
        try:
            if header.format in ("JPEG", "MPO") and _is_cut_short(content):
                raise ValueError("its end is missing")
            codec(content, out=pixels)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ImageError(
                f"{name} is damaged or incomplete ({error}); copy it again from its source."
            ) from error
        finally:
            pixels.flush()
            del pixels
        part.replace(raw)
    finally:
        part.unlink(missing_ok=True)


def _is_cut_short(content: mmap.mmap) -> bool:
    """Tell whether a JPEG has no end; libjpeg would fill up what is missing with grey."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        # An EXIF preview has an end of its own: only what follows the header's segments counts.
        is_filler = content[at + 1 : at + 2] == b"\xff"
        at += 1 if is_filler else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.rfind(b"\xff\xd9", at) < 0


def _reserve(path: Path, size: int) -> None:
    """Make a file whose room on the disk is certain: a full disk would end the process later on."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        zeros = bytes(1 << 24)
        while size > 0:
            size -= file.write(zeros[:size])
