"""Columns of Arrow tables as arrays, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def metadata_of(table: pa.Table) -> Mapping[str, str]:
    """Give what is written beside a table's columns."""
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def numpy_of(table: pa.Table, name: str, missing: float | None = None) -> NDArray[Any]:
    """Give a column as an array of its own: Arrow's is read-only."""
    column = table.column(name)
    if missing is not None:
        column = column.fill_null(missing)
    return np.array(column.to_numpy())


def lists_of(indptr: NDArray[np.int64], *columns: NDArray[Any]) -> tuple[pa.LargeListArray, ...]:
    """Give CSR rows as columns of lists."""
    offsets = pa.array(indptr.astype(np.int64))
    return tuple(pa.LargeListArray.from_arrays(offsets, pa.array(column)) for column in columns)


def rows_of(table: pa.Table, *names: str) -> tuple[NDArray[Any], ...]:
    """Give columns of lists as CSR rows: indptr, and the entries of each."""
    lists = [table.column(name).combine_chunks() for name in names]
    return (np.asarray(lists[0].offsets, np.int64), *(np.asarray(x.values) for x in lists))
