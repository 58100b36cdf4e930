"""Image files: told apart by what they hold, not by what they are called."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from napari_cytosae.errors import ImageError
from napari_cytosae.home import home_folder
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.openslides import EXTRA, detect_vendor, open_openslide, openslide_module
from napari_cytosae.slides.pictures import PICTURE_MAGIC, open_picture
from napari_cytosae.slides.tiff_series import NeedsOpenSlideError
from napari_cytosae.slides.tiffs import open_tiff
from napari_cytosae.slides.virtual import with_virtual_levels
from napari_cytosae.slides.zarrs import is_zarr, open_zarr

PYRAMIDS = "pyramids"
"""Folder, in the user's, that keeps the levels and raw pixels which files do not have."""

Backend = Literal["auto", "tifffile", "openslide"]

# Classic and BigTIFF, either byte order. NDPI, SCN and SVS are such.
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

SLIDE_SUFFIXES = (
    ".bif", ".mrxs", ".ndpi", ".qptiff", ".scn", ".svs", ".svslide", ".vms", ".vmu",
)  # fmt: skip
"""How files are called that hold nothing but scanned slides."""

# What else only OpenSlide reads: where in the file which bytes are, and what it is called.
_OPENSLIDE_MAGIC = (
    (128, b"DICM", "DICOM"),
    (0, b"ZISRAWFILE", "Zeiss CZI"),
    (0, b"SQLite format 3\0", "Sakura slide"),
    (0, b"[Virtual Microscope Specimen]", "Hamamatsu VMS"),
    (0, b"[Uncompressed Virtual Microscope Specimen]", "Hamamatsu VMU"),
)


def open_image(
    path: Path, *, channels: Sequence[int] | None = None, backend: Backend = "auto"
) -> OpenedImage:
    """Open an image file by what its first bytes say it is; small levels are added where needed.

    Parameters
    ----------
    path : Path
    channels : sequence of int, optional
        The channels that are red, green and blue, or a single one, of an image with more.
    backend : {"auto", "tifffile", "openslide"}
        What reads a scanner's file, where both can.

    Raises
    ------
    ImageError
        If it is missing, a folder, empty, damaged or no image that can be used.
    """
    opened = _open(path, channels, backend)
    if channels is not None:
        opened = replace(opened, digest=partial(_with_channels, opened.digest, tuple(channels)))
    return with_virtual_levels(opened, _cache)


def _cache() -> Path:
    return home_folder() / PYRAMIDS


def _with_channels(digest: Callable[[], str], channels: tuple[int, ...]) -> str:
    """Tell other channels of one file apart."""
    return hashlib.sha256(f"{digest()} {channels}".encode()).hexdigest()


def _open(path: Path, channels: Sequence[int] | None, backend: Backend) -> OpenedImage:
    try:
        if path.is_dir():
            if is_zarr(path):
                return open_zarr(path, channels)
            raise ImageError(f"{path.name} is a folder; choose an image file in it.")
        with path.open("rb") as file:
            magic = file.read(256)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check its name and folder.") from None
    except OSError as error:
        raise ImageError(f"{path.name} cannot be opened: {error.strerror or error}.") from error
    if not magic:
        raise ImageError(f"{path.name} is empty (0 bytes); copy it again from its source.")
    if backend == "openslide":
        return open_openslide(path, channels)
    if magic.startswith(_TIFF_MAGIC):
        try:
            return open_tiff(path, channels)
        except NeedsOpenSlideError:
            if backend == "tifffile" or openslide_module() is None:
                raise
            return open_openslide(path, channels)
    if kind := _openslide_kind(path, magic):
        return _open_other(path, channels, kind)
    if magic.startswith(PICTURE_MAGIC):
        return open_picture(path, _cache)
    if detect_vendor(path) is not None:
        return open_openslide(path, channels)
    raise ImageError(
        f"{path.name} is not an image that can be read; "
        "PNG, JPEG, BMP, TIFF, OME-TIFF, OME-Zarr and scanners' files (SVS, NDPI, SCN, …) can."
    )


def _openslide_kind(path: Path, magic: bytes) -> str:
    """Name the format of a file that only OpenSlide reads; nothing for others."""
    for at, expected, kind in _OPENSLIDE_MAGIC:
        if magic[at : at + len(expected)] == expected:
            return kind
    # The .mrxs file itself is a small JPEG picture; the slide lies in a folder of its name.
    if path.suffix.lower() == ".mrxs" or (path.with_suffix("") / "Slidedat.ini").is_file():
        return "MIRAX"
    return ""


def _open_other(path: Path, channels: Sequence[int] | None, kind: str) -> OpenedImage:
    """Open what only OpenSlide reads, or say what is in the way."""
    if kind == "MIRAX" and not (path.with_suffix("") / "Slidedat.ini").is_file():
        raise ImageError(
            f"{path.name} is only the cover of a slide; the folder {path.stem} that belongs beside "
            "it, with Slidedat.ini in it, is missing. Copy both."
        )
    if openslide_module() is None:
        raise ImageError(f"{path.name} is a {kind} file; reading it needs OpenSlide: {EXTRA}")
    if kind == "DICOM" and detect_vendor(path) is None:
        raise ImageError(f"{path.name} is a DICOM file, but no whole-slide image that can be read.")
    return open_openslide(path, channels)


def is_image_folder(path: Path) -> bool:
    """Tell whether a folder is an image itself, as OME-Zarr is."""
    return path.is_dir() and is_zarr(path)


def holds_image(path: Path) -> bool:
    """Tell by a glance at its first bytes whether a path may be an image; by no means its name."""
    try:
        if path.is_dir():
            return is_zarr(path)
        with path.open("rb") as file:
            magic = file.read(256)
    except OSError:
        return False
    known = magic.startswith((*_TIFF_MAGIC, *PICTURE_MAGIC)) or _openslide_kind(path, magic)
    return bool(known or (magic and detect_vendor(path)))


def image_stem(path: Path) -> str:
    """Name an image without its suffix, ``.ome.tif`` being one: what its run is called by."""
    return path.stem.removesuffix(".ome")
