"""A data set's parts as Parquet tables that any other program reads, and back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.arrow_columns import lists_of, metadata_of, numpy_of, rows_of
from napari_cytosae.concepts.atlas.data_set import Counts, DataSet, DataSetInfo, Part, Sources
from napari_cytosae.concepts.atlas.evidence_tables import (
    correlations_table,
    measured_table,
    read_correlations,
    read_measured,
    read_where,
    where_table,
)
from napari_cytosae.concepts.atlas.measures import NO_LABEL
from napari_cytosae.concepts.atlas.partners import CellSample, Partners
from napari_cytosae.concepts.atlas.references import NO_PATCH, NO_SOURCE, References
from napari_cytosae.concepts.cell import GRID
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import AtlasError

PARTS: tuple[Part, ...] = (
    "counts", "references", "sources", "sample", "partners", "where", "measured", "correlations",
)  # fmt: skip
_ALWAYS = ("counts", "references", "sources")
_DERIVED = ("partners", "correlations")
_RAW = ("images", "mass", "mass_units", "patches", "tokens_above")
_READ = {
    "counts": list(_RAW),
    "references": ["value", "source", "cell", "patch_row", "patch_column", "label"],
}


def write_table(table: pa.Table, path: Path) -> None:
    """Write one Parquet file durably."""
    # Statistics and dictionaries of numeric columns would only make files of this size slower.
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
    ]
    write_durably(
        path,
        lambda temporary: pq.write_table(
            table, temporary, compression="zstd", use_dictionary=texts
        ),
        needed_bytes=table.nbytes,
    )


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file, or some of its columns.

    Raises
    ------
    AtlasError
        Where it is missing or damaged.
    """
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError as error:
        raise AtlasError(
            f"{path} is missing. If the atlas was just written anew, open it again; otherwise "
            "build it again, or restore it from a copy."
        ) from error
    except (OSError, pa.ArrowException, KeyError) as error:
        raise AtlasError(
            f"{path} is damaged ({error}). Build the atlas again, or restore it from a copy."
        ) from error


def write_part(data: DataSet, part: Part, path: Path) -> bool:
    """Write one part of a data set; tell whether there was any."""
    if part in _DERIVED and not data.info.finished:
        return False
    if part == "counts":
        table = _counts_table(data)
    elif part == "references":
        table = _references_table(data)
    elif (content := getattr(data, part)) is None:
        return False
    else:
        table = _WRITERS[part](content)
    write_table(table, path)
    return True


def read_part(info: DataSetInfo, part: Part, path: Path) -> Any:
    """Read one part of a data set; None where it was not kept."""
    if part not in _ALWAYS and not path.exists():
        return None
    table = read_table(path, _READ.get(part))
    try:
        return _READERS[part](table, info)
    except (KeyError, IndexError, ValueError, TypeError, pa.ArrowException) as error:
        raise AtlasError(
            f"{path} does not fit the atlas ({error}). Build the atlas again, or restore it from "
            "a copy."
        ) from error


def table_of_frame(frame: pd.DataFrame) -> pa.Table:
    """Turn a table of concepts into Parquet's kind."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def frame_of_table(table: pa.Table, maybe_missing: tuple[str, ...]) -> pd.DataFrame:
    """Turn it back; columns that begin so may have missing values.

    Words are looked up among the few different ones, which is ten times as fast as reading each.
    """
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_string(column.type):
            encoded = column.dictionary_encode()
            words = np.array(encoded.dictionary.to_pylist(), object)
            columns[name] = words[np.asarray(encoded.indices)] if len(words) else words
        elif name.startswith(maybe_missing):
            missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
            columns[name] = pd.arrays.FloatingArray(
                np.array(column.fill_null(0.0).to_numpy()), missing
            )
        else:
            columns[name] = np.array(column.to_numpy(zero_copy_only=False))
    return pd.DataFrame(columns)


def _counts_table(data: DataSet) -> pa.Table:
    """Give raw counts, and beside them what they say, for programs that know nothing of us."""
    raw = {name: getattr(data.counts, name) for name in _RAW}
    table = table_of_frame(data.table)
    for name in _RAW:
        values = raw[name]
        kind = pa.float64() if name == "mass" else pa.int64()
        column = pa.nulls(table.num_rows, kind) if values is None else pa.array(values)
        table = (
            table.set_column(table.schema.get_field_index(name), name, column)
            if name in table.column_names
            else table.append_column(name, column)
        )
    return table


def _read_counts(table: pa.Table, info: DataSetInfo) -> Counts:
    if table.num_rows != info.d_sae:
        raise ValueError(f"{table.num_rows} rows instead of {info.d_sae}")

    def column(name: str) -> NDArray[Any] | None:
        values = table.column(name)
        return None if values.null_count else numpy_of(table, name)

    return Counts(
        numpy_of(table, "images"),
        numpy_of(table, "mass"),
        column("mass_units"),
        column("patches"),
        column("tokens_above"),
    )


def _references_table(data: DataSet) -> pa.Table:
    """Give k rows per concept, in order; those that nothing fills are empty but for their place."""
    references = data.references
    d_sae, k = references.values.shape
    empty = ~references.filled.ravel()
    patches, labels = references.patches.ravel(), references.labels.ravel()
    no_patch, no_label = patches == NO_PATCH, labels == NO_LABEL
    return pa.table(
        {
            "concept_id": pa.array(np.repeat(np.arange(d_sae, dtype=np.int32), k)),
            "rank": pa.array(np.tile(np.arange(k, dtype=np.int16), d_sae)),
            "value": pa.array(references.values.ravel(), mask=empty),
            "source": pa.array(
                references.sources.ravel(), mask=references.sources.ravel() == NO_SOURCE
            ),
            "cell": pa.array(references.cells.ravel(), mask=empty),
            "patch_row": pa.array(patches // GRID, mask=no_patch),
            "patch_column": pa.array(patches % GRID, mask=no_patch),
            "label": pa.array(labels, mask=no_label),
            "class": pa.DictionaryArray.from_arrays(
                pa.array(labels, mask=no_label), pa.array(data.info.classes, pa.string())
            ),
        }
    )


def _read_references(table: pa.Table, info: DataSetInfo) -> References:
    rows, columns = (numpy_of(table, f"patch_{axis}", NO_PATCH) for axis in ("row", "column"))
    patches = np.where(rows >= 0, rows * GRID + columns, NO_PATCH).astype(np.int16)
    shape = (info.d_sae, info.k)
    return References(
        numpy_of(table, "value", 0.0).reshape(shape),
        numpy_of(table, "source", NO_SOURCE).reshape(shape),
        numpy_of(table, "cell", -1).reshape(shape),
        patches.reshape(shape),
        numpy_of(table, "label", NO_LABEL).reshape(shape),
    )


def _sources_table(sources: Sources) -> pa.Table:
    return pa.table(
        {
            "identity": pa.array(sources.identities, pa.string()),
            "path": pa.array(sources.paths, pa.string()),
            "image": pa.array(sources.images, pa.string()),
            "n_cells": pa.array(sources.n_cells, pa.int64()),
        }
    )


def _read_sources(table: pa.Table, info: DataSetInfo) -> Sources:
    return Sources(
        *(tuple(table.column(n).to_pylist()) for n in ("identity", "path", "image", "n_cells"))
    )


def _sample_table(sample: CellSample) -> pa.Table:
    concept_ids, values = lists_of(sample.indptr, sample.concept_ids, sample.values)
    table = pa.table(
        {
            "priority": pa.array(sample.priorities),
            "source": pa.array(sample.sources),
            "cell": pa.array(sample.cells),
            "concept_ids": concept_ids,
            "values": values,
        }
    )
    return table.replace_schema_metadata({"size": str(sample.size)})


def _read_sample(table: pa.Table, info: DataSetInfo) -> CellSample:
    indptr, concept_ids, values = rows_of(table, "concept_ids", "values")
    return CellSample(
        numpy_of(table, "priority"),
        numpy_of(table, "source"),
        numpy_of(table, "cell"),
        indptr,
        concept_ids,
        values,
        int(metadata_of(table)["size"]),
    )


def _partners_table(partners: Partners) -> pa.Table:
    concepts, ranks = np.nonzero(partners.concept_ids >= 0)
    at = (concepts, ranks)
    table = pa.table(
        {
            "concept_id": pa.array(concepts.astype(np.int32)),
            "rank": pa.array(ranks.astype(np.int16)),
            "partner": pa.array(partners.concept_ids[at]),
            "cosine": pa.array(partners.cosines[at]),
            "share": pa.array(partners.shares[at]),
        }
    )
    m = partners.concept_ids.shape[1]
    return table.replace_schema_metadata({"m": str(m), "n_sampled": str(partners.n_sampled)})


def _read_partners(table: pa.Table, info: DataSetInfo) -> Partners:
    metadata = metadata_of(table)
    shape = (info.d_sae, int(metadata["m"]))
    ids = np.full(shape, -1, np.int32)
    cosines, shares = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    at = (numpy_of(table, "concept_id"), numpy_of(table, "rank"))
    ids[at], cosines[at], shares[at] = (
        numpy_of(table, name) for name in ("partner", "cosine", "share")
    )
    return Partners(ids, cosines, shares, int(metadata["n_sampled"]))


_WRITERS: Mapping[str, Callable[[Any], pa.Table]] = {
    "sources": _sources_table,
    "sample": _sample_table,
    "partners": _partners_table,
    "where": where_table,
    "measured": measured_table,
    "correlations": correlations_table,
}
_READERS = {
    "counts": _read_counts,
    "references": _read_references,
    "sources": _read_sources,
    "sample": _read_sample,
    "partners": _read_partners,
    "where": read_where,
    "measured": read_measured,
    "correlations": read_correlations,
}
