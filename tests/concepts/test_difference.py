"""What differs between two cells is ranked, signed and complete."""

import numpy as np
import pytest
from random_cells import cell_from_dense, random_dense

from napari_cytosae.concepts import compare_cells
from napari_cytosae.concepts.cell import N_TOKENS, CellActivations
from napari_cytosae.errors import RunError


def random_cell(seed: int) -> CellActivations:
    return cell_from_dense(random_dense(seed, share_active=0.01))


def dense(cell: CellActivations) -> np.ndarray:
    profile = np.zeros(cell.d_sae)
    np.add.at(profile, cell.concept_ids.astype(int), cell.values.astype(float))
    return profile / N_TOKENS


def test_differences_are_those_of_the_profiles() -> None:
    first, second = (random_cell(seed) for seed in (0, 1))
    found = compare_cells(first, second, names={3: "granules"})
    expected = dense(first) - dense(second)
    active = np.flatnonzero((dense(first) > 0) | (dense(second) > 0))
    assert sorted(each.concept_id for each in found) == active.tolist()
    for each in found:
        assert each.difference == pytest.approx(expected[each.concept_id], abs=1e-6)
        assert each.name == ("granules" if each.concept_id == 3 else "")
    sizes = [abs(each.difference) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    back = {each.concept_id: each.difference for each in compare_cells(second, first)}
    assert all(back[each.concept_id] == pytest.approx(-each.difference) for each in found)
    assert compare_cells(first, second, k=4) == compare_cells(first, second)[:4]


def test_a_cell_does_not_differ_from_itself() -> None:
    cell = random_cell(0)
    assert all(each.difference == 0 for each in compare_cells(cell, cell))


def test_cells_of_two_saes_are_not_compared() -> None:
    with pytest.raises(RunError, match="different SAEs"):
        compare_cells(random_cell(0), cell_from_dense(random_dense(1)[:, :50]))
