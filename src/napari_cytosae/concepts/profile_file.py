"""Write a run's profiles as AnnData, cell by cell: no more than a few thousand are in memory."""

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import anndata
import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numpy.typing import NDArray

from napari_cytosae.concepts.cell import CellSummary
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.manifest import RunManifest
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.profiles import (
    ConceptTotals,
    concept_table,
    obs_of,
    spatial_of,
    uns_of,
)

# Cells gathered before they go to the file.
_BLOCK_CELLS = 2048
_LARGEST_INT32 = np.iinfo(np.int32).max
_MATRICES = {"X": np.float32, "layers/max": np.float32, "layers/count": np.int32}


def write_profiles(
    path: Path,
    manifest: RunManifest,
    table: pd.DataFrame,
    summaries: Iterable[CellSummary],
    names: Names | None = None,
    focus: NDArray[np.int64] | None = None,
) -> None:
    """Write what `build_profiles` gives, durably, in memory that does not grow with the run.

    Parameters
    ----------
    path
        The file.
    manifest, table, summaries, names, focus
        As in `build_profiles`.

    Raises
    ------
    RunError
        Where the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            _write(file, manifest, table, summaries, names, focus)

    write_durably(path, write)


def write_obs(path: Path, table: pd.DataFrame) -> None:
    """Put another table of the same cells into a file of profiles, durably.

    Raises
    ------
    RunError
        Where the file cannot be read or written.
    """

    def write(temporary: Path) -> None:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as file:
            del file["obs"]
            write_elem(file, "obs", obs_of(table))

    write_durably(path, write, needed_bytes=path.stat().st_size)


def _write(
    file: Any,
    manifest: RunManifest,
    table: pd.DataFrame,
    summaries: Iterable[CellSummary],
    names: Names | None,
    focus: NDArray[np.int64] | None,
) -> None:
    # What anndata itself writes for an object without cells is filled in below.
    shape = (len(table), manifest.d_sae)
    write_elem(file, "/", anndata.AnnData(obs=obs_of(table), uns=uns_of(manifest)))
    write_elem(file.require_group("obsm"), "spatial", spatial_of(manifest, table))
    for name, dtype in _MATRICES.items():
        if name in file:
            del file[name]
        group = file.create_group(name)
        group.attrs["encoding-type"] = "csr_matrix"
        group.attrs["encoding-version"] = "0.1.0"
        group.attrs["shape"] = np.array(shape)
        group.create_dataset("data", (0,), dtype, maxshape=(None,), chunks=(1 << 16,))
    indices = file["X"].create_dataset(
        "indices", (0,), np.int32, maxshape=(None,), chunks=(1 << 16,)
    )
    totals = ConceptTotals(manifest.d_sae)
    counts = [np.zeros(1, np.int64)]
    for block in _blocks(summaries):
        ids = np.concatenate([row.concept_ids for row in block])
        mean = np.concatenate([row.mean for row in block])
        maximum = np.concatenate([row.maximum for row in block])
        _append(indices, ids)
        _append(file["X/data"], mean)
        _append(file["layers/max/data"], maximum)
        _append(file["layers/count/data"], np.concatenate([row.count for row in block]))
        totals.add(ids, mean, maximum, len(block))
        counts.append(np.array([len(row.concept_ids) for row in block], np.int64))
    indptr = np.cumsum(np.concatenate(counts))
    wide = np.int64 if indptr[-1] > _LARGEST_INT32 else np.int32
    file["X"].create_dataset("indptr", data=indptr.astype(wide))
    for name in ("layers/max", "layers/count"):
        # The same cells are active in all three: they share what says where.
        for part in ("indices", "indptr"):
            file[name][part] = file["X"][part]
    del file["var"]
    write_elem(file, "var", concept_table(totals, names, focus))


def _blocks(summaries: Iterable[CellSummary]) -> Iterator[list[CellSummary]]:
    rows = iter(summaries)
    while block := list(islice(rows, _BLOCK_CELLS)):
        yield block


def _append(dataset: Any, values: NDArray[Any]) -> None:
    start = dataset.shape[0]
    dataset.resize((start + len(values),))
    dataset[start:] = values
