"""An autoencoder that is right beside baselines that are not."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import SparseAutoencoder
from napari_cytosae.training.metrics import (
    evaluate,
    matched_cosine,
    pca_dictionary,
    random_frozen_decoder,
    raw_dictionary,
    sae_dictionary,
)

D, FEATURES, TOKENS, IMAGES = 16, 32, 9, 48


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(FEATURES, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def images(truth) -> np.ndarray:
    """Sparse sums of true features; feature 0 marks label "b", feature 1 label "a"."""
    rng = np.random.default_rng(1)
    f = np.where(rng.random((IMAGES, TOKENS, FEATURES)) < 0.06, rng.uniform(1, 2, 1), 0)
    f[..., :2] = 0
    f[: IMAGES // 2, 3:, 1] = 2
    f[IMAGES // 2 :, 3:, 0] = 2
    return (f @ truth + 1.0).astype(np.float32)


@pytest.fixture(scope="module")
def right(truth) -> SparseAutoencoder:
    """The true dictionary, with biases that keep small crosstalk silent."""
    sae = SparseAutoencoder(D, FEATURES, -2)
    with torch.no_grad():
        sae.W_dec.copy_(torch.from_numpy(truth))
        sae.W_enc.copy_(torch.from_numpy(truth.T))
        sae.b_enc.fill_(-0.6)
        sae.b_dec.fill_(1.0)
    return sae


LABELS = ["a"] * (IMAGES // 2) + ["b"] * (IMAGES // 2)


def batches(images):
    return lambda: iter(np.array_split(images, 5))


@pytest.fixture(scope="module")
def evaluation(images, right):
    flat = images.reshape(-1, D)
    return evaluate(
        batches(images),
        [
            sae_dictionary(right),
            raw_dictionary(flat),
            pca_dictionary(flat, 4),
            random_frozen_decoder(flat, FEATURES, l1=0.01, steps=150, batch_tokens=256),
        ],
        labels=LABELS,
        permutations=199,
    )


def test_every_dictionary_gets_every_figure(evaluation):
    names = [row.name for row in evaluation.rows]
    assert names == ["SAE", "raw tokens", "PCA, 4 components", "random frozen decoder"]
    for row in evaluation.rows:
        assert all(value is not None for value in row.to_json().values())
        assert row.images == IMAGES
        assert row.tokens == IMAGES * TOKENS


def test_the_labels_own_concepts_are_found(evaluation):
    sae = evaluation.rows[0]
    assert sae.best_auroc["a"] > 0.99
    assert sae.best_auroc["b"] > 0.99
    assert sae.probe_profiles > 0.99
    assert 0 < sae.significant_share < 0.7


def test_raw_tokens_are_exact_and_dense(evaluation):
    raw = evaluation.rows[1]
    assert raw.explained_variance == pytest.approx(1, abs=1e-5)
    assert raw.class_token_cosine == pytest.approx(1, abs=1e-5)
    assert raw.l0_per_token == pytest.approx(D, abs=0.01)
    assert raw.probe_swapped == raw.probe_class_token


def test_pca_explains_what_its_eigenvalues_say(evaluation, images):
    flat = images.reshape(-1, D).astype(np.float64)
    values = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1]
    wanted = values[:4].sum() / values.sum()
    assert evaluation.rows[2].explained_variance == pytest.approx(wanted, abs=1e-4)


def test_profiles_are_means_over_tokens(evaluation, images, right):
    dense = right.encode(torch.from_numpy(images)).mean(1).detach().numpy()
    np.testing.assert_allclose(evaluation.profiles[0].toarray(), dense, atol=1e-5)


def test_figures_go_through_json(evaluation):
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["rows"][0]["concepts_above"] == list(evaluation.rows[0].concepts_above)


def test_without_labels_there_are_no_figures_of_labels(images, right):
    row = evaluate(batches(images), [sae_dictionary(right)]).rows[0]
    assert row.purity is None
    assert row.probe_profiles is None
    assert row.monosemanticity == row.monosemanticity  # a number


def test_the_random_decoder_is_neither_trained_nor_better(images, right):
    flat = images.reshape(-1, D)
    few = random_frozen_decoder(flat, FEATURES, l1=0.01, steps=1, batch_tokens=64)
    many = random_frozen_decoder(flat, FEATURES, l1=0.01, steps=60, batch_tokens=64)
    code = np.eye(FEATURES, dtype=np.float32)
    moved = many.decode(csr_array(code)) - many.decode(csr_array((FEATURES, FEATURES)))
    start = few.decode(csr_array(code)) - few.decode(csr_array((FEATURES, FEATURES)))
    np.testing.assert_allclose(moved, start, atol=1e-5)


def test_explained_variance_does_not_tell_a_dictionary_that_found_nothing():
    """64 features in 32 dimensions, about 3 active: random directions rebuild them all the same."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(64, 32)).astype(np.float32)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    f = np.where(rng.random((6000, 64)) < 3 / 64, rng.uniform(0.5, 1.5, (6000, 64)), 0)
    x = (f @ truth).astype(np.float32)
    random = random_frozen_decoder(x, 256, l1=1e-4, lr=3e-3, steps=400, batch_tokens=512)
    found = evaluate(lambda: iter([x[:1000, None]]), [random]).rows[0]
    rows = random.decode(csr_array(np.eye(256, dtype=np.float32)))
    rows = rows - random.decode(csr_array((256, 256)))
    assert found.explained_variance > 0.9
    assert matched_cosine(truth, rows, match="max").mean < 0.6


def test_cancelling_and_wrong_counts_are_errors(images, right):
    dictionary = [sae_dictionary(right)]
    with pytest.raises(Cancelled):
        evaluate(batches(images), dictionary, cancelled=lambda: True)
    with pytest.raises(TrainingError, match="3 labels"):
        evaluate(batches(images), dictionary, labels=["a", "b", "a"])
    with pytest.raises(TrainingError, match="no images"):
        evaluate(lambda: iter([]), dictionary)


def test_pca_of_more_components_than_dimensions_is_refused(images):
    with pytest.raises(TrainingError, match="1 to 16"):
        pca_dictionary(images.reshape(-1, D), 17)
