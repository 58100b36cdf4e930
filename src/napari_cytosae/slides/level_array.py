"""A level of a slide as an array that is read where it is sliced."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides.damage import Box


class LevelArray:
    """One level, to be sliced like a numpy array; only what a slice covers is read.

    napari shows a list of these as a multiscale layer; ``dask.array.from_array`` takes one too.
    Whole numbers, slices with any step and an ellipsis are understood; of anything else the level
    is read whole first.

    Parameters
    ----------
    shape : tuple of int
        (H, W) or (H, W, samples).
    dtype : numpy.dtype
    chunks : (int, int)
        Height and width of the pieces in which the level is stored: slices along them are cheapest.
    read : callable
        Gives the values in a box.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: tuple[int, int],
        read: Callable[[Box], NDArray[Any]],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.chunks = (*chunks, *shape[2:])
        self._read = read

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that the whole level would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = _spelled_out(key, self.ndim)
        if keys is None:
            whole: NDArray[Any] = np.asarray(self)[key]
            return whole
        rows, columns = (
            _covered(each, side) for each, side in zip(keys[:2], self.shape[:2], strict=True)
        )
        block = self._read((rows.start, columns.start, rows.stop, columns.stop))
        local = [
            _within(each, cover) for each, cover in zip(keys[:2], (rows, columns), strict=True)
        ]
        part: NDArray[Any] = block[(*local, *keys[2:])]
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a level of a slide has to be read, which is a copy")
        block = self._read((0, 0, self.shape[0], self.shape[1]))
        return block if dtype is None else block.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<LevelArray {' × '.join(map(str, self.shape))} {self.dtype}>"


def _spelled_out(key: Any, ndim: int) -> tuple[int | slice, ...] | None:
    """One whole number or slice per axis; None where the key is of another kind."""
    keys = key if isinstance(key, tuple) else (key,)
    if Ellipsis in [each for each in keys if not hasattr(each, "shape")]:
        at = next(n for n, each in enumerate(keys) if each is Ellipsis)
        keys = (*keys[:at], *(slice(None),) * (ndim - len(keys) + 1), *keys[at + 1 :])
    keys = (*keys, *(slice(None),) * (ndim - len(keys)))
    spelled: list[int | slice] = []
    for each in keys:
        if isinstance(each, slice):
            spelled.append(each)
        elif isinstance(each, bool | np.bool_) or not hasattr(each, "__index__"):
            return None
        else:
            try:
                spelled.append(operator.index(each))
            except TypeError:  # an array with more than one element
                return None
    return tuple(spelled) if len(spelled) == ndim else None


def _covered(key: int | slice, side: int) -> slice:
    """Return the rows or columns from the first to the last that a key takes."""
    if isinstance(key, int):
        at = key + side if key < 0 else key
        if not 0 <= at < side:
            raise IndexError(f"index {key} is out of bounds for an axis of {side}")
        return slice(at, at + 1)
    taken = range(*key.indices(side))
    if not taken:
        return slice(0, 0)
    return slice(min(taken[0], taken[-1]), max(taken[0], taken[-1]) + 1)


def _within(key: int | slice, cover: slice) -> int | slice:
    """Translate a key to the block that was read for it."""
    if isinstance(key, int):
        return 0
    step = 1 if key.step is None else key.step
    return slice(None, None, step)
