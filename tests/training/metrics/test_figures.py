"""Each figure against a reference written out by hand, scikit-learn's, or upstream's numbers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import false_discovery_control
from sklearn.metrics import r2_score, roc_auc_score

from napari_cytosae.errors import TrainingError
from napari_cytosae.training.metrics import (
    ActivationSums,
    ReconstructionSums,
    concept_auroc,
    label_entropy,
    label_purity,
    matched_cosine,
    monosemanticity,
    probe_accuracy,
    rejected_by_benjamini_hochberg,
    score_concepts,
)

RNG = np.random.default_rng


def sparse_profiles(rng, images=40, concepts=12, share=0.4) -> np.ndarray:
    values = rng.gamma(2.0, 1.0, (images, concepts)).astype(np.float32)
    return np.where(rng.random((images, concepts)) < share, values, 0).astype(np.float32)


class TestReconstruction:
    def sums(self, x, x_hat, parts=3) -> ReconstructionSums:
        sums = ReconstructionSums(x.shape[1])
        for a, b in zip(np.array_split(x, parts), np.array_split(x_hat, parts), strict=True):
            sums.add(a, b)
        return sums

    def test_centred_is_the_coefficient_of_determination_in_whatever_batches(self):
        rng = RNG(0)
        x = rng.normal(3, 1, (90, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32)
        x_hat = x + rng.normal(0, 0.5, x.shape).astype(np.float32)
        wanted = 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        assert self.sums(x, x_hat).explained_variance == pytest.approx(wanted, rel=1e-6)
        # scikit-learn's, each dimension weighted by its variance, is the same number.
        sklearn = r2_score(x, x_hat, multioutput="variance_weighted")
        assert self.sums(x, x_hat, parts=7).explained_variance == pytest.approx(sklearn, rel=1e-5)

    def test_the_mean_token_explains_nothing_centred_and_much_uncentred(self):
        x = RNG(1).normal(10, 1, (50, 5)).astype(np.float32)
        sums = self.sums(x, np.broadcast_to(x.mean(0), x.shape).copy())
        assert sums.explained_variance == pytest.approx(0, abs=1e-5)
        assert sums.explained_variance_uncentred > 0.98

    def test_uncentred_is_the_mean_over_tokens_of_what_is_left(self):
        x = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
        x_hat = np.array([[3.0, 3.0], [0.0, 0.0]], np.float32)
        sums = self.sums(x, x_hat, parts=1)
        assert sums.normalised_mse == pytest.approx((1 / 25 + 1) / 2)
        assert sums.explained_variance_uncentred == pytest.approx(1 - (1 / 25 + 1) / 2)

    def test_equal_and_zero_tokens_have_no_explained_variance(self):
        same = np.full((4, 3), 2.5, np.float32)
        assert math.isnan(self.sums(same, same, parts=1).explained_variance)
        zero = np.zeros((4, 3), np.float32)
        assert math.isnan(self.sums(zero, zero, parts=1).normalised_mse)

    def test_no_numbers_are_refused(self):
        x = np.array([[np.nan, 1.0]], np.float32)
        with pytest.raises(TrainingError, match="no numbers"):
            ReconstructionSums(2).add(x, x)

    def test_class_tokens_are_compared_by_angle(self):
        sums = ReconstructionSums(2)
        a = np.array([[1, 0], [2, 0], [1, 1]], np.float32)
        b = np.array([[5, 0], [0, 1], [0, 0]], np.float32)
        sums.add_class_tokens(a, b)
        assert sums.class_token_cosine == pytest.approx(1 / 3)


class TestSparsity:
    def test_upstreams_statistics_are_reproduced(self, shared):
        golden = np.load(shared / "golden" / "statistics.npz")
        activations = golden["activations"]
        images, _, concepts = activations.shape
        sums = ActivationSums(concepts)
        for start in range(0, images, 10):
            part = activations[start : start + 10]
            sums.add(csr_array(part.reshape(-1, concepts)), len(part))
        there = golden["sae_sparsity"] > 0
        np.testing.assert_allclose(sums.sparsity(), golden["sae_sparsity"], rtol=1e-5)
        np.testing.assert_allclose(
            sums.mean_activations()[there], golden["sae_mean_acts"][there], rtol=1e-5
        )
        assert sums.l0_per_token == pytest.approx((activations > 0).sum(-1).mean())
        assert sums.l0_per_image == pytest.approx((activations > 0).any(1).sum(-1).mean())
        assert sums.dead_share == pytest.approx((~(activations > 0).any((0, 1))).mean())
        cuts = sums.concepts_above((0.0, 0.01, 10.0))
        means = np.nan_to_num(golden["sae_mean_acts"])
        assert cuts == [int((means > cut).sum()) for cut in (0.0, 0.01, 10.0)]

    def test_nothing_looked_at_is_no_number(self):
        assert math.isnan(ActivationSums(3).l0_per_token)
        assert math.isnan(ActivationSums(3).l0_per_image)
        assert ActivationSums(3).concepts_above((0.0,)) == [0]

    def test_activations_of_other_images_are_refused(self):
        with pytest.raises(TrainingError, match="4 images"):
            ActivationSums(3).add(csr_array(np.ones((10, 3), np.float32)), 4)


class TestMonosemanticity:
    def written_out(self, profiles, embeddings) -> list[float]:
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        scores = []
        for a in profiles.T:
            scaled = (a - a.min()) / (a.max() - a.min())
            above = below = 0.0
            for n, m in itertools.combinations(range(len(a)), 2):
                above += scaled[n] * scaled[m] * float(unit[n] @ unit[m])
                below += scaled[n] * scaled[m]
            scores.append(above / below)
        return scores

    def test_it_is_the_weighted_mean_over_pairs(self):
        rng = RNG(2)
        profiles = sparse_profiles(rng)
        profiles[:, 0] = rng.random(len(profiles)) + 0.5  # active everywhere: the minimum counts
        embeddings = rng.normal(size=(len(profiles), 6)).astype(np.float32)
        wanted = self.written_out(profiles.astype(np.float64), embeddings.astype(np.float64))
        np.testing.assert_allclose(monosemanticity(profiles, embeddings), wanted, atol=1e-9)
        np.testing.assert_allclose(
            monosemanticity(csr_array(profiles), 7 * embeddings), wanted, atol=1e-6
        )

    def test_one_kind_of_image_scores_one_and_opposites_minus_one(self):
        embeddings = np.array([[1, 0], [1, 0], [-1, 0]], np.float32)
        profiles = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], np.float32)
        scores = monosemanticity(profiles, embeddings)
        np.testing.assert_allclose(scores[:2], [1, -1])
        assert np.isnan(scores[2])  # a single image is no pair

    @pytest.mark.parametrize("bad", [np.nan, 0.0])
    def test_embeddings_that_mean_nothing_are_refused(self, bad):
        embeddings = np.ones((3, 2), np.float32)
        embeddings[1] = bad
        with pytest.raises(TrainingError, match="Embeddings"):
            monosemanticity(np.ones((3, 2), np.float32), embeddings)


class TestLabels:
    def test_upstreams_entropy_is_reproduced(self, shared):
        golden = np.load(shared / "golden" / "statistics.npz")
        profiles = golden["activations"].mean(1)
        entropy = label_entropy(profiles, golden["labels"])
        known = np.isfinite(golden["entropy"]) & (profiles > 0).any(0)
        assert known.sum() > 50
        np.testing.assert_allclose(entropy[known], golden["entropy"][known], atol=2e-5)

    def test_purity_and_entropy_by_hand(self):
        profiles = np.array([[3, 1, 0], [1, 1, 0], [0, 2, 0]], np.float32)
        labels = np.array([5, 5, 9])
        np.testing.assert_allclose(label_purity(profiles, labels), [1, 0.5, np.nan])
        np.testing.assert_allclose(label_entropy(profiles, labels), [0, np.log(2), np.nan])
        # Only the strongest image counts.
        np.testing.assert_allclose(label_purity(profiles, labels, top=1), [1, 1, np.nan])

    def test_auroc_is_scikit_learns(self):
        rng = RNG(3)
        profiles, labels = sparse_profiles(rng), rng.integers(0, 3, 40)
        found = concept_auroc(csr_array(profiles), labels)
        assert found.shape == (12, 3)
        for concept, label in itertools.product(range(12), range(3)):
            wanted = roc_auc_score(labels == label, profiles[:, concept])
            assert found[concept, label] == pytest.approx(wanted)

    def test_a_label_that_all_images_carry_cannot_be_told(self):
        assert np.isnan(concept_auroc(np.ones((4, 2), np.float32), np.zeros(4, int))).all()

    def test_true_concepts_are_found_and_noise_is_not(self):
        rng = RNG(4)
        labels = np.repeat([0, 1], 40)
        profiles = sparse_profiles(rng, images=80, concepts=60)
        profiles[labels == 1, :3] += 2
        tests = score_concepts(csr_array(profiles), labels, permutations=999)
        assert tests.significant[:3].all()
        assert tests.significant[3:].any(1).mean() <= 0.1
        assert tests.p_value.min() == pytest.approx(1 / 1000)
        np.testing.assert_array_equal(tests.classes, [0, 1])

    def test_under_the_null_p_values_are_not_too_small(self):
        rng = RNG(5)
        profiles = sparse_profiles(rng, images=60, concepts=400, share=0.1)
        tests = score_concepts(profiles, rng.integers(0, 2, 60), permutations=199)
        p_values = tests.p_value[:, 0]
        for level in (0.05, 0.1, 0.2):
            assert (p_values <= level).mean() <= level + 3 * np.sqrt(level / 400)
        assert not tests.significant.any()

    def test_dead_concepts_prove_nothing(self):
        tests = score_concepts(np.zeros((10, 2), np.float32), np.arange(10) % 2, permutations=19)
        np.testing.assert_allclose(tests.auroc, 0.5)
        np.testing.assert_allclose(tests.p_value, 1)
        assert not tests.significant.any()

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.5))
    def test_benjamini_hochberg_rejects_what_scipys_adjusted_p_values_do(self, p_values, q):
        adjusted = false_discovery_control(p_values, method="bh")
        clear = np.abs(adjusted - q) > 1e-9  # rounding may fall either way on the limit itself
        rejected = rejected_by_benjamini_hochberg(np.array(p_values), q)
        np.testing.assert_array_equal(rejected[clear], (adjusted <= q)[clear])

    def test_benjamini_hochberg_skips_what_was_not_tested(self):
        found = rejected_by_benjamini_hochberg(np.array([0.01, np.nan, 0.9]))
        np.testing.assert_array_equal(found, [True, False, False])
        assert not rejected_by_benjamini_hochberg(np.array([])).any()


class TestStability:
    def test_a_shuffled_dictionary_is_the_same(self):
        rng = RNG(6)
        rows = rng.normal(size=(30, 8)).astype(np.float32)
        order = rng.permutation(30)
        for match in ("hungarian", "max"):
            found = matched_cosine(rows, 3 * rows[order], match=match)
            np.testing.assert_allclose(found.cosine, 1, atol=1e-6)
            np.testing.assert_array_equal(order[found.partner], np.arange(30))
            assert found.shared() == 1

    def test_two_concepts_may_share_a_partner_by_max_but_not_by_matching(self):
        first = np.array([[1, 0], [1, 0.1]], np.float32)
        second = np.array([[1, 0], [0, 1]], np.float32)
        assert list(matched_cosine(first, second, match="max").partner) == [0, 0]
        assert sorted(matched_cosine(first, second).partner) == [0, 1]
        best = max(
            sum(
                float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                for a, b in zip(first, second[list(p)], strict=True)
            )
            for p in itertools.permutations(range(2))
        )
        assert matched_cosine(first, second).cosine.sum() == pytest.approx(best)

    def test_dictionaries_of_other_widths_are_refused(self):
        with pytest.raises(TrainingError, match="width"):
            matched_cosine(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))


class TestProbe:
    def test_it_tells_what_is_linear_and_not_what_is_noise(self):
        rng = RNG(7)
        labels = np.repeat([0, 1, 2], [60, 30, 12])
        features = rng.normal(size=(102, 10)).astype(np.float32)
        assert probe_accuracy(features, labels).balanced < 0.55
        features[np.arange(102), labels] += 4
        assert probe_accuracy(features, labels).balanced > 0.9

    def test_a_swap_costs_what_it_destroys(self):
        rng = RNG(8)
        labels = np.repeat([0, 1], 40)
        features = rng.normal(size=(80, 4)).astype(np.float32)
        features[:, 0] += 5 * labels
        assert probe_accuracy(features, labels, swapped=features).balanced > 0.95
        assert probe_accuracy(features, labels, swapped=0 * features).balanced == pytest.approx(0.5)

    def test_groups_are_not_split(self):
        # Every group has a colour of its own; labels follow nothing else.
        rng = RNG(9)
        groups = np.repeat(np.arange(12), 10)
        labels = groups % 2
        features = np.eye(12, dtype=np.float32)[groups] + 0.01 * rng.normal(size=(120, 12))
        features = features.astype(np.float32)
        assert probe_accuracy(features, labels).balanced > 0.95
        assert probe_accuracy(features, labels, groups=groups).balanced < 0.75

    @pytest.mark.parametrize("labels", [[0, 0, 0], [0, 0, 1]])
    def test_too_few_labels_are_refused(self, labels):
        with pytest.raises(TrainingError, match="at least two"):
            probe_accuracy(np.ones((3, 2), np.float32), np.array(labels))
