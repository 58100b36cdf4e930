"""Crops of a physical size, and cells from what a user already has."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cytosae.cells import (
    CropGeometry,
    cells_from_boxes,
    cells_from_labels,
    crop_boxes,
    iter_crops,
    read_cells,
    whole_image,
)
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide

SHAPE = (90, 120)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=40)
@given(y=st.integers(0, 85), x=st.integers(0, 115), crop_um=st.floats(5, 60))
def test_a_crop_is_the_mirrored_image_around_its_cell(y, x, crop_um):
    cells = cells_from_boxes([[y, x, y + 4, x + 4]], SHAPE)
    geometry = CropGeometry(crop_um=crop_um)
    (batch,) = iter_crops(Slide.from_array(IMAGE), cells.table, geometry, microns_per_pixel=0.5)
    y0, x0, y1, x1 = batch.boxes[0].astype(int)
    side = y1 - y0
    assert side == x1 - x0 == pytest.approx(crop_um / 0.5, abs=1)
    assert abs((y0 + y1) / 2 - (y + 2)) <= 1
    assert abs((x0 + x1) / 2 - (x + 2)) <= 1
    margin = 130
    mirrored = np.pad(IMAGE, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    expected = mirrored[y0 + margin : y1 + margin, x0 + margin : x1 + margin]
    np.testing.assert_array_equal(batch.pixels[0], expected)


def test_without_a_pixel_size_a_crop_is_twice_as_wide_as_its_cell():
    cells = cells_from_boxes([[30, 30, 50, 44]], SHAPE)
    y0, x0, y1, x1 = crop_boxes(cells.table, CropGeometry(), None, SHAPE)[0]
    assert y1 - y0 == x1 - x0 == 40


def test_batches_hold_every_cell_once_in_order():
    cells = cells_from_boxes([[5 * i, 10, 5 * i + 4, 14] for i in range(11)], SHAPE)
    batches = list(iter_crops(Slide.from_array(IMAGE), cells.table, CropGeometry(), batch_cells=4))
    assert [len(batch.labels) for batch in batches] == [4, 4, 3]
    assert np.concatenate([b.labels for b in batches]).tolist() == cells.table["label"].tolist()


def test_labels_keep_their_ids():
    labels = np.zeros(SHAPE, np.uint16)
    labels[3:9, 4:12], labels[40:50, 60:90] = 700, 5
    cells = cells_from_labels(labels)
    assert sorted(cells.table["label"]) == [5, 700]
    row = cells.table.set_index("label").loc[700]
    assert row[["box_y0", "box_x0", "box_y1", "box_x1"]].tolist() == [3, 4, 9, 12]
    assert row["area_px"] == 48


@pytest.mark.parametrize("labels", [np.full(SHAPE, 0.5), np.full(SHAPE, -1), np.ones((3, 4, 5, 6))])
def test_what_are_no_labels_is_refused(labels):
    with pytest.raises(CellsError):
        cells_from_labels(labels)


def test_labels_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(CellsError, match=r"10 . 12.*90 . 120|90 . 120.*10 . 12"):
        cells_from_labels(np.ones((10, 12), int), shape=SHAPE)


def test_the_whole_image_is_one_cell():
    cells = whole_image(SHAPE)
    assert len(cells.table) == 1
    assert (cells.labels == cells.table["label"].iloc[0]).all()


def test_centroids_in_microns_are_read_in_pixels(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("Centroid X µm,Centroid Y µm\n30,20\n", encoding="utf-8")
    slide = Slide.from_array(IMAGE, microns_per_pixel=0.5)
    row = read_cells(path, slide).table.iloc[0]
    assert (row["centroid_y"], row["centroid_x"]) == pytest.approx((40, 60), abs=1)


def test_polygons_of_geojson_become_cells(tmp_path):
    path = tmp_path / "cells.geojson"
    ring = [[10, 20], [30, 20], [30, 40], [10, 40], [10, 20]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    cells = read_cells(path, Slide.from_array(IMAGE))
    row = cells.table.iloc[0]
    assert row["area_px"] == pytest.approx(400, rel=0.12)
    assert (row["centroid_y"], row["centroid_x"]) == pytest.approx((30, 20), abs=1)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text("x,y\n1,abc\n")
    with pytest.raises(CellsError, match=r"broken\.csv"):
        read_cells(path, Slide.from_array(IMAGE))
