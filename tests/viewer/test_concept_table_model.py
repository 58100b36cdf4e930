"""The table of concepts sorts, filters and follows what changes."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_cytosae.viewer.concept_columns import COLUMNS
from napari_cytosae.viewer.concept_table_model import ConceptTableModel, mask_of
from napari_cytosae.viewer.gallery_tiles import outline_of

ASCENDING, DESCENDING = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
BY_KEY = {column.key: column for column in COLUMNS}
SHOWN = [BY_KEY[key] for key in ("concept_id", "name", "mean_activation", "noisy")]


@pytest.fixture
def model(qapp) -> ConceptTableModel:
    model = ConceptTableModel()
    model.show(
        SHOWN,
        {
            "name": np.array(["", "Nucleus", "granules", ""], object),
            "mean_activation": np.array([0.5, np.nan, 2.0, 0.1]),
            "noisy": np.array([True, False, False, False]),
        },
        4,
        order=np.array([3, 2, 1, 0]),
    )
    return model


def texts(model: ConceptTableModel, column: int) -> list[str]:
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def test_concepts_come_in_the_order_that_was_given(model) -> None:
    assert model.ids.tolist() == [3, 2, 1, 0]
    assert texts(model, 0) == ["#3", "#2", "#1", "#0"]


def test_what_is_not_known_comes_last_whichever_way_one_sorts(model) -> None:
    model.sort(2, ASCENDING)
    assert model.ids.tolist() == [3, 0, 2, 1]
    model.sort(2, DESCENDING)
    assert model.ids.tolist() == [2, 0, 3, 1]
    assert texts(model, 2) == ["2", "0.5", "0.1", ""]
    model.sort(1, ASCENDING)
    assert model.ids.tolist()[:2] == [2, 1]  # granules before Nucleus, whatever the case
    model.sort(1, DESCENDING)
    assert model.ids.tolist()[:2] == [1, 2]
    model.sort(-1)
    assert model.ids.tolist() == [3, 2, 1, 0]


def test_a_filter_keeps_the_order(model) -> None:
    model.sort(2, DESCENDING)
    model.show_only(mask_of([0, 3, 1], 4))
    assert model.ids.tolist() == [0, 3, 1]
    assert model.row_of(3) == 1
    assert model.row_of(2) is None


def test_other_values_of_the_sorted_column_move_the_rows(model) -> None:
    model.sort(2, DESCENDING)
    model.replace("mean_activation", np.array([1.0, 4.0, 3.0, 2.0]))
    assert model.ids.tolist() == [1, 2, 3, 0]


def test_suggested_names_are_slanted(model) -> None:
    model.mark_suggested(frozenset([1]))
    fonts = [
        model.data(model.index(row, 1), Qt.ItemDataRole.FontRole).italic()
        for row in range(model.rowCount())
    ]
    assert fonts == [False, False, True, False]


def test_the_outline_of_a_mask_goes_round_it_once() -> None:
    inside = np.zeros((16, 16), bool)
    inside[0, 0] = inside[5:7, 5:8] = True
    lines = {frozenset(line) for line in outline_of(inside)}
    assert len(lines) == len(outline_of(inside)) == 4 + 2 * (2 + 3)
    assert frozenset([(0, 0), (0, 1)]) in lines
    assert frozenset([(5, 5), (5, 6)]) in lines
    assert frozenset([(7, 7), (7, 8)]) in lines
    assert not outline_of(np.zeros((16, 16), bool))
