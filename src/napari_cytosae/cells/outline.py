"""The extent of one cell: a mask, and where it lies on the slide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The extent of one cell, cut to the image.

    Attributes
    ----------
    y, x : int
        Top left pixel of `mask` in the image.
    mask : (h, w) bool
        True inside; at least one pixel.
    """

    y: int
    x: int
    mask: NDArray[np.bool_]


def tight(mask: NDArray[np.bool_], y: int, x: int) -> Outline | None:
    """Cut a mask to its tightest box; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Outline(y + int(rows[0]), x + int(columns[0]), np.ascontiguousarray(inner))


def without(outline: Outline | None, other: Outline | None) -> Outline | None:
    """Take another outline's pixels away."""
    if outline is None or other is None:
        return outline
    mine, theirs = _overlap(outline, other)
    if not (outline.mask[mine] & other.mask[theirs]).any():
        return outline
    mask = outline.mask.copy()
    mask[mine] &= ~other.mask[theirs]
    return tight(mask, outline.y, outline.x)


def within(outline: Outline | None, other: Outline) -> Outline | None:
    """Keep only what lies in another outline too."""
    if outline is None:
        return None
    mine, theirs = _overlap(outline, other)
    mask = np.zeros_like(outline.mask)
    mask[mine] = outline.mask[mine] & other.mask[theirs]
    return tight(mask, outline.y, outline.x)


def _overlap(a: Outline, b: Outline) -> tuple[Window, Window]:
    """Give the slices of two masks that cover their common box, which may be empty."""
    y0, x0 = max(a.y, b.y), max(a.x, b.x)
    y1 = max(min(a.y + a.mask.shape[0], b.y + b.mask.shape[0]), y0)
    x1 = max(min(a.x + a.mask.shape[1], b.x + b.mask.shape[1]), x0)
    return (
        (slice(y0 - a.y, y1 - a.y), slice(x0 - a.x, x1 - a.x)),
        (slice(y0 - b.y, y1 - b.y), slice(x0 - b.x, x1 - b.x)),
    )
