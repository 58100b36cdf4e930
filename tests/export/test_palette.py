from hypothesis import given
from hypothesis import strategies as st

from napari_cytosae.export.palette import HUES, hues_for

groups_of_four = st.lists(
    st.lists(st.integers(0, 40), max_size=4, unique=True), min_size=1, max_size=8
)


@given(groups_of_four)
def test_every_concept_gets_a_hue_of_the_palette(groups):
    hues = hues_for(groups)
    assert set(hues) == {concept for group in groups for concept in group}
    assert set(hues.values()) <= set(HUES)


@given(st.lists(st.integers(0, 3000), max_size=len(HUES), unique=True))
def test_up_to_six_concepts_of_one_cell_are_told_apart(group):
    assert len(set(hues_for([group]).values())) == len(group)


def test_concepts_beside_each_other_differ_where_cells_share_some():
    groups = [[1, 2, 3, 4], [2, 3, 5, 6], [1, 7, 8, 9], [9, 10, 2, 11]]
    hues = hues_for(groups)
    for group in groups:
        assert len({hues[concept] for concept in group}) == len(group)


def test_the_order_of_cells_does_not_matter_for_a_single_concept():
    assert hues_for([[5]]) == hues_for([[5], [5]])
