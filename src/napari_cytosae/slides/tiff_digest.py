"""What identifies a TIFF pyramid: its structure and a fixed sample of its bytes."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile

from napari_cytosae.slides.file_bytes import FileBytes
from napari_cytosae.slides.tiff_tiles import path_of

# This many tiles of the largest and of the smallest level identify a pyramid, beside its metadata.
_SAMPLED_TILES = 256


def level_pages(series: tifffile.TiffPageSeries) -> Iterator[Any]:
    """Go over the pages of all levels, the largest level first."""
    for level in series.levels:
        yield from (page for page in level.pages if page is not None)


def digest_tiff(series: tifffile.TiffPageSeries, file: FileBytes) -> str:
    """Hash shapes, tile sizes, compression, every tile's length, and a sample of tiles.

    Returns
    -------
    str
        Hex SHA-256.

    Raises
    ------
    ImageError
        If the file was closed, or is gone.
    """
    sha = hashlib.sha256(b"pyramid")
    pages = list(level_pages(series))
    for page in pages:
        facts = [page.shape, page.chunks, int(page.compression), int(page.photometric)]
        sha.update(json.dumps([*facts, str(page.dtype)]).encode())
        sha.update(page.jpegtables or b"")
        sha.update(np.asarray(page.databytecounts, "<u8").tobytes())
    rng = np.random.default_rng(0)
    for page in (pages[0], pages[-1]):
        count = len(page.dataoffsets)
        chosen = rng.choice(count, min(count, _SAMPLED_TILES), replace=False)
        for tile in sorted(chosen.tolist()):
            sha.update(file.read(path_of(page), page.dataoffsets[tile], page.databytecounts[tile]))
    return sha.hexdigest()
