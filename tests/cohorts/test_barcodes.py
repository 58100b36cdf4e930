"""Barcodes are the paper's, to the integer, whoever adds them up and however often."""

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_barcodes import (
    TAU,
    barcodes_of,
    cohort_of,
    random_barcodes,
    random_cells,
    sums_of,
)

from napari_cytosae.cohorts import (
    Sums,
    TopCells,
    add_up,
    build_barcodes,
    read_barcodes,
    to_anndata,
    write_barcodes,
)
from napari_cytosae.errors import CohortError

SUMS = ("concept_ids", "counts", "cells", "active", "means", "maxima")


def same(first, second):
    assert first.n_cells == second.n_cells
    for name in SUMS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("concept_ids", "values", "images", "labels"):
        np.testing.assert_array_equal(getattr(first.top, name), getattr(second.top, name))


def test_counts_are_upstreams_to_the_integer(shared):
    golden = np.load(shared / "golden/statistics.npz")
    sums = sums_of(golden["activations"])
    counts = np.zeros(96, np.int64)
    counts[sums.concept_ids] = sums.counts
    np.testing.assert_array_equal(counts, golden["count_above_0_2"])
    share = np.zeros(96)
    share[sums.concept_ids] = sums.active / sums.n_cells
    np.testing.assert_allclose(share, golden["sae_sparsity"], rtol=1e-6)


def test_mean_activation_is_upstreams(shared):
    golden = np.load(shared / "golden/statistics.npz")
    barcodes = barcodes_of([golden["activations"]], ["x"])
    expected = np.nan_to_num(golden["sae_mean_acts"])
    np.testing.assert_allclose(barcodes.mean_activation, expected, rtol=1e-5, atol=1e-7)


def test_the_barcode_is_the_papers_formula():
    dense, barcodes = random_barcodes()
    for p, cells in enumerate(dense):
        for s in range(cells.shape[2]):
            total = 0
            for i in range(cells.shape[0]):
                for j in range(cells.shape[1]):
                    total += cells[i, j, s] > TAU
            assert barcodes.values().toarray()[p, s] == total / len(cells)
            assert barcodes.values("count", "concepts").toarray()[p, s] == total / 30


@pytest.mark.parametrize(
    ("statistic", "of_a_cell"),
    [
        ("presence", lambda cells: (cells > TAU).any(axis=1)),
        ("mean", lambda cells: cells.mean(axis=1)),
        ("max", lambda cells: cells.max(axis=1)),
    ],
)
def test_other_barcodes_average_over_cells_too(statistic, of_a_cell):
    dense, barcodes = random_barcodes()
    expected = [of_a_cell(cells).mean(axis=0) for cells in dense]
    np.testing.assert_allclose(barcodes.values(statistic).toarray(), expected, rtol=1e-6)


def test_a_diseases_barcode_is_the_mean_of_its_patients():
    _, barcodes = random_barcodes()
    diagnoses, mean = barcodes.of_diseases()
    assert diagnoses == ("AML", "healthy")
    values = barcodes.values().toarray()
    np.testing.assert_allclose(mean[0], values[1::2].mean(axis=0))
    np.testing.assert_allclose(mean[1], values[::2].mean(axis=0))


def test_barcodes_do_not_grow_with_the_number_of_cells_but_upstreams_do():
    cells = random_cells(np.random.default_rng(1), 20, 12)
    once, thrice = barcodes_of([cells, np.concatenate([cells] * 3)], ["a", "b"]).values().toarray()
    np.testing.assert_array_equal(once, thrice)
    upstream = barcodes_of([cells, np.concatenate([cells] * 3)], ["a", "b"])
    once, thrice = upstream.values("count", "concepts").toarray()
    np.testing.assert_allclose(thrice, 3 * once)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), min_size=0, max_size=8))
def test_sums_do_not_depend_on_where_cells_are_parted(seed, cuts):
    dense = random_cells(np.random.default_rng(seed), 10, 15)
    parts = [part for part in np.split(dense, sorted(cuts)) if len(part)]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    together = sums_of(dense)
    added = add_up([sums_of(part) for part in parts])
    for name in ("concept_ids", "counts", "cells", "active"):
        np.testing.assert_array_equal(getattr(added, name), getattr(together, name))
    np.testing.assert_allclose(added.means, together.means, rtol=1e-12)
    assert starts[-1] == added.n_cells == 10


def test_no_cells_add_nothing():
    dense = random_cells(np.random.default_rng(0), 4, 9)
    same(sums_of(dense) + Sums.empty(9), sums_of(dense))
    same(Sums.empty(9) + sums_of(dense), sums_of(dense))
    with pytest.raises(CohortError, match="no cells"):
        add_up([])
    with pytest.raises(CohortError, match="one bundle"):
        sums_of(dense) + Sums.empty(10)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_top_cells_are_the_best_of_all(data):
    n = data.draw(st.integers(0, 60))
    k = data.draw(st.integers(1, 5))
    rows = data.draw(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3), st.integers(1, 99)),
            min_size=n, max_size=n, unique_by=lambda row: (row[0], row[2], row[3]),
        )
    )  # fmt: skip
    ids, values, images, labels = (np.array([row[n] for row in rows], np.int64) for n in range(4))
    half = n // 2
    merged = TopCells.of(ids[:half], values[:half], labels[:half], images[:half], k).merged(
        TopCells.of(ids[half:], values[half:], labels[half:], images[half:], k)
    )
    found = list(zip(merged.concept_ids, merged.values, merged.images, merged.labels, strict=True))
    expected = []
    for concept_id in range(5):
        mine = sorted(
            (row for row in rows if row[0] == concept_id and row[1] > 0),
            key=lambda row: (-row[1], row[2], row[3]),
        )
        expected += mine[:k]
    assert found == expected
    for concept_id in range(5):
        assert set(merged.of_concept(concept_id).concept_ids) <= {concept_id}


def test_best_cells_come_with_their_patients():
    dense, barcodes = random_barcodes()
    concept_id = int(barcodes.concept_ids[3])
    best = barcodes.best_cells(concept_id, k=5)
    ranked = sorted(
        ((cells[i, :, concept_id].mean(), f"P{p:03d}", i + 1)
         for p, cells in enumerate(dense) for i in range(len(cells))),
        reverse=True,
    )[:5]  # fmt: skip
    assert list(best["patient"]) == [patient for _, patient, _ in ranked]
    assert list(best["label"]) == [label for _, _, label in ranked]
    np.testing.assert_allclose(best["activation"], [value for value, _, _ in ranked], rtol=1e-6)
    only = barcodes.best_cells(concept_id, rows=barcodes.diagnosis == "AML", k=3)
    assert set(only["diagnosis"]) == {"AML"}


def test_patients_without_cells_are_named():
    cohort = cohort_of(["x", "y", "y"])
    dense = random_cells(np.random.default_rng(0), 4, 9)
    parts = [sums_of(dense), Sums.empty(9), Sums.empty(9)]
    with pytest.raises(CohortError, match="No cell was found for P001, P002"):
        build_barcodes(cohort, parts, TAU)
    with pytest.raises(CohortError, match="2 sums were given for 3"):
        build_barcodes(cohort, parts[:2], TAU)
    wider = random_cells(np.random.default_rng(0), 4, 10)
    with pytest.raises(CohortError, match="9, 10"):
        build_barcodes(cohort, [sums_of(dense), sums_of(dense), sums_of(wider)], TAU)


def test_statistics_that_do_not_exist_are_refused():
    _, barcodes = random_barcodes()
    with pytest.raises(CohortError, match="median"):
        barcodes.values("median")
    with pytest.raises(CohortError, match="Only counts"):
        barcodes.values("mean", "concepts")
    with pytest.raises(CohortError, match="No patient is left"):
        barcodes.select(np.zeros(len(barcodes), bool))


def test_barcodes_come_back_from_their_file(tmp_path):
    rng = np.random.default_rng(2)
    dense = [random_cells(rng, n, 12) for n in (4, 5, 6)]
    covariates = {0: {"site": "A/B", "age": 50.0}, 1: {"age": 61.0}, 2: {"site": "B"}}
    before = barcodes_of(
        dense, ["x", "y", ""], covariates, provenance={"bundle": "b", "sae_digest": None, "n": 3}
    )
    after = read_barcodes(write_barcodes(before, tmp_path / "barcodes.h5ad"))
    for name in ("counts", "cells", "active"):
        np.testing.assert_array_equal(
            getattr(after, name).toarray(), getattr(before, name).toarray()
        )
    for statistic in ("count", "presence", "mean", "max"):
        np.testing.assert_allclose(
            after.values(statistic).toarray(), before.values(statistic).toarray(), rtol=1e-12
        )
    assert list(after.patients.index) == ["P000", "P001", "P002"]
    assert list(after.patients["site"]) == ["A/B", "", "B"]
    np.testing.assert_array_equal(after.patients["age"], [50, 61, np.nan])
    assert after.provenance == {"bundle": "b", "n": 3}
    assert after.threshold == TAU
    concept_id = int(before.concept_ids[0])
    pd.testing.assert_frame_equal(
        after.best_cells(concept_id), before.best_cells(concept_id), check_dtype=False
    )


def test_the_file_is_an_anndata_of_the_papers_barcode(tmp_path):
    dense, barcodes = random_barcodes()
    table = anndata.read_h5ad(write_barcodes(barcodes, tmp_path / "barcodes.h5ad"))
    assert table.shape == (8, 30)
    expected = [(cells > TAU).sum(axis=(0, 1)) / len(cells) for cells in dense]
    np.testing.assert_allclose(table.X.toarray(), expected)
    assert set(table.layers) - {None} == {  # None is X in anndata 0.13
        "count",
        "cells",
        "cells_active",
        "presence",
        "mean",
        "max",
    }
    assert to_anndata(barcodes).obs["diagnosis"].tolist() == ["healthy", "AML"] * 4


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CohortError, match="does not exist"):
        read_barcodes(tmp_path / "none.h5ad")
    path = tmp_path / "text.h5ad"
    path.write_text("no HDF5")
    with pytest.raises(CohortError, match="damaged"):
        read_barcodes(path)
    anndata.AnnData(np.zeros((2, 2))).write_h5ad(path)
    with pytest.raises(CohortError, match="no barcodes"):
        read_barcodes(path)
    _, barcodes = random_barcodes()
    write_barcodes(barcodes, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CohortError, match="damaged"):
        read_barcodes(path)


def test_scanpy_like_users_can_slice_it():
    _, barcodes = random_barcodes()
    table = to_anndata(barcodes)
    assert table[table.obs["diagnosis"] == "AML", table.var["mean_activation"] > 0].n_obs == 4
