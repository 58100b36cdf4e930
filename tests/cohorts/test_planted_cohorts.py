"""Over many cohorts whose truth is known, what is found is true as often as it is said to be."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from napari_cytosae.cohorts import ComparisonOptions, SyntheticOptions, compare, make_cohort
from napari_cytosae.cohorts.explanation import rank_cells, specific_concepts

N_COHORTS = 100
Q = 0.1


def cohorts(n_planted):
    """Draw small cohorts with batch effects, and numbers of cells that differ by patient."""
    options = SyntheticOptions(
        patients={"healthy": 12, "disease": 12}, n_concepts=100, n_planted=n_planted,
        log_odds=1.6, between_patients=0.3, median_cells=50, n_sites=2, site_log_odds=0.5,
    )  # fmt: skip
    for seed in range(N_COHORTS):
        made = make_cohort(options, seed)
        compared = compare(
            made.barcodes, "disease", "healthy", options=ComparisonOptions(n_permutations=1)
        )
        yield made, compared


@pytest.mark.slow
def test_false_discoveries_stay_below_their_rate_over_a_hundred_cohorts():
    false, found, top = [], [], []
    for made, compared in cohorts(n_planted=8):
        ids = compared.significant(Q)["concept_id"].to_numpy()
        true = np.isin(ids, made.planted["disease"])
        false.append((~true).sum() / max(len(ids), 1))
        found.append(true.sum() / 8)
        top.append(np.isin(compared.top(8)["concept_id"], made.planted["disease"]).mean())
    assert len(false) == N_COHORTS
    # A method that never errs at this rate throws findings away: it is neither above nor at zero.
    assert 0.01 < np.mean(false) < Q
    assert np.mean(found) > 0.8
    assert np.mean(top) > 0.85


@pytest.mark.slow
def test_where_nothing_is_planted_few_cohorts_show_anything():
    wrong = [len(compared.significant(Q)) > 0 for _, compared in cohorts(n_planted=0)]
    # Without any truth each finding is false: the rate is that of cohorts with any, ± 3 s.e.
    assert np.mean(wrong) < Q + 3 * np.sqrt(Q * (1 - Q) / N_COHORTS)


def test_barcodes_do_not_follow_the_number_of_cells():
    made = make_cohort(
        SyntheticOptions(
            patients={"one": 120}, n_concepts=60, n_planted=0, median_cells=60, spread_cells=1.2
        )
    )
    cells = made.barcodes.patients["n_cells"]
    assert cells.max() > 20 * cells.min()

    def follows(per):
        total = np.asarray(made.barcodes.values("count", per).sum(axis=1)).ravel()
        return spearmanr(cells, total)

    assert follows("cells").pvalue > 0.01
    assert follows("concepts").statistic > 0.95


def test_cells_of_one_in_five_hundred_are_found_in_patients_of_any_size():
    made = make_cohort(
        SyntheticOptions(
            patients={"healthy": 10, "sick": 10}, n_concepts=60, n_planted=3, median_cells=700,
            spread_cells=0.5, rare_one_in=500,
        ),
        seed=5,
    )  # fmt: skip
    compared = compare(
        made.barcodes, "sick", "healthy", options=ComparisonOptions(n_permutations=1)
    )
    specific = specific_concepts(made.barcodes, compared)
    assert specific.table["concept_id"][0] == made.rare_concept
    n_rare = n_found = 0
    for row in np.flatnonzero(made.barcodes.diagnosis == "sick"):
        patient = made.barcodes.patients.index[row]
        rare = {label for who, label in made.rare_cells if who == patient}
        ranked = rank_cells(made.cells[row], specific, k=len(rare))
        n_rare += len(rare)
        n_found += len(rare & set(ranked["label"]))
    assert n_rare < 2 * made.barcodes.patients["n_cells"].sum() / 500
    assert n_found >= 0.9 * n_rare
