"""Sums of runs are the sums of what their shards hold, whatever τ the run was counted with."""

import numpy as np
import pytest
from random_barcodes import single_cell

from napari_cytosae.cohorts import sums_of_run
from napari_cytosae.concepts import analyze
from napari_cytosae.errors import Cancelled, CohortError


@pytest.fixture(scope="module")
def run(bundle, tmp_path_factory):
    image = np.concatenate([single_cell(n) for n in range(5)], axis=1)
    labels = np.zeros(image.shape[:2], np.int32)
    for n in range(5):
        labels[16:48, 64 * n + 16 : 64 * n + 48] = 3 * n + 2
    return analyze(image, bundle, labels, tmp_path_factory.mktemp("run") / "a.cytosae")


def dense_of(run):
    """(cells, tokens, concepts) float32."""
    dense = np.zeros((len(run), 257, run.d_sae), np.float32)
    for row, label in enumerate(run.table["label"]):
        cell = run.cell(int(label))
        tokens = np.repeat(np.arange(257), np.diff(cell.indptr))
        dense[row, tokens, cell.concept_ids] = cell.values
    return dense


@pytest.mark.parametrize("tau", [0.2, 0.0, 1.5])
def test_tokens_are_counted_with_any_threshold(run, tau):
    before = (run.path / "cells.h5ad").read_bytes()
    sums = sums_of_run(run, tau, image=7)
    dense = dense_of(run)
    ids = np.flatnonzero((dense > 0).any(axis=(0, 1)))
    np.testing.assert_array_equal(sums.concept_ids, ids)
    np.testing.assert_array_equal(sums.counts, (dense > tau).sum(axis=(0, 1))[ids])
    np.testing.assert_array_equal(sums.cells, (dense > tau).any(axis=1).sum(axis=0)[ids])
    np.testing.assert_array_equal(sums.active, (dense > 0).any(axis=1).sum(axis=0)[ids])
    np.testing.assert_allclose(sums.means, dense.mean(axis=1).sum(axis=0)[ids], rtol=1e-5)
    np.testing.assert_allclose(sums.maxima, dense.max(axis=1).sum(axis=0)[ids], rtol=1e-6)
    assert sums.n_cells == 5
    assert set(sums.top.images) == {7}
    assert set(sums.top.labels) <= set(run.table["label"])
    assert (run.path / "cells.h5ad").read_bytes() == before


def test_a_run_without_cells_sums_to_nothing(bundle, tmp_path):
    glass = np.full((64, 64, 3), 220, np.uint8)
    sums = sums_of_run(analyze(glass, bundle, "detect", tmp_path / "e.cytosae"), 0.2)
    assert sums.n_cells == 0
    assert not len(sums.concept_ids)


def test_an_unfinished_run_is_refused(bundle, tmp_path):
    from napari_cytosae.concepts import open_run

    image = np.concatenate([single_cell(n) for n in range(3)], axis=1)
    with pytest.raises(Cancelled):
        analyze(image, bundle, "whole", tmp_path / "u.cytosae", cancelled=lambda: True)
    with pytest.raises(CohortError, match="not finished"):
        sums_of_run(open_run(tmp_path / "u.cytosae"), 0.2)
