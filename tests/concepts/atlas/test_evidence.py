"""Where concepts are and what they go with: against dense references, SciPy, and hand-made cells."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, spearmanr

from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.cells.morphology import MORPHOLOGY
from napari_cytosae.concepts.atlas import evidence_where
from napari_cytosae.concepts.atlas.evidence import Evidence, headlines
from napari_cytosae.concepts.atlas.evidence_ranks import LEAST_ACTIVE, correlate, no_correlations
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES, MeasuredCells, in_our_order
from napari_cytosae.concepts.atlas.evidence_where import (
    LEAST_CELLS,
    NOWHERE,
    Whereabouts,
    WhereTotals,
    add_totals,
    count_where,
)
from napari_cytosae.concepts.atlas.partners import priorities
from napari_cytosae.concepts.atlas.token_counts import TokenBlock
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.errors import AtlasError

D_SAE = 12
NUCLEUS, CYTOPLASM, BORDER, RED, OTHER, BACKGROUND = range(6)


def block_of(dense):
    """Write dense (cells, tokens, concepts) activations as CSR, by hand."""
    flat = dense.reshape(-1, dense.shape[2])
    rows, concepts = np.nonzero(flat)
    indptr = np.concatenate([[0], np.cumsum((flat > 0).sum(axis=1))]).astype(np.int64)
    return TokenBlock(indptr, concepts.astype(np.uint16), flat[rows, concepts])


def where_of(dense, points, *, compiled=True):
    totals = WhereTotals.zeros(dense.shape[2])
    n_cells = count_where(block_of(dense), points, totals, compiled=compiled)
    return add_totals(Whereabouts.empty(dense.shape[2]), totals, n_cells)


def random_cells(n, seed=0, share=0.02):
    rng = np.random.default_rng(seed)
    shape = (n, N_TOKENS, D_SAE)
    dense = (rng.gamma(1.0, 0.5, shape) * (rng.random(shape) < share)).astype(np.float16)
    points = rng.multinomial(16, np.ones(7) / 7, (n, 256))[..., :6].transpose(0, 2, 1)
    points = np.ascontiguousarray(points).astype(np.uint8)
    points[::3] = 0
    return dense, points


# -- where ----------------------------------------------------------------------------------------


def hand_made():
    """One concept in one cell: 3 in a patch of nucleus, 1 in a patch that is a quarter nucleus."""
    dense = np.zeros((1, N_TOKENS, 2), np.float16)
    dense[0, 1, 0], dense[0, 2, 0] = 3.0, 1.0
    dense[0, 0, 0] = 100.0  # the class token is nowhere
    points = np.zeros((1, 6, 256), np.uint8)
    points[0, NUCLEUS, 0] = 16
    points[0, NUCLEUS, 1], points[0, CYTOPLASM, 1] = 4, 12
    points[0, BACKGROUND, 2:4] = 16
    return dense, points


@pytest.mark.parametrize("compiled", [True, False])
def test_shares_areas_and_enrichment_of_a_hand_made_cell(compiled):
    where = where_of(*hand_made(), compiled=compiled)
    assert where.n_cells == 1
    assert where.cells.tolist() == [1, 0]
    np.testing.assert_allclose(where.shares[0], [3.25 / 4, 0.75 / 4, 0, 0, 0, 0])
    np.testing.assert_allclose(where.areas[0], [20 / 64, 12 / 64, 0, 0, 0, 32 / 64])
    np.testing.assert_allclose(where.enrichment[0, :2], [3.25 / 4 / (20 / 64), 1.0])
    assert np.isnan(where.enrichment[0, RED])  # there is no such area
    assert where.enrichment[0, BACKGROUND] == 0
    np.testing.assert_allclose(where.activation[0], [3.25, 0.75, 0, 0, 0, 0])
    assert np.isnan(where.shares[1]).all()


def test_what_lies_beyond_the_slide_is_left_out_of_the_shares():
    dense, points = hand_made()
    points[0, :, 1] = 0
    where = where_of(dense, points)
    np.testing.assert_allclose(where.shares[0], [1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.7])
def test_sums_are_those_of_the_dense_activations(compiled, share):
    dense, points = random_cells(7, share=share)
    where = where_of(dense, points, compiled=compiled)
    known = points.any(axis=(1, 2))
    patches = dense[:, 1:].astype(np.float64)[known]
    expected = np.einsum("npk,ncp->kc", patches, points[known].astype(np.float64)) / 16
    np.testing.assert_array_equal(where.activation, expected)
    there = (patches > 0).any(axis=1)
    np.testing.assert_array_equal(where.cells, there.sum(axis=0))
    area = points[known].sum(axis=2, dtype=np.int64)
    np.testing.assert_array_equal(where.points, there.T.astype(np.int64) @ area)
    assert where.n_cells == known.sum()


@pytest.mark.parametrize("compiled", [True, False])
def test_the_largest_and_smallest_activations_are_counted_exactly(compiled):
    dense = np.zeros((2, N_TOKENS, 2), np.float16)
    dense[:, 1:, 0] = np.finfo(np.float16).max
    dense[:, 1:, 1] = np.finfo(np.float16).smallest_subnormal
    points = np.zeros((2, 6, 256), np.uint8)
    points[:, NUCLEUS] = 16
    where = where_of(dense, points, compiled=compiled)
    assert where.units[:, NUCLEUS].tolist() == [2 * 256 * 16 * 65504 * 2**24, 2 * 256 * 16]


def test_no_cells_and_cells_without_activations_are_fine():
    for n in (0, 3):
        where = where_of(np.zeros((n, N_TOKENS, D_SAE), np.float16), np.ones((n, 6, 256), np.uint8))
        assert where.n_cells == n
        assert not where.cells.any()
        assert (where.tags == NOWHERE).all()


def test_more_than_can_be_added_up_is_refused():
    huge = Whereabouts.empty(1)
    huge.units[0, 0] = 2**61 + 2**20
    with pytest.raises(AtlasError, match="added up exactly"):
        huge + huge


def told(shares, areas, cells=50):
    """Give whereabouts with these shares of activation and area."""
    units = np.rint(np.array([shares]) * 1e6).astype(np.int64)
    points = np.rint(np.array([areas]) * 1e6).astype(np.int64)
    return Whereabouts(units, points, np.array([cells]), cells)


AREAS = [0.25, 0.10, 0.05, 0.20, 0.0, 0.40]


@pytest.mark.parametrize(
    ("shares", "tag", "words"),
    [
        ([0.78, 0.12, 0, 0, 0, 0.1], NUCLEUS, "mostly in the nucleus (78 %, 3.1 × its area)"),
        ([0.4, 0.1, 0.25, 0, 0, 0.25], BORDER, "often at the cell border (25 %, 5.0 × its area)"),
        ([0.1, 0.1, 0, 0.8, 0, 0], RED, "mostly in neighbouring red cells (80 %, 4.0 × its area)"),
        (AREAS, NOWHERE, ""),  # spread evenly
        ([0.35, 0.14, 0.06, 0.05, 0, 0.4], NOWHERE, ""),  # enriched, but too little
    ],
)
def test_a_tag_is_a_compartment_with_its_number(shares, tag, words):
    evidence = Evidence(told(shares, AREAS), lambda: no_correlations(1))
    assert evidence.where.tags.tolist() == [tag]
    assert evidence.compartments.tolist() == [[*COMPARTMENTS, ""][tag]]
    assert evidence.words.tolist() == [words]


def test_few_cells_have_no_tag():
    assert told([1, 0, 0, 0, 0, 0], AREAS, LEAST_CELLS).tags.tolist() == [NUCLEUS]
    assert told([1, 0, 0, 0, 0, 0], AREAS, LEAST_CELLS - 1).tags.tolist() == [NOWHERE]


# -- what -----------------------------------------------------------------------------------------


def sample_of(means, measures, size=2048, first=0):
    """Give a sample of cells with dense (n, d_sae) means, by hand."""
    n = len(means)
    rows, concepts = np.nonzero(means)
    given = np.full((n, len(MEASURES)), np.nan)
    given[:, : measures.shape[1]] = measures
    cells = np.arange(first, first + n)
    keys = priorities(np.zeros(n, np.uint64), cells)
    sample = MeasuredCells(
        keys,
        np.zeros(n, np.int32),
        cells,
        np.concatenate([[0], np.cumsum((means > 0).sum(axis=1))]),
        concepts.astype(np.uint32),
        means[rows, concepts].astype(np.float32),
        given,
        size,
    )
    return MeasuredCells.empty(size).joined([sample])


def random_sample(n, seed=0):
    """Give means and measures with ties in both, gaps, and concepts that few or all cells have."""
    rng = np.random.default_rng(seed)
    present = rng.random((n, D_SAE)) < np.linspace(0.05, 1.0, D_SAE)
    means = (rng.integers(1, 9, (n, D_SAE)) / 8 * present).astype(np.float32)
    measures = rng.normal(size=(n, 5)).round(1)
    measures[:, 0] += 2 * means[:, 7]
    measures[rng.random(n) < 0.2, 1] = np.nan
    measures[rng.random(n) < 0.5, 2] = np.nan
    measures[:, 3] = rng.integers(0, 2, n)
    measures[:, 4] = 3.0
    return means, measures


@pytest.mark.parametrize("n", [25, 300])
def test_correlations_are_scipys(n):
    means, measures = random_sample(n)
    found = correlate(sample_of(means, measures), D_SAE)
    n_tested = 0
    for concept in range(D_SAE):
        for place in range(4):
            known = np.isfinite(measures[:, place])
            active = int((means[known, concept] > 0).sum())
            assert found.cells[place] == known.sum()
            if active < LEAST_ACTIVE or known.sum() < 20:
                assert np.isnan(found.rho[concept, place])
                assert found.active[concept, place] == 0
                continue
            assert found.active[concept, place] == active
            expected = spearmanr(means[known, concept], measures[known, place])
            np.testing.assert_allclose(found.rho[concept, place], expected.statistic, atol=1e-12)
            np.testing.assert_allclose(found.p[concept, place], expected.pvalue, rtol=1e-9)
            n_tested += 1
    assert n_tested >= 20
    assert np.isnan(found.rho[:, 4:]).all()  # the same in all cells, or not measured at all
    tested = np.isfinite(found.p)
    np.testing.assert_array_equal(tested, np.isfinite(found.rho))
    np.testing.assert_allclose(found.q[tested], false_discovery_control(found.p[tested]))


def test_a_concept_that_is_a_measure_correlates_wholly():
    rng = np.random.default_rng(0)
    value = rng.permutation(40) + 1.0
    means = np.stack([value, 41 - value], axis=1).astype(np.float32)
    found = correlate(sample_of(means, value[:, None]), 2)
    assert found.rho[:, 0].tolist() == [1.0, -1.0]
    assert found.p[:, 0].tolist() == [0.0, 0.0]
    assert found.found[:, 0].all()


def test_noise_is_rarely_called_a_finding():
    rng = np.random.default_rng(1)
    means = (rng.gamma(1, 1, (400, 300)) * (rng.random((400, 300)) < 0.3)).astype(np.float32)
    found = correlate(sample_of(means, rng.normal(size=(400, 6))), 300)
    assert found.found.mean() < 0.001


def test_few_cells_tell_no_correlation():
    means, measures = random_sample(19)
    assert np.isnan(correlate(sample_of(means, measures), D_SAE).rho).all()
    assert np.isnan(no_correlations(3).rho).all()
    nothing = sample_of(np.zeros((30, 2), np.float32), np.random.default_rng(0).random((30, 2)))
    assert np.isnan(correlate(nothing, 2).rho).all()


def test_correlations_do_not_depend_on_the_order_of_cells():
    means, measures = random_sample(60)
    order = np.random.default_rng(2).permutation(60)
    first = correlate(sample_of(means, measures), D_SAE)
    second = correlate(sample_of(means[order], measures[order]), D_SAE)
    for name in ("rho", "p", "q", "active"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_measures_of_other_versions_are_put_into_this_ones_order():
    ordered = in_our_order(
        np.array([[1.0, 2.0, np.inf]]), ("of a later version", "lobes", "nc_ratio")
    )
    at = {name: ordered[0, place] for place, name in enumerate(MEASURES)}
    assert at.pop("lobes") == 2.0
    assert np.isnan(list(at.values())).all()


# -- words ----------------------------------------------------------------------------------------


def evidence_of(means, measures, where=None):
    where = where or Whereabouts.empty(means.shape[1])
    return Evidence(where, lambda: correlate(sample_of(means, measures), means.shape[1]))


def test_words_name_the_strongest_correlates_with_signs():
    rng = np.random.default_rng(3)
    means = rng.gamma(1, 1, (200, 1)).astype(np.float32)
    noise = rng.normal(size=(200, len(MEASURES)))
    names = list(MEASURES)
    measures = noise.copy()
    measures[:, names.index("nc_ratio")] = means[:, 0] * 3 + 0.5 * noise[:, 0]
    measures[:, names.index("basophilia")] = -means[:, 0] + 1.2 * noise[:, 1]
    evidence = evidence_of(means, measures, told([0.78, 0.12, 0, 0, 0, 0.1], AREAS))
    table = evidence.measure_table(0)
    assert table["measure"].tolist()[:2] == ["nc_ratio", "basophilia"]
    rho = table["rho"].tolist()
    assert evidence.words[0] == (
        "mostly in the nucleus (78 %, 3.1 × its area); "
        f"N:C ratio ρ {rho[0]:.2f}; basophilic cytoplasm ρ −{-rho[1]:.2f}"
    )
    assert table["words"].tolist()[0] == MORPHOLOGY["nc_ratio"]
    where = evidence.where_table(0)
    assert where["compartment"].tolist() == list(COMPARTMENTS)
    assert where["share"].sum() == pytest.approx(1)


def test_weak_correlations_are_not_put_into_words_however_certain():
    rng = np.random.default_rng(4)
    means = rng.gamma(1, 1, (2000, 1)).astype(np.float32)
    measures = 0.14 * means + rng.normal(size=(2000, 1))
    evidence = evidence_of(means, measures)
    assert evidence.correlations.found[0, 0]
    assert 0 < evidence.correlations.rho[0, 0] < 0.2
    assert evidence.words.tolist() == [""]


def test_the_data_set_with_most_cells_has_the_headline():
    few = Evidence(told([0.9, 0.1, 0, 0, 0, 0], AREAS, 12), lambda: no_correlations(1))
    many = Evidence(told([0.1, 0.9, 0, 0, 0, 0], AREAS, 90), lambda: no_correlations(1))
    for both in ([few, many], [many, few]):
        headline = headlines(both)
        assert headline.compartment.tolist() == ["cytoplasm"]
        np.testing.assert_allclose(headline.share, [0.9])
        np.testing.assert_allclose(headline.enrichment, [9.0])


# -- parts and wholes -----------------------------------------------------------------------------

_SAMPLE = ("priorities", "sources", "cells", "indptr", "concept_ids", "values", "measures")


def assert_same_sample(first, second):
    for name in _SAMPLE:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@given(
    st.permutations(range(17)),
    st.lists(st.integers(0, 17), max_size=4),
    st.integers(0, 20),
)
def test_parts_make_the_whole_in_any_order(order, cuts, size):
    dense, points = random_cells(17, seed=5)
    means, measures = random_sample(17, seed=6)
    whole = where_of(dense, points)
    everything = sample_of(means, measures, size)
    where, sample = Whereabouts.empty(D_SAE), MeasuredCells.empty(size)
    edges = [0, *sorted(cuts), 17]
    for start, stop in pairwise(edges):
        rows = np.array(order[start:stop], int)
        where = where + where_of(dense[rows], points[rows])
        parts = [sample_of(means[[row]], measures[[row]], size, first=row) for row in rows]
        sample = sample.joined(parts)
    for name in ("units", "points", "cells", "n_cells"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(where, name))
    assert_same_sample(sample, everything)
    assert len(sample) == min(size, 17)


def test_without_numba_the_sums_are_the_same(monkeypatch):
    dense, points = random_cells(5, seed=8)
    fast = where_of(dense, points)
    monkeypatch.setattr(evidence_where, "compiled_where", lambda: None)
    slow = where_of(dense, points)
    for name in ("units", "points", "cells"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
