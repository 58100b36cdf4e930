"""Counting cells: against dense references, upstream's numbers, and itself in another order."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cytosae.concepts.atlas import token_counts, token_kernel
from napari_cytosae.concepts.atlas.accumulator import Accumulator, CellIds, source_key
from napari_cytosae.concepts.atlas.measures import NO_LABEL, label_entropy, ratio
from napari_cytosae.concepts.atlas.references import NO_PATCH
from napari_cytosae.concepts.atlas.token_counts import TokenBlock, count_tokens, half_at_most
from napari_cytosae.concepts.cell import N_TOKENS

D_SAE = 40


def block_from_dense(dense):
    """Write dense (cells, tokens, concepts) activations as CSR, by hand."""
    flat = dense.reshape(-1, dense.shape[2])
    rows, concepts = np.nonzero(flat)
    indptr = np.concatenate([[0], np.cumsum((flat > 0).sum(axis=1))]).astype(np.int64)
    return TokenBlock(indptr, concepts.astype(np.uint16), flat[rows, concepts])


def count(counted, dense, *, source=0, first=0, labels=None, identity="00ff" * 16):
    """Count dense (cells, tokens, concepts) activations."""
    n = len(dense)
    labels = np.full(n, NO_LABEL) if labels is None else labels
    cells = np.arange(first, first + n)
    key = source_key(identity)
    ids = CellIds.of_source(source, key, cells, labels.astype(np.int32))
    totals = counted.no_totals()
    part = counted.count(block_from_dense(dense), ids.keys, cells, totals)
    counted.add(totals, [(part, ids)])


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
    count(counted, activations, labels=golden["labels"])
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


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def compiled(request, monkeypatch):
    """Both ways to count; numba is among what tests need."""
    assert token_kernel.compiled_loop() is not None
    if not request.param:
        monkeypatch.setattr(token_counts, "compiled_loop", lambda: None)


def test_counts_are_those_of_the_dense_activations(compiled):
    dense = random_dense(70)
    counted = Accumulator(D_SAE, threshold=0.3)
    count(counted, dense)
    exact = dense.astype(np.float64)
    counts = counted.counts
    np.testing.assert_array_equal(counts.images, (exact.sum(axis=1) > 0).sum(axis=0))
    np.testing.assert_array_equal(counts.mass_units, exact.sum(axis=(0, 1)) * 2**24)
    np.testing.assert_array_equal(counts.patches, (exact[:, 1:] > 0).sum(axis=(0, 1)))
    np.testing.assert_array_equal(counts.tokens_above, (exact > 0.3).sum(axis=(0, 1)))


def test_references_are_the_best_cells_with_the_patch_of_their_maximum(compiled):
    dense = random_dense(70)
    counted = Accumulator(D_SAE, k=7)
    count(counted, dense)
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


def test_a_concept_of_the_class_token_alone_has_no_patch(compiled):
    dense = np.zeros((2, N_TOKENS, D_SAE), np.float16)
    dense[1, 0, 5] = 2
    counted = Accumulator(D_SAE)
    count(counted, dense)
    assert counted.counts.patches[5] == 0
    assert counted.references.cells[5, 0] == 1
    assert counted.references.patches[5, 0] == NO_PATCH


def test_the_largest_numbers_are_added_up_exactly(compiled):
    dense = np.zeros((40, N_TOKENS, D_SAE), np.float16)
    dense[..., 1] = np.finfo(np.float16).max
    dense[:, 1, 2] = np.finfo(np.float16).smallest_subnormal
    counted = Accumulator(D_SAE)
    count(counted, dense)
    assert counted.counts.mass_units[1] == 40 * N_TOKENS * int(np.finfo(np.float16).max) * 2**24
    assert counted.counts.mass_units[2] == 40
    assert counted.references.filled[2].all()


@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_matter_even_among_equals(seed):
    rng = np.random.default_rng(seed)
    # Few different cells, so that most places among the references are contested by equals.
    dense = random_dense(5, seed)[rng.integers(0, 5, 90)]
    identities = [f"{n:x}" * 64 for n in (11, 3, 15, 7)]
    results = []
    for order in (np.arange(90), rng.permutation(90)):
        counted = Accumulator(D_SAE, k=5, sample_cells=20)
        for row in order:  # every fourth cell is of each source
            count(
                counted,
                dense[row : row + 1],
                source=row % 4,
                first=row // 4,
                identity=identities[row % 4],
                labels=np.array([row % 3]),
            )
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


@given(
    values=arrays(
        np.float16,
        (2, 6, 4),
        elements=st.one_of(st.just(0.0), st.floats(0, 65504, width=16, allow_subnormal=True)),
    ),
    threshold=st.floats(0, 1e5),
    limit=st.integers(1, 1 << 44),
)
def test_compiled_and_plain_counts_are_the_same_bits(values, threshold, limit):
    block = block_from_dense(values)
    results = []
    for compiled in (True, False):
        totals = np.zeros((4, 4), np.int64)
        counts = count_tokens(
            block, 6, threshold, np.full(4, limit), np.array([True, False]), totals,
            compiled=compiled,
        )  # fmt: skip
        offers = np.lexsort((counts.concepts, counts.cells))
        kept = np.argsort(counts.kept_concepts)
        results.append(
            [
                totals,
                counts.kept_indptr,
                *(getattr(counts, n)[offers] for n in ("cells", "concepts", "units", "peaks")),
                *(getattr(counts, name)[kept] for name in ("kept_concepts", "kept_units")),
            ]
        )
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@given(st.floats(0, 1e6), st.floats(0, 65504, width=16))
def test_a_threshold_in_half_precision_parts_the_same_numbers(threshold, value):
    bits = int(np.float16(value).view(np.uint16))
    assert (bits > half_at_most(threshold)) == (value > threshold)


def test_plain_counts_do_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert token_kernel.compiled_loop.__wrapped__() is None


def test_nothing_is_counted_where_nothing_is_active():
    counted = Accumulator(D_SAE)
    count(counted, np.zeros((3, N_TOKENS, D_SAE), np.float16))
    count(counted, np.zeros((0, N_TOKENS, D_SAE), np.float16))
    assert counted.n_images == 3
    assert not counted.counts.images.any()
    assert not counted.references.filled.any()
