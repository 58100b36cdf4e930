"""Image files: told apart by what they hold, not by what they are called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.opened import OpenedImage
from napari_cytosae.slides.pictures import PICTURE_MAGIC, open_picture
from napari_cytosae.slides.tiffs import open_tiff
from napari_cytosae.slides.zarrs import is_zarr, open_zarr

# Classic and BigTIFF, either byte order. NDPI and SVS are classic ones.
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


Backend = Literal["auto", "tifffile", "openslide"]


def open_image(
    path: Path, *, channels: Sequence[int] | None = None, backend: Backend = "auto"
) -> OpenedImage:
    """Open an image file by what its first bytes say it is.

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
    try:
        if path.is_dir():
            if is_zarr(path):
                return open_zarr(path, channels)
            raise ImageError(f"{path.name} is a folder; choose an image file in it.")
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check its name and folder.") from None
    except OSError as error:
        raise ImageError(f"{path.name} cannot be opened: {error.strerror or error}.") from error
    if not magic:
        raise ImageError(f"{path.name} is empty (0 bytes); copy it again from its source.")
    if magic in _TIFF_MAGIC:
        return open_tiff(path, channels)
    if magic.startswith(PICTURE_MAGIC):
        return open_picture(path)
    raise ImageError(
        f"{path.name} is not an image that can be read; "
        "PNG, JPEG, BMP, TIFF, OME-TIFF, SVS and NDPI files can."
    )


def image_stem(path: Path) -> str:
    """Name an image without its suffix, ``.ome.tif`` being one: what its run is called by."""
    return path.stem.removesuffix(".ome")
