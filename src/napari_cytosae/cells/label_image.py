"""Label images too large for memory: cells' extents, painted window by window when asked for."""

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from napari_cytosae.cells.outline import Outline


class LabelImage(Protocol):
    """(H, W) of whole numbers, 0 where there is no cell: an array, or what slices like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """An integer type."""

    def __getitem__(self, key: Any, /) -> Any: ...


class PaintedLabels:
    """The extents of cells as a label image of which only the windows asked for exist.

    Parameters
    ----------
    shape : (int, int)
    ids : (n,) int
        Labels, above 0.
    outlines : sequence of Outline or None
        Extent of each; where extents overlap, later ones lie on top.

    Attributes
    ----------
    ids, outlines
        As given.
    """

    def __init__(
        self, shape: tuple[int, int], ids: ArrayLike, outlines: Sequence[Outline | None]
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(np.int32)
        self.ndim = 2
        self.ids = np.asarray(ids, np.int32)
        self.outlines = list(outlines)
        self._boxes = np.array(
            [
                (0, 0, 0, 0)
                if each is None
                else (each.y, each.x, each.y + each.mask.shape[0], each.x + each.mask.shape[1])
                for each in outlines
            ],
            np.int64,
        ).reshape(-1, 4)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def window(self, y0: int, x0: int, y1: int, x1: int) -> NDArray[np.int32]:
        """Paint a window that lies inside."""
        painted = np.zeros((y1 - y0, x1 - x0), np.int32)
        low, high = self._boxes[:, :2], self._boxes[:, 2:]
        meets = (low < (y1, x1)).all(axis=1) & (high > (y0, x0)).all(axis=1)
        for n in np.flatnonzero(meets).tolist():
            outline = self.outlines[n]
            if outline is None:
                continue
            top, left = outline.y - y0, outline.x - x0
            height, width = outline.mask.shape
            rows = slice(max(top, 0), min(top + height, y1 - y0))
            columns = slice(max(left, 0), min(left + width, x1 - x0))
            mask = outline.mask[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
            painted[rows, columns][mask] = self.ids[n]
        return painted

    def halved(self) -> "PaintedLabels":
        """Give the same cells half as large: each pixel shows a cell that any of its four does."""
        shape = -(-self.shape[0] // 2), -(-self.shape[1] // 2)
        return PaintedLabels(shape, self.ids, [each and _halved(each) for each in self.outlines])

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, tuple):
            key = (key,)
        key = (*key, *(slice(None),) * (2 - len(key)))
        ranges: list[range] = []
        squeeze: list[slice | int] = []
        for each, size in zip(key, self.shape, strict=True):
            if isinstance(each, slice):
                ranges.append(range(*each.indices(size)))
                squeeze.append(slice(None))
                continue
            at = operator.index(each)
            at += size if at < 0 else 0
            if not 0 <= at < size:
                raise IndexError(f"pixel {each} is outside a label image of {self.shape} px")
            ranges.append(range(at, at + 1))
            squeeze.append(0)
        rows, columns = ranges
        if not rows or not columns:
            return np.zeros((len(rows), len(columns)), np.int32)[tuple(squeeze)]
        if rows.step < 0 or columns.step < 0:
            raise IndexError("a label image is read forwards; turn the window that comes back")
        painted = self.window(rows.start, columns.start, rows[-1] + 1, columns[-1] + 1)
        return painted[:: rows.step, :: columns.step][tuple(squeeze)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self.window(0, 0, *self.shape)
        return whole if dtype is None else whole.astype(dtype)


def _halved(outline: Outline) -> Outline:
    height, width = outline.mask.shape
    odd_y, odd_x = outline.y % 2, outline.x % 2
    padded = np.pad(outline.mask, ((odd_y, (odd_y + height) % 2), (odd_x, (odd_x + width) % 2)))
    rows = padded[::2] | padded[1::2]
    mask = rows[:, ::2] | rows[:, 1::2]
    return Outline(outline.y // 2, outline.x // 2, mask)


def only_labels(labels: LabelImage, ids: NDArray[np.integer]) -> LabelImage:
    """Leave only some labels in a label image."""
    if isinstance(labels, PaintedLabels):
        chosen = np.flatnonzero(np.isin(labels.ids, ids)).tolist()
        return PaintedLabels(
            labels.shape, labels.ids[chosen], [labels.outlines[each] for each in chosen]
        )
    array = np.asarray(labels)
    return np.where(np.isin(array, ids), array, 0).astype(array.dtype)
