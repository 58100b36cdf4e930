"""Classification: against sklearn and hand-written references, and on cohorts whose truth is known."""

import json
import struct

import numpy as np
import pandas as pd
import pytest
from random_barcodes import barcodes_of, random_cells
from scipy.special import softmax
from scipy.stats import kruskal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from napari_cytosae.cohorts import SyntheticOptions, make_cohort
from napari_cytosae.cohorts.classification import (
    ClassificationOptions,
    classify,
    fold_models,
    load_model,
    save_model,
    train_model,
)
from napari_cytosae.cohorts.classification.features import Features, kruskal_h
from napari_cytosae.cohorts.classification.fit import fit
from napari_cytosae.cohorts.classification.folds import deal
from napari_cytosae.cohorts.classification.scores import (
    auroc,
    calibration,
    confusion,
    per_class,
    score,
)
from napari_cytosae.cohorts.classification.validate import cross_validate
from napari_cytosae.errors import Cancelled, CohortError

QUICK = ClassificationOptions(folds=3, repeats=2, n_permutations=0, curve=(), curve_repeats=1)
SMALL = {"healthy": 12, "disease A": 12, "disease B": 12}


def quick(**changes):
    from dataclasses import replace

    return replace(QUICK, **changes)


@pytest.fixture(scope="module")
def made():
    return make_cohort(
        SyntheticOptions(patients=SMALL, n_concepts=120, log_odds=2.0, median_cells=80), seed=4
    )


@pytest.fixture(scope="module")
def told(made):
    return classify(made.barcodes, QUICK)


def guesses(seed=0, n=40, k=3):
    rng = np.random.default_rng(seed)
    return rng.integers(k, size=n), softmax(rng.normal(size=(n, k)), axis=1)


def test_scores_are_those_of_sklearn():
    truth, p = guesses()
    found, predicted = score(truth, p), p.argmax(axis=1)
    assert found["weighted_f1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, p, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(log_loss(truth, p))
    brier = sum(brier_score_loss(truth == k, p[:, k]) for k in range(3))
    assert found["brier"] == pytest.approx(brier)
    np.testing.assert_array_equal(
        confusion(truth, predicted, 3), confusion_matrix(truth, predicted)
    )
    table = per_class(truth, p[None], ("a", "b", "c"))
    expected = precision_recall_fscore_support(truth, predicted)
    for name, values in zip(("precision", "recall", "f1", "patients"), expected, strict=True):
        np.testing.assert_allclose(table[name], values)


def test_auroc_counts_pairs_with_ties_half():
    rng = np.random.default_rng(1)
    truth, values = rng.random(30) < 0.4, rng.integers(5, size=30).astype(float)
    pairs = [(a > b) + (a == b) / 2 for a in values[truth] for b in values[~truth]]
    assert auroc(truth, values) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(np.ones(4, bool), np.arange(4.0)))


def test_calibration_tells_boasting():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 20_000)
    truth = (rng.random(p.size) < p).astype(int)
    honest = np.stack([1 - p, p], axis=1)
    assert calibration(truth, honest[None]).error < 0.02
    boasting = np.stack([np.full(p.size, 0.01), np.full(p.size, 0.99)], axis=1)
    found = calibration(truth, boasting[None])
    assert found.error == pytest.approx(0.99 - truth.mean(), abs=1e-9)
    assert found.table["patients"].sum() == p.size


def test_kruskal_is_scipys():
    rng = np.random.default_rng(2)
    values = rng.integers(6, size=(30, 5)).astype(float)
    labels = np.repeat([0, 1, 2], 10)
    expected = [kruskal(*(v[labels == k] for k in range(3))).statistic for v in values.T]
    np.testing.assert_allclose(kruskal_h(values, labels), expected)


@pytest.mark.parametrize("n_features", [8, 200])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("balanced", [True, False])
def test_a_fit_is_sklearns_on_standardised_features(n_features, n_classes, balanced):
    """Whatever the shortcut through the patients' own span."""
    rng = np.random.default_rng(3)
    labels = np.arange(45) % n_classes
    labels[:9] = 0
    x = rng.gamma(2.0, size=(45, n_features)) + 0.3 * labels[:, None]
    rows = np.arange(40)
    options = ClassificationOptions(c_grid=(20.0,), balanced=balanced)
    one = fit(Features("x", x), labels, rows, n_classes, options)
    z = (x - x[rows].mean(axis=0)) / x[rows].std(axis=0) / np.sqrt(n_features)
    reference = LogisticRegression(
        C=20.0, class_weight="balanced" if balanced else None, tol=1e-10, max_iter=10_000
    ).fit(z[rows], labels[rows])
    found = softmax(one.logits(x), axis=1)
    np.testing.assert_allclose(found, reference.predict_proba(z), atol=2e-4)
    np.testing.assert_allclose(one.logits(x).sum(axis=1), 0, atol=1e-9)


def test_nothing_is_learned_from_those_left_out(made):
    """Whatever the patients left out are changed to, the fit stays the same to the bit."""
    options = quick(most_concepts=20, min_mean_activation=0.01)
    labels = np.repeat([2, 0, 1], 12)
    rows = np.concatenate([np.arange(8), np.arange(12, 20), np.arange(24, 32)])
    left = np.setdiff1d(np.arange(36), rows)
    features = Features.of_barcodes(made.barcodes, options)
    other = Features(
        "changed",
        *(
            part.copy() if part is not None else None
            for part in (features.values, features.concept_ids, features.means, features.active)
        ),
    )
    for part in (other.values, other.means):
        part[left] = np.random.default_rng(0).gamma(2.0, 30.0, part[left].shape)
    changed = labels.copy()
    changed[left] = 0
    one = fit(features, labels, rows, 3, options)
    two = fit(other, changed, rows, 3, options)
    assert one.c == two.c
    assert one.columns.size == 20
    for name in ("columns", "mean", "scale", "weights", "intercepts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_selection_over_all_patients_would_have_been_seen():
    """On noise, choosing concepts outside the folds finds something; here nothing is found."""
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 2
    values = rng.gamma(2.0, size=(60, 3000))
    features = Features("noise", values, np.arange(3000), values, np.ones_like(values))
    options = quick(most_concepts=20, repeats=3)
    honest = cross_validate(features, labels, 2, options)
    best = np.argsort(-kruskal_h(values, labels))[:20]
    cheat = Features("cheat", values[:, best])
    cheated = cross_validate(cheat, labels, 2, options)
    assert cheated.mean("auroc") > 0.9
    assert abs(honest.mean("auroc") - 0.5) < 0.15


def test_folds_are_stratified_and_keep_groups_together():
    labels = np.repeat([0, 1, 2], [30, 15, 10])
    splits = deal(labels, None, 5, 0)
    assert sorted(np.concatenate([left for _, left in splits])) == list(range(55))
    for fitted, left in splits:
        assert not set(fitted) & set(left)
        np.testing.assert_array_equal(np.bincount(labels[left]), [6, 3, 2])
    groups = np.array([f"s{n % 6}" for n in range(55)], object)
    for fitted, left in deal(labels, groups, 5, 0):
        assert not set(groups[fitted]) & set(groups[left])
    assert len(deal(np.repeat([0, 1], [20, 3]), None, 5, 0)) == 3
    assert deal(np.repeat([0, 1], [20, 1]), None, 5, 0) == []


def test_planted_diseases_are_told_apart(made, told):
    assert told.classes == ("disease A", "disease B", "healthy")
    assert told.summary().loc["weighted_f1", "mean"] > 0.8
    assert told.summary().loc["auroc", "mean"] > 0.9
    assert told.confusion.sum() == pytest.approx(36)
    assert list(told.per_class["patients"]) == [12, 12, 12]
    assert (told.per_class["f1"] > 0.7).all()
    assert told.p is None
    assert told.validation.probabilities.shape == (2, 36, 3)
    np.testing.assert_allclose(told.validation.probabilities.sum(axis=2), 1)
    table = told.predictions(made.barcodes)
    assert (table["diagnosis"] == made.barcodes.diagnosis).all()
    assert (table["predicted"] == table["diagnosis"]).mean() > 0.8
    folds = told.validation.folds
    assert len(folds) == 6
    assert told.summary().loc["weighted_f1", "sd"] == pytest.approx(
        np.std(folds["weighted_f1"], ddof=1)
    )


def test_the_same_seed_gives_the_same(made, told):
    again = classify(made.barcodes, QUICK)
    np.testing.assert_array_equal(again.validation.probabilities, told.validation.probabilities)
    other = classify(made.barcodes, quick(seed=1))
    assert (other.validation.probabilities != told.validation.probabilities).any()


@pytest.mark.slow
def test_permutations_tell_signal_from_noise(made):
    options = quick(n_permutations=39, repeats=1, c_grid=(100.0,))
    result = classify(made.barcodes, options)
    assert len(result.null) == 39
    assert result.p == pytest.approx(1 / 40)
    assert result.null.mean() < 0.5
    noise = make_cohort(
        SyntheticOptions(patients=SMALL, n_concepts=60, n_planted=0, median_cells=60), seed=0
    )
    none = classify(noise.barcodes, options)
    assert none.p > 0.05
    assert any("not better than chance" in words for words in none.warnings)


def test_a_covariate_that_tells_as_much_is_warned_of():
    cheat = make_cohort(
        SyntheticOptions(
            patients=SMALL, n_concepts=80, n_planted=0, n_sites=3, site_log_odds=2.0,
            confounding=1.0, median_cells=60,
        ),
        seed=1,
    )  # fmt: skip
    result = classify(cheat.barcodes, QUICK)
    assert result.summary().loc["weighted_f1", "mean"] > 0.8
    assert any(words.startswith("site alone predicts the diagnosis") for words in result.warnings)
    (note,) = result.grouped["note"]
    assert "cannot be told apart" in note
    with pytest.raises(CohortError, match="have one site"):
        classify(cheat.barcodes, quick(groups="site"))


def test_an_honest_cohort_is_not_warned_of(made):
    barcodes = made.barcodes
    sites = np.random.default_rng(0).permutation(np.arange(36) % 3)
    barcodes.patients["site"] = [f"site {n}" for n in sites]
    result = classify(barcodes, QUICK)
    assert not [words for words in result.warnings if "alone" in words]
    assert result.grouped.iloc[0]["groups"] == 3
    assert result.grouped.iloc[0]["weighted_f1"] > 0.6
    held = classify(barcodes, quick(groups="site"))
    for model, left in fold_models(barcodes, held):
        seen = np.setdiff1d(np.arange(36), left)
        assert not set(sites[left]) & set(sites[seen])
        assert model.facts["patients"] == len(seen)
    assert "site" not in set(held.beside["name"])


def test_numbers_that_are_codes_are_seen_through(made):
    """A width that is neither larger nor smaller in a class, but another, gives it away too."""
    from dataclasses import replace

    patients = made.barcodes.patients.copy()
    patients["width"] = [{"healthy": 800.0, "disease A": 640.0}.get(d, 1280.0 if n % 2 else 320.0)
                         for n, d in enumerate(made.barcodes.diagnosis)]  # fmt: skip
    result = classify(replace(made.barcodes, patients=patients), QUICK)
    assert any(words.startswith("width alone") for words in result.warnings)


def test_other_descriptions_go_through_the_same_folds(made, told):
    signal = (made.barcodes.diagnosis == "disease A").astype(float)[:, None]
    noise = np.random.default_rng(0).normal(size=(36, 50))
    result = classify(
        made.barcodes, QUICK, beside={"raw tokens": noise, "half": signal, "same": signal * 3}
    )
    table = result.beside.set_index("name")
    assert list(table["kind"][:4]) == ["barcodes", "matrix", "matrix", "matrix"]
    assert table.loc["barcodes", "weighted_f1"] == told.validation.mean("weighted_f1")
    assert table.loc["raw tokens", "weighted_f1"] < 0.6
    assert table.loc["half", "weighted_f1"] == table.loc["same", "weighted_f1"]
    with pytest.raises(CohortError, match="one row for each of the 36"):
        classify(made.barcodes, QUICK, beside={"short": noise[:5]})
    with pytest.raises(CohortError, match="not numbers"):
        classify(made.barcodes, QUICK, beside={"x": np.full((36, 2), np.nan)})


def test_the_curve_keeps_ever_fewer_concepts(made):
    curve = classify(made.barcodes, quick(curve=(1.0, 1e-6, 0.03), repeats=1)).curve
    assert list(curve["threshold"]) == [1e-6, 0.03, 1.0]
    kept = list(curve["concepts"])
    assert kept[0] == 120
    assert kept[0] > kept[1] > kept[2] == 0
    assert curve["weighted_f1"][0] > 0.8
    assert curve["weighted_f1"][2] < 0.5


def test_concepts_are_kept_by_the_fitted_patients_mean_activation(made):
    barcodes = made.barcodes
    options = quick(min_mean_activation=0.03, min_patients=0)
    rows = np.arange(0, 36, 2)
    features = Features.of_barcodes(barcodes, options)
    kept = features.concept_ids[features.keep(rows, np.zeros(36, int), options)]
    mean = barcodes.select(rows).mean_activation
    expected = np.flatnonzero(mean >= 0.03)
    varied = np.ptp(barcodes.select(rows).dense(expected), axis=0) > 0
    np.testing.assert_array_equal(kept, expected[varied])


def tiny(diagnoses, covariates=None):
    rng = np.random.default_rng(0)
    dense = [random_cells(rng, 4, 12) for _ in diagnoses]
    return barcodes_of(dense, diagnoses, covariates)


def test_cohorts_that_are_too_small_are_refused_in_words():
    with pytest.raises(CohortError, match="one diagnosis"):
        classify(tiny(["AML"] * 6), QUICK)
    with pytest.raises(CohortError, match=r"Too few patients of healthy \(2\)"):
        classify(tiny(["AML"] * 6 + ["healthy"] * 2), QUICK)
    with pytest.raises(CohortError, match="no column “site”"):
        classify(tiny(["AML"] * 3 + ["x"] * 3), quick(by="site"))
    with pytest.raises(CohortError, match="no patient is known"):
        classify(tiny([""] * 4), QUICK)
    with pytest.raises(CohortError, match="grouped by the diagnosis"):
        classify(tiny(["a"] * 3 + ["b"] * 3), quick(groups="diagnosis"))
    gaps = {n: {"site": "A"} for n in range(5)}
    with pytest.raises(CohortError, match="site of P005 is not known"):
        classify(tiny(["a"] * 3 + ["b"] * 3, gaps), quick(groups="site"))


def test_three_patients_of_each_are_just_enough():
    result = classify(tiny(["a"] * 3 + ["b"] * 4 + [""] * 2), ClassificationOptions(
        folds=5, repeats=2, n_permutations=3, curve=(1e-6,)))  # fmt: skip
    assert len(result.truth) == 7
    assert any("left out" in note for note in result.notes)
    assert any("3 folds instead of 5" in note for note in result.notes)
    assert np.isfinite(result.validation.probabilities).all()
    assert result.p >= 0.25


@pytest.mark.parametrize(
    "changes",
    [{"folds": 1}, {"repeats": 0}, {"c_grid": ()}, {"c_grid": (0.0,)}, {"most_concepts": 0},
     {"statistic": "median"}, {"n_permutations": -1}],
)  # fmt: skip
def test_impossible_options_are_refused(changes):
    with pytest.raises(CohortError):
        ClassificationOptions(**changes)


def test_a_classification_can_be_watched_and_stopped(made):
    seen = []
    with pytest.raises(Cancelled):
        classify(
            made.barcodes,
            QUICK,
            progress=lambda done, total, stage: seen.append((done, total, stage)),
            cancelled=lambda: len(seen) >= 3,
        )
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert all(done <= total and stage == "cross-validation" for done, total, stage in seen)


def test_a_model_tells_new_patients_and_survives_the_disk(made, told, tmp_path):
    barcodes = made.barcodes
    model = train_model(barcodes, scores=told)
    path = save_model(model, tmp_path / "m.safetensors")
    again = load_model(path)
    pd.testing.assert_frame_equal(model.predict(barcodes), again.predict(barcodes))
    assert again.facts == dict(model.facts)
    assert again.facts["weighted_f1"] == told.validation.mean("weighted_f1")
    assert again.facts["class_sizes"] == dict.fromkeys(told.classes, 12)
    logits = again.logits(again.values(barcodes))
    np.testing.assert_allclose(softmax(logits, axis=1), again.probabilities(again.values(barcodes)))
    planted = set(np.concatenate(list(made.planted.values())).tolist())
    strongest = again.concept_ids[np.argsort(-np.abs(again.weights).max(axis=0))[:10]]
    assert len(planted & set(strongest.tolist())) >= 8
    assert not any(p.suffix == ".part" for p in tmp_path.iterdir())


def test_patients_unlike_the_cohort_are_told(made):
    from dataclasses import replace

    # One cohort is halved: the second half is new to the model, and of the same kind.
    half = np.arange(36) % 2 == 0
    model = train_model(made.barcodes.select(half), quick(min_patients=2))
    fresh = made.barcodes.select(~half)
    assert not model.predict(made.barcodes.select(half))["unlike"].any()
    assert model.predict(fresh)["unlike"].mean() < 0.3
    stained = replace(fresh, counts=fresh.counts[:, ::-1])
    found = model.predict(stained)
    assert found["unlike"].all()
    assert found["why"].str.startswith("Unlike the training cohort").all()
    few = fresh.patients.assign(n_cells=3)
    assert model.predict(replace(fresh, patients=few))["why"].str.contains("3 cells").all()


def test_models_refuse_barcodes_that_mean_something_else(made):
    from dataclasses import replace

    known = replace(made.barcodes, provenance={"sae_digest": "a" * 64, "bundle": "starter"})
    model = train_model(known, QUICK)
    assert model.sae_digest == "a" * 64
    model.predict(made.barcodes)
    with pytest.raises(CohortError, match=r"another autoencoder.*starter"):
        model.predict(replace(known, provenance={"sae_digest": "b" * 64}))
    with pytest.raises(CohortError, match=r"above 0\.5"):
        model.predict(replace(known, threshold=0.5))
    with pytest.raises(CohortError, match="no class “x”"):
        model.class_index("x")


def test_damaged_and_foreign_models_are_refused(made, tmp_path):
    path = save_model(train_model(made.barcodes, QUICK), tmp_path / "m.safetensors")
    content = path.read_bytes()
    with pytest.raises(CohortError, match="does not exist"):
        load_model(tmp_path / "none")
    for number, bad in enumerate((b"", content[:100], content[:-50], b"\x80\x04pickle" * 40)):
        broken = tmp_path / f"{number}.safetensors"
        broken.write_bytes(bad)
        with pytest.raises(CohortError, match="damaged"):
            load_model(broken)
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    inner = json.loads(header["__metadata__"]["cytosae"])
    for change, words in (
        ({"format": "other"}, "no model"),
        ({"format_version": 99}, "another version"),
        ({"d_sae": 3}, "beyond"),
        ({"classes": ["a"]}, "do not fit"),
        ({"facts": None}, "damaged"),
    ):
        header["__metadata__"]["cytosae"] = json.dumps(inner | change)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        broken = tmp_path / "changed.safetensors"
        broken.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
        with pytest.raises(CohortError, match=words):
            load_model(broken)
