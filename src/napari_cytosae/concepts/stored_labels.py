"""Label images of slides on disk, in OME-Zarr: only what is looked at is read."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from napari_cytosae.errors import RunError


class StoredLabels:
    """A label image on disk that slices like an array.

    Parameters
    ----------
    path
        The OME-Zarr group.

    Raises
    ------
    RunError
        Where it is missing or damaged.
    """

    ndim = 2

    def __init__(self, path: Path) -> None:
        self.path = path
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
        return np.asarray(self.levels[0][key])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)
