"""A region says which cells are wanted."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cytosae.cells import Region, cells_from_boxes, cells_within, read_region
from napari_cytosae.errors import CellsError

TRIANGLE = [(0, 0), (0, 100), (100, 0)]


def test_a_box_holds_its_first_pixel_and_not_the_one_behind_its_last():
    region = Region.of_box(10, 20, 30, 40)
    points = [(10, 20), (29, 39), (30, 39), (29, 40), (9, 20), (10, 19)]
    assert region.contains(points).tolist() == [True, True, False, False, False, False]
    assert region.area_px == 400
    assert region.box((1000, 1000)) == (10, 20, 30, 40)
    assert region.box((5, 5)) is None


def test_any_of_several_polygons_counts():
    region = Region.of([TRIANGLE, [(200, 200), (200, 210), (210, 210)]])
    points = [(10, 10), (90, 90), (201, 208), (-1, 5)]
    assert region.contains(points).tolist() == [True, False, True, False]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=8),
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.integers(1, 20)),
)
def test_a_box_with_a_point_of_the_region_is_never_left_out(corners, box):
    region = Region.of([corners])
    y, x, height, width = box
    points = np.argwhere(np.ones((height, width))) + np.array([y, x])
    if region.contains(points).any():
        assert region.meets((y, x, y + height, x + width))


def test_a_far_box_is_left_out():
    assert not Region.of([TRIANGLE]).meets((90, 90, 120, 120))
    assert Region.of([TRIANGLE]).meets((40, 40, 45, 45))  # wholly inside
    assert Region.of([TRIANGLE]).meets((-50, -50, 500, 500))  # wholly around


def test_the_same_corners_have_the_same_digest():
    assert Region.of([TRIANGLE]).digest == Region.of([np.array(TRIANGLE)]).digest
    assert Region.of([TRIANGLE]).digest != Region.of([TRIANGLE[::-1]]).digest


@pytest.mark.parametrize(
    ("polygons", "words"),
    [
        ([], "empty"),
        ([[(0, 0), (1, 1)]], "three corners"),
        ([[(0, 0), (1, 1), (np.nan, 2)]], "no place"),
        ([[0, 1, 2]], "three corners"),
    ],
)
def test_what_is_no_region_is_refused(polygons, words):
    with pytest.raises(CellsError, match=words):
        Region.of(polygons)


def test_cells_keep_their_labels_within_a_region():
    cells = cells_from_boxes([(0, 0, 20, 20), (60, 60, 80, 80), (5, 60, 25, 80)], (100, 100))
    kept = cells_within(cells, Region.of_box(0, 0, 50, 100))
    assert kept.table["label"].tolist() == [1, 3]
    assert set(np.unique(np.asarray(kept.labels))) == {0, 1, 3}


def test_a_region_is_read_from_numbers_and_from_geojson(tmp_path):
    assert read_region("10,20,30,40").box((99, 99)) == (10, 20, 30, 40)
    ring = [[20, 10], [40, 10], [40, 30], [20, 30], [20, 10]]
    content = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}],
    }
    path = tmp_path / "region.geojson"
    path.write_text(json.dumps(content))
    assert read_region(path).box((99, 99)) == (10, 20, 30, 40)


@pytest.mark.parametrize("text", ["1,2,3", "5,5,5,9", "nowhere.geojson", "nan,0,1,1", "a,b,c,d"])
def test_what_names_no_region_is_refused_with_what_to_do(text):
    with pytest.raises(CellsError, match="y0,x0,y1,x1"):
        read_region(text)


def test_geojson_without_polygons_is_refused(tmp_path):
    path = tmp_path / "points.geojson"
    path.write_text('{"type": "Point", "coordinates": [1, 2]}')
    with pytest.raises(CellsError, match="no polygon"):
        read_region(path)
    path.write_text("{ broken")
    with pytest.raises(CellsError, match="cannot be read"):
        read_region(path)
