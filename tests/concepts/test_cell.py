import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cells import D_SAE, cell_from_dense, random_dense

from napari_cytosae.errors import RunError


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share_active=st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]),
    threshold=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_a_summary_is_what_dense_arithmetic_gives(seed, share_active, threshold):
    dense = random_dense(seed, share_active)
    summary = cell_from_dense(dense).summary(threshold)
    active = np.flatnonzero(dense.any(axis=0))
    np.testing.assert_array_equal(summary.concept_ids, active)
    np.testing.assert_allclose(summary.mean, dense.mean(axis=0, dtype=np.float64)[active], 1e-6)
    np.testing.assert_array_equal(summary.maximum, dense.max(axis=0)[active])
    np.testing.assert_array_equal(summary.count, (dense > threshold).sum(axis=0)[active])
    np.testing.assert_array_equal(summary.patches, (dense[1:] > 0).sum(axis=0)[active])


def test_concepts_are_ranked_by_their_mean_over_all_tokens_class_token_included():
    dense = np.zeros((257, D_SAE), np.float32)
    dense[0, 5] = 4.0  # the class token alone
    dense[1:, 7] = 0.01  # every patch, faintly
    dense[17, 9] = 1.0
    ranked = cell_from_dense(dense).active_concepts()
    assert [concept.concept_id for concept in ranked] == [5, 7, 9]
    assert ranked[0].activation == pytest.approx(4.0 / 257)
    assert [concept.patch_share for concept in ranked] == [0.0, 1.0, 1 / 256]
    assert ranked[0].maximum == 4.0


def test_equally_strong_concepts_keep_the_order_of_their_ids():
    dense = np.zeros((257, D_SAE), np.float32)
    dense[3, [40, 2, 11]] = 1.0
    ranked = cell_from_dense(dense).active_concepts(k=2)
    assert [concept.concept_id for concept in ranked] == [2, 11]


def test_at_a_patch_only_its_own_concepts_are_listed_by_their_value_there():
    dense = np.zeros((257, D_SAE), np.float32)
    dense[1 + 16 * 2 + 3, [10, 20]] = [0.5, 2.0]
    dense[1 + 16 * 3 + 2, 30] = 9.0  # row and column swapped
    listed = cell_from_dense(dense).active_concepts(patch=(2, 3))
    assert [(c.concept_id, c.activation) for c in listed] == [(20, 2.0), (10, 0.5)]


@pytest.mark.parametrize("patch", [(-1, 0), (0, 16), (16, 0)])
def test_a_patch_outside_the_grid_is_an_error(patch):
    with pytest.raises(RunError, match="0 to 15"):
        cell_from_dense(random_dense(0)).active_concepts(patch=patch)


@pytest.mark.parametrize("concept_id", [0, 13, D_SAE - 1])
def test_a_concept_map_is_the_patches_in_reading_order(concept_id):
    dense = random_dense(3, 0.3)
    np.testing.assert_array_equal(
        cell_from_dense(dense).concept_map(concept_id), dense[1:, concept_id].reshape(16, 16)
    )


@pytest.mark.parametrize("concept_id", [-1, D_SAE])
def test_a_concept_that_the_sae_does_not_have_is_an_error(concept_id):
    with pytest.raises(RunError, match=f"0 to {D_SAE - 1}"):
        cell_from_dense(random_dense(0)).concept_map(concept_id)


def test_a_cell_without_any_active_concept_is_an_empty_list_and_an_empty_map():
    cell = cell_from_dense(np.zeros((257, D_SAE), np.float32))
    assert cell.active_concepts() == []
    assert cell.active_concepts(patch=(4, 4)) == []
    assert not cell.concept_map(1).any()
