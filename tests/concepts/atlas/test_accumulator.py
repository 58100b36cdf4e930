"""Counting cells: against dense references, upstream's numbers, and itself in another order."""

import numpy as np
import pytest

from napari_cytosae.concepts.atlas.accumulator import Accumulator, TokenBlock, source_key
from napari_cytosae.concepts.atlas.measures import NO_LABEL, label_entropy, ratio
from napari_cytosae.concepts.atlas.references import NO_PATCH
from napari_cytosae.concepts.cell import N_TOKENS

D_SAE = 40


def block_from_dense(dense, *, source=0, first=0, labels=None, identity="00ff" * 16):
    """Write dense (cells, tokens, concepts) activations as a block, by hand."""
    n, _, d_sae = dense.shape
    flat = dense.reshape(-1, d_sae)
    rows, concepts = np.nonzero(flat)
    indptr = np.concatenate([[0], np.cumsum((flat > 0).sum(axis=1))]).astype(np.int64)
    return TokenBlock(
        sources=np.full(n, source, np.int32),
        keys=np.full(n, source_key(identity)),
        cells=np.arange(first, first + n),
        labels=np.full(n, NO_LABEL, np.int32) if labels is None else labels.astype(np.int32),
        indptr=indptr,
        concept_ids=concepts.astype(np.uint16),
        values=flat[rows, concepts],
    )


def random_dense(n, seed=0, d_sae=D_SAE, share=0.03):
    rng = np.random.default_rng(seed)
    dense = rng.gamma(1.0, 0.5, (n, N_TOKENS, d_sae)) * (rng.random((n, N_TOKENS, d_sae)) < share)
    dense[:, :, 3] = 0  # a concept that is never active
    dense[:, :, 4] *= rng.random((n, 1)) < 0.1  # and one that few cells have
    return dense.astype(np.float16)


def test_upstreams_statistics(shared):
    golden = np.load(shared / "golden" / "statistics.npz")
    activations = golden["activations"]
    counted = Accumulator(96, n_tokens=activations.shape[1])
    counted.add(block_from_dense(activations, labels=golden["labels"]))
    counts, references = counted.counts, counted.references
    filled = references.filled
    np.testing.assert_allclose(
        ratio(counts.images, counted.n_images), golden["sae_sparsity"], atol=1e-6
    )
    active = counts.images > 0
    assert np.isnan(golden["sae_mean_acts"][~active]).all()  # upstream's 0/0
    means = ratio(counts.mass, counts.images)
    np.testing.assert_allclose(means[active], golden["sae_mean_acts"][active], atol=1e-6)
    assert (means[~active] == 0).all()
    np.testing.assert_array_equal(counts.tokens_above, golden["count_above_0_2"])
    values = golden["max_activating_image_values"]
    np.testing.assert_array_equal(filled, values > 0)
    np.testing.assert_allclose(references.values, values, atol=1e-6)
    np.testing.assert_array_equal(
        references.cells[filled], golden["max_activating_image_indices"][filled]
    )
    np.testing.assert_array_equal(references.labels[filled], golden["top_labels"][filled])
    assert (references.labels[~filled] == NO_LABEL).all()  # not image 0's label
    entropy = label_entropy(references.values, references.labels)
    np.testing.assert_allclose(entropy, golden["entropy"], atol=1e-6)


def test_counts_are_those_of_the_dense_activations():
    dense = random_dense(70)
    counted = Accumulator(D_SAE, threshold=0.3)
    counted.add(block_from_dense(dense))
    exact = dense.astype(np.float64)
    counts = counted.counts
    np.testing.assert_array_equal(counts.images, (exact.sum(axis=1) > 0).sum(axis=0))
    np.testing.assert_array_equal(counts.mass_units, exact.sum(axis=(0, 1)) * 2**24)
    np.testing.assert_array_equal(counts.patches, (exact[:, 1:] > 0).sum(axis=(0, 1)))
    np.testing.assert_array_equal(counts.tokens_above, (exact > 0.3).sum(axis=(0, 1)))


def test_references_are_the_best_cells_with_the_patch_of_their_maximum():
    dense = random_dense(70)
    counted = Accumulator(D_SAE, k=7)
    counted.add(block_from_dense(dense))
    references = counted.references
    means = dense.astype(np.float64).mean(axis=1)
    for concept in range(D_SAE):
        order = np.lexsort((np.arange(70), -means[:, concept]))[:7]
        order = order[means[order, concept] > 0]
        n = len(order)
        np.testing.assert_array_equal(references.cells[concept, :n], order)
        np.testing.assert_allclose(references.values[concept, :n], means[order, concept])
        patches = dense[order, 1:, concept]
        found = np.where(patches.any(axis=1), patches.argmax(axis=1), NO_PATCH)
        np.testing.assert_array_equal(references.patches[concept, :n], found)
        assert (references.values[concept, n:] == 0).all()
        assert (references.cells[concept, n:] == -1).all()


def test_a_concept_of_the_class_token_alone_has_no_patch():
    dense = np.zeros((2, N_TOKENS, D_SAE), np.float16)
    dense[1, 0, 5] = 2
    counted = Accumulator(D_SAE)
    counted.add(block_from_dense(dense))
    assert counted.counts.patches[5] == 0
    assert counted.references.cells[5, 0] == 1
    assert counted.references.patches[5, 0] == NO_PATCH


def test_the_largest_numbers_are_added_up_exactly():
    dense = np.zeros((40, N_TOKENS, D_SAE), np.float16)
    dense[..., 1] = np.finfo(np.float16).max
    dense[:, 1, 2] = np.finfo(np.float16).smallest_subnormal
    counted = Accumulator(D_SAE)
    counted.add(block_from_dense(dense))
    assert counted.counts.mass_units[1] == 40 * N_TOKENS * int(np.finfo(np.float16).max) * 2**24
    assert counted.counts.mass_units[2] == 40
    assert counted.references.filled[2].all()


def shuffled_blocks(dense, order, sizes, identities):
    """Cut cells into blocks of some sizes in some order; every fourth cell is of each source."""
    start = 0
    for size in sizes:
        for row in order[start : start + size]:
            source = row % 4
            yield block_from_dense(
                dense[row : row + 1],
                source=source,
                first=row // 4,
                identity=identities[source],
                labels=np.array([row % 3]),
            )
        start += size


@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_matter_even_among_equals(seed):
    rng = np.random.default_rng(seed)
    # Few different cells, so that most places among the references are contested by equals.
    dense = random_dense(5, seed)[rng.integers(0, 5, 90)]
    identities = [f"{n:x}" * 64 for n in (11, 3, 15, 7)]
    results = []
    for order in (np.arange(90), rng.permutation(90)):
        counted = Accumulator(D_SAE, k=5, sample_cells=20)
        for block in shuffled_blocks(dense, order, [90], identities):
            counted.add(block)
        results.append(counted)
    first, second = results
    for name in ("images", "mass_units", "patches", "tokens_above"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("values", "sources", "cells", "patches", "labels"):
        np.testing.assert_array_equal(
            getattr(first.references, name), getattr(second.references, name)
        )
    for name in ("priorities", "sources", "cells", "indptr", "concept_ids", "values"):
        np.testing.assert_array_equal(getattr(first.sample, name), getattr(second.sample, name))
    assert len(first.sample) == 20
    best = first.references
    tied = np.diff(best.values, axis=1) == 0
    assert tied[best.filled[:, 1:]].any()
    keys = np.array([source_key(identity) for identity in identities])
    earlier = keys[best.sources[:, :-1]] <= keys[best.sources[:, 1:]]
    assert earlier[tied & best.filled[:, 1:]].all()


def test_nothing_is_counted_where_nothing_is_active():
    counted = Accumulator(D_SAE)
    counted.add(block_from_dense(np.zeros((3, N_TOKENS, D_SAE), np.float16)))
    counted.add(block_from_dense(np.zeros((0, N_TOKENS, D_SAE), np.float16)))
    assert counted.n_images == 3
    assert not counted.counts.images.any()
    assert not counted.references.filled.any()
