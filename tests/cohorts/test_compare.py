"""Tests of ranks agree with scipy's and with what is written out here; groups are checked."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_barcodes import barcodes_of, random_barcodes, random_cells
from scipy import stats

from napari_cytosae.cohorts import (
    ComparisonOptions,
    benjamini_hochberg,
    cluster_order,
    compare,
    correlate_patients,
    diagnosis_order,
    family_wise_p,
    make_cohort,
    rank_test,
)
from napari_cytosae.cohorts.synthetic import SyntheticOptions
from napari_cytosae.errors import CohortError


def two_groups(seed, n1, n2, n_concepts=12, ties=False):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 1.0, (n1 + n2, n_concepts))
    if ties:
        values = np.floor(2 * values)
    first = np.zeros(n1 + n2, bool)
    first[rng.permutation(n1 + n2)[:n1]] = True
    return values, first


@pytest.mark.parametrize("ties", [False, True])
def test_large_groups_are_scipys_mann_whitney(ties):
    values, first = two_groups(0, 20, 25, ties=ties)
    result = rank_test(values, first)
    expected = stats.mannwhitneyu(values[first], values[~first], axis=0, method="asymptotic")
    np.testing.assert_allclose(result.u, expected.statistic)
    np.testing.assert_allclose(result.p, expected.pvalue, rtol=1e-10)
    assert not result.exact


def test_small_groups_are_scipys_exact_mann_whitney():
    values, first = two_groups(1, 5, 7)
    result = rank_test(values, first)
    expected = stats.mannwhitneyu(values[first], values[~first], axis=0, method="exact")
    np.testing.assert_allclose(result.p, expected.pvalue, rtol=1e-10)
    assert result.exact


def test_small_groups_with_ties_are_scipys_permutation_test():
    values, first = two_groups(2, 4, 5, n_concepts=5, ties=True)
    result = rank_test(values, first)
    for concept in range(5):

        def distance(x, y):
            ranks = stats.rankdata(np.concatenate([x, y]))
            return abs(ranks[: len(x)].sum() - len(x) * (len(x) + len(y) + 1) / 2)

        expected = stats.permutation_test(
            (values[first, concept], values[~first, concept]),
            distance, vectorized=False, n_resamples=np.inf, alternative="greater",
        )  # fmt: skip
        assert result.p[concept] == pytest.approx(expected.pvalue)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_cliffs_delta_counts_pairs(seed, n1, n2, ties):
    values, first = two_groups(seed, n1, n2, n_concepts=3, ties=ties)
    result = rank_test(values, first)
    for concept in range(3):
        more = sum(np.sign(x - y) for x in values[first, concept] for y in values[~first, concept])
        assert result.delta[concept] == pytest.approx(more / (n1 * n2))
    swapped = rank_test(values, ~first)
    np.testing.assert_allclose(swapped.delta, -result.delta)
    np.testing.assert_allclose(swapped.p, result.p)


def test_within_strata_it_is_van_elterens_test():
    rng = np.random.default_rng(3)
    strata = np.repeat(["a", "b", "c"], [14, 10, 12])
    first = rng.random(36) < 0.5
    values = np.floor(rng.gamma(1.0, 3.0, (36, 4)))
    result = rank_test(values, first, strata)
    for concept in range(4):
        statistic = variance = 0.0
        for stratum in "abc":
            x = values[first & (strata == stratum), concept]
            y = values[~first & (strata == stratum), concept]
            m, n = len(x), len(x) + len(y)
            ranks = stats.rankdata(np.concatenate([x, y]))
            _, tied = np.unique(ranks, return_counts=True)
            usual = m * (n - m) * (n + 1) / 12 * (1 - (tied**3 - tied).sum() / (n**3 - n))
            statistic += (ranks[:m].sum() - m * (n + 1) / 2) / (n + 1)
            variance += usual / (n + 1) ** 2
        assert result.z[concept] == pytest.approx(statistic / np.sqrt(variance))


def test_a_difference_between_sites_alone_is_none_within_sites():
    rng = np.random.default_rng(4)
    site = np.repeat([0, 1], 30)
    first = rng.random(60) < np.where(site, 0.8, 0.2)
    values = rng.normal(3.0 * site, 1.0)[:, np.newaxis]
    assert rank_test(values, first).p[0] < 1e-3
    assert rank_test(values, first, site).p[0] > 0.05


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_q_values_are_scipys(p):
    np.testing.assert_allclose(
        benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12, atol=1e-300
    )


def test_missing_p_values_are_not_counted():
    q = benjamini_hochberg([0.01, np.nan, 0.04])
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])


def test_family_wise_p_is_the_max_statistic_of_all_deals():
    values, first = two_groups(5, 3, 4, n_concepts=6)
    p, null = family_wise_p(values, first)
    z = np.abs(rank_test(values, first).z)
    deals = {tuple(order) for order in permutations(first.tolist())}
    assert len(null) == len(deals) == 35
    largest = [np.abs(rank_test(values, np.array(deal)).z).max() for deal in deals]
    expected = [np.mean(np.array(largest) >= value - 1e-9) for value in z]
    np.testing.assert_allclose(p, expected)


def test_drawn_deals_come_near_all_deals():
    values, first = two_groups(6, 6, 6, n_concepts=5)
    exact, _ = family_wise_p(values, first, n_permutations=1000)
    drawn, null = family_wise_p(values, first, n_permutations=900)
    assert len(null) == 900
    assert len(family_wise_p(values, first, n_permutations=1000)[1]) == 924
    np.testing.assert_allclose(drawn, exact, atol=0.06)
    again, _ = family_wise_p(values, first, n_permutations=900)
    np.testing.assert_array_equal(drawn, again)


def test_constant_concepts_do_not_differ():
    values = np.ones((40, 3))
    values[:, 1] = np.arange(40)
    first = np.arange(40) < 20
    result = rank_test(values, first)
    np.testing.assert_array_equal(result.p[[0, 2]], [1, 1])
    np.testing.assert_array_equal(result.z[[0, 2]], [0, 0])
    assert result.delta[1] == -1


def test_groups_that_cannot_be_compared_are_refused():
    with pytest.raises(CohortError, match="no patients"):
        rank_test(np.ones((3, 2)), [True] * 3)
    with pytest.raises(CohortError, match="numbers"):
        rank_test([[np.nan], [1.0]], [True, False])
    with pytest.raises(CohortError, match="No stratum"):
        rank_test(np.ones((4, 1)), [True, True, False, False], ["a", "a", "b", "b"])


def test_planted_concepts_come_first():
    made = make_cohort(SyntheticOptions(log_odds=2.0), seed=1)
    result = compare(made.barcodes, "disease A", "healthy")
    planted = set(made.planted["disease A"].tolist())
    assert set(result.top(8)["concept_id"]) <= planted
    assert (result.top(8)["delta"] > 0.5).all()
    found = set(result.significant()["concept_id"])
    assert len(found & planted) >= 8


def test_the_table_says_what_stands_behind_each_concept():
    dense, barcodes = random_barcodes(n_patients=10)
    result = compare(barcodes, "AML", "healthy")
    aml = [n % 2 == 1 for n in range(10)]
    row = result.table.iloc[0]
    concept_id = int(row["concept_id"])
    has = [(cells[..., concept_id] > 0.2).any(axis=1) for cells in dense]
    assert row["cells_first"] == sum(h.sum() for h, a in zip(has, aml, strict=True) if a)
    assert row["patients_second"] == sum(h.any() for h, a in zip(has, aml, strict=True) if not a)
    values = barcodes.values().toarray()[:, concept_id]
    assert row["mean_first"] == pytest.approx(values[aml].mean())
    expected = stats.mannwhitneyu(values[aml], values[~np.array(aml)], method="exact")
    if len(set(values)) == len(values):
        assert row["p"] == pytest.approx(expected.pvalue)
    assert result.table["p"].is_monotonic_increasing
    assert result.exact


def test_groups_are_named_or_given_as_masks():
    _, barcodes = random_barcodes()
    named = compare(barcodes, "AML")
    assert (named.first, named.second) == ("AML", "all others")
    masks = compare(
        barcodes, barcodes.diagnosis == "AML", barcodes.diagnosis == "healthy", names=("a", "b")
    )
    assert masks.table.equals(named.table)
    with pytest.raises(CohortError, match="no diagnosis “ALL”; there are AML, healthy"):
        compare(barcodes, "ALL")
    with pytest.raises(CohortError, match="no column “site”"):
        compare(barcodes, "AML", by="site")
    with pytest.raises(CohortError, match="share patients"):
        compare(barcodes, "AML", np.ones(8, bool))
    with pytest.raises(CohortError, match="no patients in second group"):
        compare(barcodes, "AML", np.zeros(8, bool))
    with pytest.raises(CohortError, match="No concept is active in 9 patients"):
        compare(barcodes, "AML", options=ComparisonOptions(min_patients=9))


def test_patients_are_compared_within_a_covariate():
    rng = np.random.default_rng(0)
    dense = [random_cells(rng, 6, 20) for _ in range(8)]
    covariates = {n: {"site": "AB"[n // 4]} for n in range(8)}
    barcodes = barcodes_of(dense, ["x", "y"] * 4, covariates)
    result = compare(barcodes, "x", "y", options=ComparisonOptions(within="site"))
    values = barcodes.dense(result.table["concept_id"])
    expected = rank_test(values, barcodes.diagnosis == "x", [0] * 4 + [1] * 4)
    np.testing.assert_allclose(result.table["p"], expected.p)


def test_patients_correlate_as_scipy_says():
    _, barcodes = random_barcodes()
    values = barcodes.dense()
    expected = stats.spearmanr(values, axis=1).statistic
    np.testing.assert_allclose(correlate_patients(barcodes), expected, atol=1e-12)
    np.testing.assert_allclose(
        correlate_patients(barcodes, ranks=False), np.corrcoef(values), atol=1e-12
    )
    with pytest.raises(CohortError, match="fewer than two"):
        correlate_patients(barcodes, [3])


def test_similar_patients_lie_side_by_side():
    correlation = np.eye(6)
    for group in ((0, 3), (1, 4), (2, 5)):
        correlation[group, group[::-1]] = 0.9
    order = cluster_order(correlation).tolist()
    assert sorted(order) == list(range(6))
    assert all(abs(order.index(n) - order.index(n + 3)) == 1 for n in range(3))
    by_diagnosis = diagnosis_order(["b", "a", "b", "b", "a", "b"], correlation).tolist()
    assert sorted(by_diagnosis[:2]) == [1, 4]
    assert abs(by_diagnosis.index(0) - by_diagnosis.index(3)) == 1


def test_made_cohorts_are_what_they_say():
    options = SyntheticOptions(
        patients={"healthy": 4, "sick": 4}, n_sites=2, confounding=1.0, rare_one_in=50
    )
    made = make_cohort(options, seed=3)
    again = make_cohort(options, seed=3)
    assert (made.barcodes.counts != again.barcodes.counts).nnz == 0
    assert set(made.barcodes.patients["site"][:4]) == {"site 0"}
    assert set(made.barcodes.patients["site"][4:]) == {"site 1"}
    for row, (patient, table) in enumerate(
        zip(made.barcodes.patients.index, made.cells, strict=True)
    ):
        rare = np.flatnonzero(table.count[:, [made.rare_concept]].toarray().ravel()) + 1
        assert {(patient, int(label)) for label in rare} == {
            cell for cell in made.rare_cells if cell[0] == patient
        }
        assert (len(rare) > 0) == (row >= 4)
        total = np.asarray(table.count.sum(axis=0)).ravel()
        np.testing.assert_array_equal(made.barcodes.counts[[row]].toarray().ravel(), total)
    with pytest.raises(CohortError, match="planted"):
        make_cohort(SyntheticOptions(n_concepts=5))
