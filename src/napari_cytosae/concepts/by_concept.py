"""A run's profiles concept by concept: what one concept does in all cells, without reading the rest.

``cells.h5ad`` answers for cells. A view that colours 100,000 cells by one concept asks the other
way round, and would have to read all of it. This file can be made anew from ``cells.h5ad``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import RunError

N_TOP = 8
"""How many of each cell's strongest concepts are kept for tables and tips."""

_BLOCK_CELLS = 4096
# Entries that are sorted at a time; some 40 bytes each.
_BLOCK_ENTRIES = 8_000_000


def write_by_concept(profiles: Path, path: Path) -> None:
    """Turn the mean activations of ``cells.h5ad`` round, durably and in bounded memory.

    Raises
    ------
    RunError
        Where the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with h5py.File(profiles) as source, h5py.File(temporary, "w") as target:
            _turn(source["X"], target)

    write_durably(path, write)


def read_strengths(path: Path, concept_id: int, n_cells: int) -> NDArray[np.float32]:
    """Read the mean activation of one concept in every cell, (n,) float32, in the table's order.

    Raises
    ------
    RunError
        Where the file cannot be read.
    """
    try:
        with h5py.File(path) as file:
            first, last = (int(each) for each in file["indptr"][concept_id : concept_id + 2])
            strengths = np.zeros(n_cells, np.float32)
            strengths[file["cells"][first:last]] = file["values"][first:last]
            return strengths
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise _damaged(path, error) from error


def read_top(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Read each cell's strongest concepts, (n, N_TOP) ids and mean activations.

    Ids are -1 and activations NaN where a cell has fewer.

    Raises
    ------
    RunError
        Where the file cannot be read.
    """
    try:
        with h5py.File(path) as file:
            return file["top_ids"][:], file["top_values"][:]
    except (OSError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def top_of(
    indptr: NDArray[np.integer],
    ids: NDArray[np.integer],
    values: NDArray[np.floating],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rank the strongest entries of each row of a CSR matrix; ties go to the smaller id.

    Returns
    -------
    ids, values
        (rows, k); -1 and NaN where a row has fewer.
    """
    n_rows = len(indptr) - 1
    counts = np.diff(indptr)
    rows = np.repeat(np.arange(n_rows), counts)
    order = np.lexsort((ids, -values, rows))
    rank = np.arange(len(rows)) - np.repeat(np.asarray(indptr[:-1]) - indptr[0], counts)
    chosen = order[rank < k]
    top_ids = np.full((n_rows, k), -1, np.int32)
    top_values = np.full((n_rows, k), np.nan, np.float32)
    place = rows[rank < k], rank[rank < k]
    top_ids[place], top_values[place] = ids[chosen], values[chosen]
    return top_ids, top_values


def _turn(matrix: Any, target: Any) -> None:
    n_cells, d_sae = (int(size) for size in matrix.attrs["shape"])
    counts = np.zeros(d_sae, np.int64)
    top_ids = target.create_dataset("top_ids", (n_cells, N_TOP), np.int32)
    top_values = target.create_dataset("top_values", (n_cells, N_TOP), np.float32)
    for rows, indptr, ids, values in _blocks(matrix, n_cells):
        counts += np.bincount(ids, minlength=d_sae)
        top_ids[rows], top_values[rows] = top_of(indptr, ids, values, N_TOP)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    target.create_dataset("indptr", data=indptr)
    cells = target.create_dataset("cells", (int(indptr[-1]),), np.int32)
    strengths = target.create_dataset("values", (int(indptr[-1]),), np.float32)
    for first, last in _concept_blocks(indptr):
        picked = [
            _entries_of(block, first, last) for block in _blocks(matrix, n_cells)
        ]  # a pass over all cells for each block of concepts: memory does not grow with the run
        ids, of_cells, values = (np.concatenate(part) for part in zip(*picked, strict=True))
        order = np.argsort(ids, kind="stable")
        where = slice(int(indptr[first]), int(indptr[last]))
        cells[where], strengths[where] = of_cells[order], values[order]


_Block = tuple[slice, NDArray[np.int64], NDArray[np.integer], NDArray[np.float32]]


def _blocks(matrix: Any, n_cells: int) -> Iterator[_Block]:
    for start in range(0, n_cells, _BLOCK_CELLS):
        stop = min(start + _BLOCK_CELLS, n_cells)
        indptr = matrix["indptr"][start : stop + 1].astype(np.int64)
        entries = slice(int(indptr[0]), int(indptr[-1]))
        yield slice(start, stop), indptr, matrix["indices"][entries], matrix["data"][entries]


def _entries_of(
    block: _Block, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int32], NDArray[np.float32]]:
    rows, indptr, ids, values = block
    cells = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), np.diff(indptr))
    mine = (ids >= first) & (ids < last)
    return ids[mine], cells[mine], values[mine]


def _concept_blocks(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut concepts into blocks of a bounded number of entries, one concept at least."""
    d_sae = len(indptr) - 1
    first = 0
    while first < d_sae and indptr[-1] > 0:
        room = indptr[first] + _BLOCK_ENTRIES
        last = max(first + 1, int(np.searchsorted(indptr, room, side="right")) - 1)
        yield first, min(last, d_sae)
        first = min(last, d_sae)


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} cannot be read ({error}). Delete it and start the same analysis again: it is "
        "written anew without the model."
    )
