"""Scanners' files, made small."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

TILE = {"tile": (64, 64), "photometric": "rgb"}


def smooth_scan(height: int = 400, width: int = 600) -> NDArray[np.uint8]:
    """A smooth colour image, so that lossy codecs keep it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 200 // height, x * 200 // width, (y + x) // 4 % 256], axis=-1).astype(
        np.uint8
    )


def write_pyramid(path: Path, scan: NDArray[np.generic], *, metadata=None, **options) -> None:
    with tifffile.TiffWriter(path, **options) as tif:
        tif.write(scan, subifds=2, metadata=metadata, compression="zlib", **TILE)
        for step in (2, 4):
            tif.write(scan[::step, ::step], subfiletype=1, compression="zlib", **TILE)


def write_scn(
    path: Path,
    scans: Sequence[NDArray[np.uint8]],
    macro: NDArray[np.uint8] | None = None,
    nm_per_pixel: tuple[int, int] = (250, 250),
) -> None:
    """A Leica SCN: the whole glass, then scanned areas of two levels each."""
    glass = (26_000_000, 76_000_000)  # nm, x and y
    images, pages = [], []
    if macro is not None:
        images.append(_scn_image(glass, [(macro, len(pages))], "Image_0"))
        pages.append(macro)
    for number, scan in enumerate(scans, start=1):
        levels = [scan, np.ascontiguousarray(scan[::4, ::4])]
        size = (scan.shape[1] * nm_per_pixel[1], scan.shape[0] * nm_per_pixel[0])
        images.append(
            _scn_image(
                size,
                [(level, len(pages) + at) for at, level in enumerate(levels)],
                f"Image_{number}",
            )
        )
        pages += levels
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="slide" sizeX="{glass[0]}" sizeY="{glass[1]}">{"".join(images)}'
        "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, page in enumerate(pages):
            tif.write(
                page,
                description=xml if number == 0 else None,
                metadata=None,
                compression="jpeg",
                compressionargs={"level": 95},
                **TILE,
            )


def _scn_image(
    size_nm: tuple[int, int], levels: list[tuple[NDArray[np.uint8], int]], name: str
) -> str:
    height, width = levels[0][0].shape[:2]
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{r}" ifd="{ifd}"/>'
        for r, (level, ifd) in enumerate(levels)
    )
    return (
        f'<image name="{name}"><device model="Leica SCN400;Leica SCN"/>'
        f'<pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        f'<view sizeX="{size_nm[0]}" sizeY="{size_nm[1]}" offsetX="0" offsetY="0"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
        "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def write_aperio(path: Path, scan: NDArray[np.uint8]) -> None:
    """An Aperio SVS of two levels with thumbnail, label and macro."""
    aperio = "Aperio Image Library v12\r\n600x400 (64x64) JPEG/RGB|AppMag = 40|MPP = 0.2520"
    with tifffile.TiffWriter(path) as tif:
        tif.write(scan, description=aperio, metadata=None, **TILE)
        tif.write(scan[::8, ::8], description="Aperio\r\nthumbnail", metadata=None)
        tif.write(scan[::2, ::2], description=aperio, metadata=None, **TILE)
        # Larger than the scan, as macros of small scans are.
        for shade, word in ((10, "label"), (200, "macro")):
            tif.write(
                np.full((900, 700, 3), shade, np.uint8),
                metadata=None,
                photometric="rgb",
                description=f"Aperio Image Library v12\r\n{word} 700x900",
                subfiletype=1 if word == "label" else 9,
            )


def damage_tile(path: Path, tile: int, page: int = 0) -> None:
    """Overwrite the beginning of one tile of a page."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[page].dataoffsets[tile]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(20))
