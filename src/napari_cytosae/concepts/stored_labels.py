"""Label images of slides on disk, in OME-Zarr: only what is looked at is read."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from napari_cytosae.errors import RunError

# Cells are gone through tile by tile: of all chunks (4 MiB each) those around a tile are wanted.
_KEPT_CHUNKS = 16


class StoredLabels:
    """A label image on disk that slices like an array.

    Parameters
    ----------
    path
        The OME-Zarr group.
    final
        Whether nothing is painted into it any more: what is read often stays in memory then.

    Raises
    ------
    RunError
        Where it is missing or damaged.
    """

    ndim = 2

    def __init__(self, path: Path, *, final: bool = False) -> None:
        self.path = path
        self._final = final
        self._kept: OrderedDict[tuple[int, int], NDArray[np.int32]] = OrderedDict()
        self._lock = threading.Lock()
        try:
            group = zarr.open_group(path, mode="r")
            ome: Any = group.attrs["ome"]
            listed = ome["multiscales"][0]["datasets"]
            self.levels: list[Any] = [group[each["path"]] for each in listed]
        except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error
        self.shape: tuple[int, int] = tuple(self.levels[0].shape)
        self.dtype: np.dtype[Any] = self.levels[0].dtype

    @property
    def size(self) -> int:
        """Number of pixels at full resolution."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key: Any) -> NDArray[np.int32]:
        window = self._window(key) if self._final else None
        return np.asarray(self.levels[0][key]) if window is None else window

    def _window(self, key: Any) -> NDArray[np.int32] | None:
        """Read a small window by way of the chunks that are kept; None for what is none."""
        if not (isinstance(key, tuple) and len(key) == 2):
            return None
        if not all(isinstance(part, slice) and part.step in (None, 1) for part in key):
            return None
        (y0, y1, _), (x0, x1, _) = (
            part.indices(size) for part, size in zip(key, self.shape, strict=True)
        )
        high, wide = self.levels[0].chunks
        rows, columns = range(y0 // high, -(-y1 // high)), range(x0 // wide, -(-x1 // wide))
        if not (y0 < y1 and x0 < x1) or len(rows) * len(columns) > _KEPT_CHUNKS // 2:
            return None
        window = np.empty((y1 - y0, x1 - x0), self.dtype)
        for row in rows:
            for column in columns:
                top, left = row * high, column * wide
                chunk = self._chunk(row, column)
                part = chunk[max(y0 - top, 0) : y1 - top, max(x0 - left, 0) : x1 - left]
                y, x = max(top - y0, 0), max(left - x0, 0)
                window[y : y + part.shape[0], x : x + part.shape[1]] = part
        return window

    def _chunk(self, row: int, column: int) -> NDArray[np.int32]:
        with self._lock:
            known = self._kept.get((row, column))
            if known is not None:
                self._kept.move_to_end((row, column))
                return known
        high, wide = self.levels[0].chunks
        y, x = row * high, column * wide
        chunk: NDArray[np.int32] = np.asarray(self.levels[0][y : y + high, x : x + wide])
        with self._lock:
            self._kept[row, column] = chunk
            while len(self._kept) > _KEPT_CHUNKS:
                self._kept.popitem(last=False)
        return chunk

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)
