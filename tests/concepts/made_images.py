"""Images and cells that are made, not photographed."""

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells import Cells, measure_cells


def make_image(shape: tuple[int, int] = (160, 240), seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) coarse colour noise: no two crops of it are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (shape[0] // 8, shape[1] // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def make_cells(n_cells: int, shape: tuple[int, int] = (160, 240), seed: int = 0) -> Cells:
    """Small square cells on a grid, with labels that are neither consecutive nor start at 1."""
    rows, columns = shape[0] // 16, shape[1] // 16
    places = np.random.default_rng(seed).permutation(rows * columns)[:n_cells]
    labels = np.zeros(shape, np.int32)
    for number, place in enumerate(np.sort(places)):
        y, x = 16 * (place // columns) + 2, 16 * (place % columns) + 3
        labels[y : y + 9, x : x + 11] = 5 + 3 * number
    return Cells(labels, None, measure_cells(labels, None, "test"))
