"""Evidence as Parquet tables that any other program reads, and back."""

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.concepts.atlas.arrow_columns import lists_of, metadata_of, numpy_of, rows_of
from napari_cytosae.concepts.atlas.evidence_ranks import (
    LEAST_ACTIVE,
    LEAST_MEASURED,
    Correlations,
)
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES, MeasuredCells
from napari_cytosae.concepts.atlas.evidence_where import N_COMPARTMENTS, Whereabouts

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas.data_set import DataSetInfo

_NAMES = [name.replace(" ", "_") for name in COMPARTMENTS]


def where_table(where: Whereabouts) -> pa.Table:
    """Give one row per concept: exact sums, and what they say."""
    columns: dict[str, pa.Array] = {
        "concept_id": pa.array(np.arange(len(where.cells), dtype=np.int32)),
        "cells": pa.array(where.cells),
    }
    for what, values in (
        ("share", where.shares),
        ("area", where.areas),
        ("enrichment", where.enrichment),
        ("units", where.units),
        ("points", where.points),
    ):
        for place, name in enumerate(_NAMES):
            column = np.ascontiguousarray(values[:, place])
            columns[f"{what}_{name}"] = pa.array(column, mask=np.isnan(column))
    return pa.table(columns).replace_schema_metadata({"n_cells": str(where.n_cells)})


def read_where(table: pa.Table, info: "DataSetInfo") -> Whereabouts:
    """Read what `where_table` gave."""
    if table.num_rows != info.d_sae:
        raise ValueError(f"{table.num_rows} rows instead of {info.d_sae}")
    units, points = (
        np.stack([numpy_of(table, f"{what}_{name}") for name in _NAMES], axis=1)
        for what in ("units", "points")
    )
    assert units.shape[1] == N_COMPARTMENTS
    return Whereabouts(units, points, numpy_of(table, "cells"), int(metadata_of(table)["n_cells"]))


def measured_table(sample: MeasuredCells) -> pa.Table:
    """Give one row per sampled cell: what identifies it, its concepts, its measures."""
    concept_ids, values = lists_of(sample.indptr, sample.concept_ids, sample.values)
    columns: dict[str, pa.Array] = {
        "priority": pa.array(sample.priorities),
        "source": pa.array(sample.sources),
        "cell": pa.array(sample.cells),
        "concept_ids": concept_ids,
        "values": values,
    }
    for place, name in enumerate(MEASURES):
        column = np.ascontiguousarray(sample.measures[:, place])
        columns[name] = pa.array(column, mask=np.isnan(column))
    return pa.table(columns).replace_schema_metadata({"size": str(sample.size)})


def read_measured(table: pa.Table, info: "DataSetInfo") -> MeasuredCells:
    """Read what `measured_table` gave; a measure that it does not know is missing for all."""
    measures = np.full((table.num_rows, len(MEASURES)), np.nan)
    for place, name in enumerate(MEASURES):
        if name in table.column_names:
            measures[:, place] = numpy_of(table, name, np.nan)
    indptr, concept_ids, values = rows_of(table, "concept_ids", "values")
    return MeasuredCells(
        numpy_of(table, "priority"),
        numpy_of(table, "source"),
        numpy_of(table, "cell"),
        indptr,
        concept_ids,
        values,
        measures,
        int(metadata_of(table)["size"]),
    )


def correlations_table(found: Correlations) -> pa.Table:
    """Give one row per pair of concept and measure that was tested."""
    concepts, places = np.nonzero(np.isfinite(found.rho))
    at = (concepts, places)
    table = pa.table(
        {
            "concept_id": pa.array(concepts.astype(np.int32)),
            "measure": pa.DictionaryArray.from_arrays(
                pa.array(places.astype(np.int32)), pa.array(MEASURES, pa.string())
            ),
            "rho": pa.array(found.rho[at]),
            "p": pa.array(found.p[at]),
            "q": pa.array(found.q[at]),
            "active": pa.array(found.active[at]),
        }
    )
    provenance = {
        "cells": json.dumps(dict(zip(MEASURES, found.cells.tolist(), strict=True))),
        "test": "Spearman's rho, two-sided, Student's t with n - 2 degrees of freedom",
        "q": "Benjamini-Hochberg over all rows of this table",
        "least_cells": str(LEAST_MEASURED),
        "least_active": str(LEAST_ACTIVE),
    }
    return table.replace_schema_metadata(provenance)


def read_correlations(table: pa.Table, info: "DataSetInfo") -> Correlations:
    """Read what `correlations_table` gave; pairs that were not tested are NaN."""
    column = table.column("measure").combine_chunks()
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    known = np.array([MEASURES.index(name) if name in MEASURES else -1 for name in names], int)
    places = known[np.asarray(encoded.indices)]
    kept = places >= 0
    at = (numpy_of(table, "concept_id")[kept], places[kept])
    shape = (info.d_sae, len(MEASURES))
    rho, p, q = (np.full(shape, np.nan) for _ in range(3))
    active = np.zeros(shape, np.int32)
    for values, name in ((rho, "rho"), (p, "p"), (q, "q"), (active, "active")):
        values[at] = numpy_of(table, name)[kept]
    cells = json.loads(metadata_of(table)["cells"])
    return Correlations(rho, p, q, np.array([cells.get(name, 0) for name in MEASURES]), active)
