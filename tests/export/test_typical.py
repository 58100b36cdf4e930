import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from napari_cytosae.export.typical import typical_cells


def three_kinds(sizes=(40, 25, 10), seed=0):
    """Cells of three kinds; each kind has concepts of its own, with some noise."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(3), sizes)
    profiles = np.zeros((len(kinds), 30))
    for row, kind in enumerate(kinds):
        profiles[row, kind * 10 : kind * 10 + 6] = rng.uniform(0.5, 1.5, 6)
        profiles[row, rng.integers(0, 30)] += 0.05
    return csr_array(profiles.astype(np.float32)), kinds


@pytest.mark.parametrize("matrix", [csr_array, csr_matrix])
def test_each_kind_is_shown_the_commonest_first(matrix):
    profiles, kinds = three_kinds()
    assert kinds[typical_cells(matrix(profiles), k=3)].tolist() == [0, 1, 2]


def test_few_cells_are_all_shown_in_their_order():
    profiles, _ = three_kinds(sizes=(2, 2, 1))
    assert typical_cells(profiles, k=8).tolist() == [0, 1, 2, 3, 4]


def test_thousands_of_cells_are_sampled_and_still_show_each_kind():
    profiles, kinds = three_kinds(sizes=(900, 500, 300))
    chosen = typical_cells(profiles, k=3)
    assert set(kinds[chosen]) == {0, 1, 2}
    assert chosen.tolist() == typical_cells(profiles, k=3).tolist()


def test_cells_without_active_concepts_do_no_harm():
    silent = csr_array((12, 30), dtype=np.float32)
    assert 1 <= len(typical_cells(silent, k=4)) <= 4
