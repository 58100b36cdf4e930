"""The speed table's measure of agreement tells equal encodings from others."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_cytosae.concepts import EncodedBatch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TOKENS = 257


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from agreement import agreement

    yield agreement
    sys.modules.pop("agreement", None)


def batch(dense):
    n = len(dense) // TOKENS
    return EncodedBatch(np.arange(n), np.zeros((n, 4)), csr_array(dense.astype(np.float32)))


@pytest.fixture
def dense():
    rng = np.random.default_rng(0)
    strength = rng.permuted(np.tile(np.linspace(0.5, 3.0, 30), (2, 1)), axis=1)
    return np.repeat(strength, TOKENS, axis=0)


def test_an_encoding_agrees_with_itself(agreement, dense):
    found = agreement([batch(dense)], [batch(dense)])
    assert (found.cells, found.top10, found.all_ten, found.flips) == (2, 1.0, 1.0, 0.0)
    assert found.least_cosine == pytest.approx(1.0)
    assert found.holds


def test_pairs_that_leave_tau_are_flips(agreement, dense):
    other = dense.copy()
    other[:26, dense[0].argmin()] = 0.1  # 26 of 2 · 257 · 30 pairs
    found = agreement([batch(dense)], [batch(other)])
    assert found.flips == pytest.approx(26 / dense.size)
    assert found.top10 == 1.0


def test_another_top_concept_and_another_direction_are_told(agreement, dense):
    other = dense.copy()
    strongest, weakest = dense[0].argmax(), dense[0].argmin()
    other[:TOKENS, [strongest, weakest]] = other[:TOKENS, [weakest, strongest]]
    found = agreement([batch(dense)], [batch(other)])
    assert found.top10 == pytest.approx((0.9 + 1.0) / 2)
    assert found.all_ten == 0.5
    profile, swapped = dense[0], other[0]
    cosine = profile @ swapped / np.linalg.norm(profile) / np.linalg.norm(swapped)
    assert found.least_cosine == pytest.approx(cosine, abs=1e-5)
    assert not found.holds
