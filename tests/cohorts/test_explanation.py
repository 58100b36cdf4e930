"""Why a patient is predicted so: parts add up, changes act as they should, and the cells are found."""

from dataclasses import replace

import numpy as np
import pytest
from random_barcodes import cohort_of, single_cell
from scipy.special import softmax

from napari_cytosae.cohorts import (
    SyntheticOptions,
    build_barcodes,
    compare,
    make_cohort,
    sums_of_run,
)
from napari_cytosae.cohorts.cell_table import CellTable, cell_table
from napari_cytosae.cohorts.classification import (
    ClassificationOptions,
    CohortModel,
    classify,
    fold_models,
    train_model,
)
from napari_cytosae.cohorts.classification.familiarity import Familiarity
from napari_cytosae.cohorts.explanation import (
    carriers,
    cell_evidence,
    explain,
    masking_curve,
    patch_evidence,
    pathognomonic_cells,
    rank_cells,
    rank_run,
    specific_concepts,
    what_if,
)
from napari_cytosae.concepts import analyze
from napari_cytosae.errors import CohortError

KINDS = [("count", "cells"), ("count", "concepts"), ("presence", "cells"), ("mean", "cells"),
         ("max", "cells")]  # fmt: skip
OPTIONS = ClassificationOptions(folds=3, repeats=1, n_permutations=0, curve=())


@pytest.fixture(scope="module")
def made():
    patients = {"healthy": 12, "disease A": 12, "disease B": 12}
    return make_cohort(
        SyntheticOptions(patients=patients, n_concepts=120, log_odds=2.0, median_cells=80), seed=4
    )


@pytest.fixture(scope="module")
def model(made):
    return train_model(made.barcodes, OPTIONS)


def test_contributions_add_up_to_the_logits(made, model):
    barcodes = made.barcodes
    for patient in barcodes.patients.index[::7]:
        found = explain(model, barcodes, patient)
        row = list(barcodes.patients.index).index(patient)
        expected = model.logits(model.values(barcodes))[row]
        np.testing.assert_allclose(found.logits, expected)
        np.testing.assert_allclose(found.intercepts + found.contributions.sum(axis=1), expected)
        evidence = found.evidence()
        place = model.class_index(found.predicted)
        assert evidence["contribution"].sum() + found.intercepts[place] == pytest.approx(
            expected[place]
        )
        assert evidence["contribution"].abs().is_monotonic_decreasing
        against = found.evidence("disease A", "healthy")["contribution"].sum()
        p = found.probabilities
        base = found.intercepts[0] - found.intercepts[2]
        assert against + base == pytest.approx(np.log(p[0] / p[2]))
        assert found.predicted == model.predict(barcodes)["predicted"][patient]


def test_two_classes_share_one_log_odds(made):
    two = made.barcodes.select(made.barcodes.diagnosis != "disease B")
    model = train_model(two, OPTIONS)
    found = explain(model, two, two.patients.index[0])
    np.testing.assert_allclose(found.logits.sum(), 0, atol=1e-9)
    odds = found.evidence("healthy", "disease A")["contribution"].sum()
    odds += found.intercepts[1] - found.intercepts[0]
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(found.probabilities[1])


def test_planted_concepts_explain_the_diseases(made):
    result = classify(made.barcodes, OPTIONS)
    hits = 0
    for model, left in fold_models(made.barcodes, result):
        for row in left:
            disease = made.barcodes.diagnosis[row]
            if disease == "healthy":
                continue
            found = explain(model, made.barcodes, made.barcodes.patients.index[row])
            table = found.evidence(disease)
            first = table[table["contribution"] > 0]["concept_id"].head(5)
            hits += len(set(first) & set(made.planted[disease].tolist()))
    assert hits > 0.7 * 5 * 24


def test_what_is_asked_for_must_exist(made, model):
    with pytest.raises(CohortError, match="no patient nobody"):
        explain(model, made.barcodes, "nobody")
    patient = made.barcodes.patients.index[0]
    with pytest.raises(CohortError, match="no class"):
        explain(model, made.barcodes, patient).evidence("flu")
    with pytest.raises(CohortError, match="no concept 120"):
        what_if(model, made.barcodes, patient, [3, 120])
    with pytest.raises(CohortError, match="absent or typical"):
        what_if(model, made.barcodes, patient, [3], to="more")


def test_what_if_is_the_prediction_of_a_patient_without_the_concept(made, model):
    barcodes = made.barcodes
    patient = barcodes.patients.index[14]
    concept = int(made.planted["disease A"][0])
    counts = barcodes.counts.tolil()
    counts[14, concept] = 0
    other = replace(barcodes, counts=counts.tocsr())
    found = what_if(model, barcodes, patient, concept)
    classes = [f"p {name}" for name in model.classes]
    before, after = (model.predict(one).loc[patient, classes] for one in (barcodes, other))
    np.testing.assert_allclose(found["before"], before.astype(float))
    np.testing.assert_allclose(found["after"], after.astype(float))
    np.testing.assert_allclose(found["change"], found["after"] - found["before"])
    nothing = what_if(model, barcodes, patient, [])
    assert not nothing["change"].any()
    everything = what_if(model, barcodes, patient, model.concept_ids, to="typical")
    np.testing.assert_allclose(everything["after"], softmax(model.intercepts))


def test_masking_takes_the_telling_concepts_first(made, model):
    curve = masking_curve(model, made.barcodes, ks=(0, 1, 5, 10, 30, 120)).set_index("k")
    assert curve.loc[0, "without"] == curve.loc[0, "random"] > 0.9
    assert curve.loc[0, "stays_without"] == 1
    assert curve.loc[120, "only"] == pytest.approx(curve.loc[0, "without"])
    assert (curve["without"].loc[:30].diff().dropna() < 0).all()
    assert (curve["without"] <= curve["random"] + 1e-9).all()
    assert curve.loc[10, "without"] < curve.loc[10, "random"] - 0.2
    assert curve.loc[10, "stays_only"] > 0.9
    # Without all concepts every patient is as probable as the model's intercepts say.
    p = softmax(model.intercepts)
    predicted = model.logits(model.values(made.barcodes)).argmax(axis=1)
    assert curve.loc[120, "without"] == pytest.approx(p[predicted].mean())


@pytest.mark.parametrize(("statistic", "per"), KINDS)
def test_a_patients_logit_is_the_mean_of_its_cells(made, statistic, per):
    options = replace(OPTIONS, statistic=statistic, per=per)
    model = train_model(made.barcodes, options)
    logits = model.logits(model.values(made.barcodes))
    for row in (0, 13, 30):
        found = cell_evidence(model, made.cells[row])
        np.testing.assert_allclose(found.mean(axis=0), logits[row])


@pytest.fixture(scope="module")
def runs(bundle, tmp_path_factory):
    """Two patients' runs of five and four cells, their barcodes, and the cohort's folder."""
    folder = tmp_path_factory.mktemp("cohort")
    found = []
    for patient, n_cells in enumerate((5, 4)):
        image = np.concatenate([single_cell(10 * patient + n) for n in range(n_cells)], axis=1)
        labels = np.zeros(image.shape[:2], np.int32)
        for n in range(n_cells):
            labels[16:48, 64 * n + 16 : 64 * n + 48] = 3 * n + 2
        found.append(analyze(image, bundle, labels, folder / f"{patient}.cytosae"))
    sums = [sums_of_run(run, 0.2, image) for image, run in enumerate(found)]
    cohort = cohort_of(["a", "b"])
    images = cohort.image_table()[["patient", "image"]].assign(
        run=["0.cytosae", "1.cytosae"], n_cells=[5, 4]
    )
    return found, build_barcodes(cohort, sums, 0.2, images=images), folder


def random_model(barcodes, statistic, per):
    rng = np.random.default_rng(0)
    ids = barcodes.concept_ids[::2]
    weights = rng.normal(size=(3, ids.size))
    return CohortModel(
        ("a", "b", "c"), ids, rng.random(ids.size), 0.5 + rng.random(ids.size),
        weights - weights.mean(axis=0), np.array([0.1, -0.3, 0.2]), barcodes.concept_ids,
        Familiarity.of(rng.normal(size=(8, ids.size))), statistic, per, 0.2, barcodes.d_sae,
    )  # fmt: skip


@pytest.mark.parametrize(("statistic", "per"), KINDS)
def test_patches_add_up_to_cells_and_cells_to_patients(runs, statistic, per):
    found, barcodes, folder = runs
    model = random_model(barcodes, statistic, per)
    logits = model.logits(model.values(barcodes))
    for row, run in enumerate(found):
        cells = cell_evidence(model, cell_table(run, 0.2), len(run))
        np.testing.assert_allclose(cells.mean(axis=0), logits[row], rtol=1e-4, atol=1e-4)
        for place, label in enumerate(run.table["label"]):
            patches = patch_evidence(model, run.cell(int(label)), len(run))
            assert patches.patches.shape == (3, 16, 16)
            np.testing.assert_allclose(patches.logits, cells[place], rtol=1e-4, atol=1e-4)
    ranked = carriers(model, barcodes, "P000", "b", k=3, folder=folder)
    evidence = cell_evidence(model, cell_table(found[0], 0.2), 5)[:, 1]
    np.testing.assert_allclose(ranked["evidence"], np.sort(evidence)[::-1][:3])
    assert set(ranked["label"]) <= set(found[0].table["label"])
    assert ranked["concept"].str.startswith("#").all()


def test_cells_are_counted_with_the_models_threshold(runs):
    run = runs[0][0]
    table = cell_table(run, 1.5)
    for row, label in enumerate(run.table["label"]):
        cell = run.cell(int(label))
        expected = np.bincount(
            np.asarray(cell.concept_ids, int)[np.asarray(cell.values) > 1.5], minlength=run.d_sae
        )
        np.testing.assert_array_equal(table.count[[row]].toarray().ravel(), expected)


def test_runs_that_are_gone_are_told(runs, tmp_path):
    _, barcodes, folder = runs
    model = random_model(barcodes, "count", "cells")
    with pytest.raises(CohortError, match="not at hand"):
        carriers(model, barcodes, "P000", "a", folder=tmp_path)
    with pytest.raises(CohortError, match="no patient x"):
        carriers(model, barcodes, "x", "a", folder=folder)
    with pytest.raises(CohortError, match="no class"):
        carriers(model, barcodes, "P000", "z", folder=folder)


def test_rare_cells_are_found_first():
    options = SyntheticOptions(
        patients={"healthy": 15, "sick": 15}, n_concepts=150, n_planted=3, median_cells=800,
        spread_cells=0.4, rare_one_in=500,
    )  # fmt: skip
    made = make_cohort(options, seed=2)
    comparison = compare(made.barcodes, "sick", "healthy")
    specific = specific_concepts(made.barcodes, comparison)
    assert specific.table["concept_id"][0] == made.rare_concept
    assert (specific.table["weight"].diff().dropna() <= 0).all()
    for row in np.flatnonzero(made.barcodes.diagnosis == "sick"):
        patient = made.barcodes.patients.index[row]
        rare = {label for who, label in made.rare_cells if who == patient}
        ranked = rank_cells(made.cells[row], specific, k=len(rare))
        assert set(ranked["label"]) == rare
        assert (ranked["concept_id"] == made.rare_concept).all()
    none = rank_cells(made.cells[0], specific)
    assert made.rare_concept not in set(none["concept_id"])


def test_scores_of_cells_are_sums_of_log_ratios(made):
    comparison = compare(made.barcodes, "disease A")
    specific = specific_concepts(made.barcodes, comparison, k=4)
    assert len(specific.table) == 4
    row = specific.table.iloc[0]
    sick = made.barcodes.diagnosis == "disease A"
    cells = made.barcodes.cells[:, [int(row["concept_id"])]].toarray().ravel()
    n_cells = made.barcodes.patients["n_cells"].to_numpy()
    expected = np.log(
        (cells[sick].sum() + 0.5) / (n_cells[sick].sum() + 1)
        / ((cells[~sick].sum() + 0.5) / (n_cells[~sick].sum() + 1))
    )  # fmt: skip
    assert row["weight"] == pytest.approx(expected)
    table = made.cells[14]
    ranked = rank_cells(table, specific, k=1000)
    shown = table.count.toarray() > 0
    score = shown @ specific.weights
    np.testing.assert_allclose(ranked["score"], np.sort(score[score > 0])[::-1])
    wide = CellTable(table.count[:, :50], table.mean, table.maximum, table.labels)
    with pytest.raises(CohortError, match="another autoencoder"):
        rank_cells(wide, specific)


def test_without_specific_concepts_no_cell_is_called_one(made):
    rng = np.random.default_rng(0)
    deal = rng.permutation(36) < 18
    comparison = compare(made.barcodes, deal, ~deal, names=("x", "y"))
    with pytest.raises(CohortError, match="No concept is specific to x"):
        specific_concepts(made.barcodes, comparison, q=1e-6)


def test_cells_of_a_slide_and_of_a_patient_rank_alike(runs):
    found, barcodes, folder = runs
    from napari_cytosae.cohorts import ComparisonOptions

    comparison = compare(barcodes, "a", "b", options=ComparisonOptions(min_patients=1))
    specific = specific_concepts(barcodes, comparison, q=1.0)
    slide = rank_run(found[0], specific)
    patient = pathognomonic_cells(barcodes, specific, "P000", folder=folder)
    assert list(slide["label"]) == list(patient["label"])
    assert list(patient["image"].unique()) == ["0.png"]
    assert len(slide)
