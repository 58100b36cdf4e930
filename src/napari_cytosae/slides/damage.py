"""Reading around damage: which tiles under a window cannot be decoded, and everything else."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import UnreachableImageError
from napari_cytosae.slides.axes import Axes, PixelSource, plane_shape, read_window
from napari_cytosae.slides.chunks import Edges, pieces_within

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in px of the level, half-open."""

# What codecs raise on content that is not what it should be. An OSError is none of these, nor are
# the package's own errors: a file that is gone is not damaged.
DAMAGE = (
    ValueError, RuntimeError, KeyError, IndexError, TypeError, EOFError, struct.error,
)  # fmt: skip

# A source that does not say how it is stored is tried in pieces of this side.
_PIECE_PX = 256


@contextmanager
def reachable(name: str) -> Iterator[None]:
    """Say that a slide is out of reach where reading from it fails.

    Raises
    ------
    UnreachableImageError
        In place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UnreachableImageError(
            f"{name} can no longer be read ({error}); see that its disk or network drive is there."
        ) from error


def chunk_shape(source: PixelSource, axes: Axes) -> tuple[int, int]:
    """Height and width of the pieces that a level is stored in."""
    known = getattr(source, "chunk_shape", None)
    if known is None:
        chunks = getattr(source, "chunksize", None) or getattr(source, "chunks", None)
        whole = isinstance(chunks, tuple) and len(chunks) == len(axes)
        known = plane_shape(chunks, axes) if whole and chunks is not None else None
    if known is None:
        return _PIECE_PX, _PIECE_PX
    return max(1, int(known[0])), max(1, int(known[1]))


def _edges(source: PixelSource, axes: Axes) -> Edges:
    known: Edges | None = getattr(source, "edges", None)
    if known is not None:
        return known
    height, width = plane_shape(source.shape, axes)
    high, wide = chunk_shape(source, axes)
    return [*range(0, height, high), height], [*range(0, width, wide), width]


def read_around(
    source: PixelSource, axes: Axes, window: Box
) -> tuple[NDArray[Any], list[Box], Exception | None]:
    """Read a window, piece by piece where something in it cannot be decoded.

    Parameters
    ----------
    source : PixelSource
    axes : Axes
    window : Box
        Inside the level.

    Returns
    -------
    block : NDArray
        The window, channels last; zero where it could not be decoded.
    gaps : list of Box
        The parts of the window that could not be decoded, from top to bottom, as pieces of the
        file; a piece is cut to the window.
    error : Exception or None
        What the first of them raised.
    """
    y0, x0, y1, x1 = window
    try:
        return read_window(source, axes, y0, x0, y1 - y0, x1 - x0), [], None
    except DAMAGE as error:
        first: Exception = error
    rows, columns = _edges(source, axes)
    samples = () if axes == "YX" else (source.shape[axes.index("S")],)
    block = np.zeros((y1 - y0, x1 - x0, *samples), source.dtype)
    gaps: list[Box] = []
    for row in pieces_within(rows, y0, y1):
        for column in pieces_within(columns, x0, x1):
            piece = (
                max(rows[row], y0), max(columns[column], x0),
                min(rows[row + 1], y1), min(columns[column + 1], x1),
            )  # fmt: skip
            try:
                part = read_window(
                    source, axes, piece[0], piece[1], piece[2] - piece[0], piece[3] - piece[1]
                )
            except DAMAGE as error:
                first = error if not gaps else first
                gaps.append(piece)
                continue
            block[piece[0] - y0 : piece[2] - y0, piece[1] - x0 : piece[3] - x0] = part
    return block, gaps, first if gaps else None
