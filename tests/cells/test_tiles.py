"""Cells of a slide that is gone through tile by tile: the same cells, however it is cut."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from napari_cytosae.cells import PaintedLabels, detect_cells, survey_slide
from napari_cytosae.cells.grid import WorkingGrid
from napari_cytosae.cells.outline import Outline
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cells.survey import FIELD_PX
from napari_cytosae.errors import Cancelled, CellsError, UnreachableImageError
from napari_cytosae.slides import Slide, sample_smear

GLASS = (232, 226, 224)


def levels_of(image: np.ndarray, n_levels: int = 4) -> list[np.ndarray]:
    levels = [image]
    for _ in range(n_levels - 1):
        last = levels[-1]
        height, width = (size // 2 * 2 for size in last.shape[:2])
        halved = last[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
        levels.append(halved.mean(axis=(1, 3)).astype(np.uint8))
    return levels


class CountedLevel:
    """An array that notes which windows are read, and fails where it is damaged."""

    def __init__(self, pixels, damaged=()):
        self.pixels, self.damaged = pixels, damaged
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.windows = []

    def __getitem__(self, key):
        rows, columns = key[0], key[1]
        self.windows.append((rows, columns))
        for y0, x0, y1, x1 in self.damaged:
            if rows.start < y1 and y0 < rows.stop and columns.start < x1 and x0 < columns.stop:
                raise ValueError("a broken tile")
        return self.pixels[key]


def sheet_of_cells(seed=0):
    """Touching nuclei in one sheet of stain, far larger than any cell."""
    rng = np.random.default_rng(seed)
    image = np.full((900, 1300, 3), GLASS, np.float64)
    y, x = np.mgrid[:900, :1300]
    image[(np.abs(y - 450) < 330) & (np.abs(x - 650) < 520)] = (175, 150, 200)
    for cy, cx in rng.uniform((140, 150), (760, 1150), (260, 2)):
        radius = rng.uniform(11, 17)
        disc = np.hypot(y - cy, (x - cx) * rng.uniform(0.8, 1.2)) < radius
        image[disc] = np.array((95, 55, 150)) + rng.normal(0, 6, 3)
    noisy = image + rng.normal(0, 2, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def assert_same_cells(one, other):
    pd.testing.assert_frame_equal(one.table, other.table)
    np.testing.assert_array_equal(np.asarray(one.labels), np.asarray(other.labels))
    np.testing.assert_array_equal(np.asarray(one.nuclei), np.asarray(other.nuclei))


@pytest.mark.slow
def test_three_tile_sizes_give_identical_cells_on_the_mosaic_slide(shared):
    with Slide.open(shared / "data/slides/bccd-mosaic-8x8.ome.tif") as slide:
        whole = detect_cells(slide, tile_px=max(slide.shape))
        assert len(whole) == 70
        for tile_px in (900, 1777, 2560):
            assert_same_cells(detect_cells(slide, tile_px=tile_px), whole)


@pytest.mark.slow
def test_the_mosaics_cells_match_the_boxes_as_well_as_single_fields(shared):
    boxes = []
    fields = sorted((shared / "data/bccd/Annotations").glob("*.xml"))[:64]
    for number, field in enumerate(fields):
        top, left = 480 * (number // 8), 640 * (number % 8)
        for item in ET.parse(field).iter("object"):
            if item.findtext("name") == "WBC":
                sides = ("xmin", "ymin", "xmax", "ymax")
                x0, y0, x1, y1 = (float(item.findtext(f"bndbox/{side}")) for side in sides)
                if x1 > x0 and y1 > y0:
                    boxes.append((x0 + left, y0 + top, x1 + left, y1 + top))
    with Slide.open(shared / "data/slides/bccd-mosaic-8x8.ome.tif") as slide:
        table = detect_cells(slide).table
    false = 0
    for y, x in zip(table["centroid_y"], table["centroid_x"], strict=True):
        inside = [b for b in boxes if b[0] <= x <= b[2] and b[1] <= y <= b[3]]
        false += not inside
        for box in inside[:1]:
            boxes.remove(box)
    # Single fields: 70 of 70, none false.
    assert (len(boxes), false) == (0, 0)


@pytest.mark.parametrize("microns_per_pixel", [0.13, None])
def test_tiles_of_any_size_give_the_cells_of_the_whole(microns_per_pixel):
    image = sample_smear(seed=12).image
    whole = detect_cells(image, microns_per_pixel)
    assert len(whole) > 5
    for tile_px in (333, 640):
        assert_same_cells(detect_cells(image, microns_per_pixel, tile_px=tile_px), whole)


def test_a_sheet_of_touching_cells_is_cut_up_alike_by_all_tiles():
    image = sheet_of_cells()
    whole = detect_cells(image, 0.3)
    assert len(whole) > 60
    assert_same_cells(detect_cells(image, 0.3, tile_px=517), whole)


def test_bare_glass_is_not_read_in_full_resolution():
    smear = sample_smear(seed=3, shape=(420, 640)).image
    image = np.full((6000, 6000, 3), GLASS, np.uint8)
    assert image.shape[0] * image.shape[1] > FIELD_PX
    image[2000:2420, 3000:3640] = smear
    level = CountedLevel(image)
    slide = Slide.from_levels([level, *levels_of(image)[1:]], microns_per_pixel=0.1)
    survey = survey_slide(slide)
    assert survey.occupied.squares.mean() < 0.1
    level.windows.clear()
    found = detect_cells(slide, tile_px=512).table
    alone = detect_cells(smear, 0.1).table
    read = np.zeros(image.shape[:2], bool)
    for window in level.windows:
        read[window] = True
    assert read.mean() < 0.4
    # The smear's own edge is an edge no more: cells that it cut may differ.
    inner = alone[
        alone["box_y0"].between(20, 400)
        & alone["box_y1"].le(400)
        & alone["box_x0"].ge(20)
        & alone["box_x1"].le(620)
    ]
    for cell in inner.itertuples():
        near = np.hypot(
            found["centroid_y"] - 2000 - cell.centroid_y,
            found["centroid_x"] - 3000 - cell.centroid_x,
        )
        assert near.min() < 10


def test_a_damaged_place_costs_its_cells_and_no_others():
    image = sample_smear(seed=12).image
    whole = detect_cells(Slide.from_array(image, microns_per_pixel=0.1)).table
    hit = whole.iloc[len(whole) // 2]
    y, x = int(hit["centroid_y"]), int(hit["centroid_x"])
    level = CountedLevel(image, damaged=[(y, x, y + 3, x + 3)])
    slide = Slide.from_levels([level], microns_per_pixel=0.1)
    top, left = y // 256 * 256, x // 256 * 256  # an array is tried in pieces of 256 px
    lost = (
        (whole["box_y1"] > top)
        & (whole["box_y0"] < top + 256)
        & (whole["box_x1"] > left)
        & (whole["box_x0"] < left + 256)
    )
    assert 0 < lost.sum() < len(whole)
    expected = whole[~lost][["centroid_y", "centroid_x"]].to_numpy()
    for tile_px in (None, 400):
        found = detect_cells(slide, tile_px=tile_px).table
        places = found[["centroid_y", "centroid_x"]].to_numpy()
        assert len(places) == len(expected)
        # The stain is measured on other windows where the whole cannot be read.
        np.testing.assert_allclose(places, expected, atol=3)


def test_a_patched_slide_fills_what_it_cannot_read_and_lists_it():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    expected = pixels.copy()
    expected[256:512, 256:512] = (1, 2, 3)
    windows = [(0, 0, 700, 700), (250, 250, 20, 20), (300, 300, 100, 300)]
    for order in (windows, windows[::-1]):
        level = CountedLevel(pixels, damaged=[(256, 256, 512, 512)])
        patched = PatchedSlide(Slide.from_levels([level]), (1, 2, 3))
        for y, x, height, width in order:
            region = patched.read_region(y, x, height, width)
            np.testing.assert_array_equal(region, expected[y : y + height, x : x + width])
        assert patched.damaged == [(256, 256, 512, 512)]
        assert patched.damaged_in(500, 500, 600, 600)
        assert not patched.damaged_in(512, 0, 700, 700)


def test_a_file_that_is_gone_is_not_taken_for_damage():
    class Gone(CountedLevel):
        def __getitem__(self, key):
            raise OSError(5, "the drive is gone")

    pixels = np.zeros((300, 300, 3), np.uint8)
    patched = PatchedSlide(Slide.from_levels([Gone(pixels)]))
    with pytest.raises(UnreachableImageError):
        patched.read_region(0, 0, 300, 300)
    assert patched.damaged == []


def test_looking_for_cells_can_be_stopped():
    image = sample_smear(seed=3, shape=(420, 640)).image
    with pytest.raises(Cancelled):
        detect_cells(image, 0.1, tile_px=100, cancelled=lambda: True)


def test_a_large_grey_slide_and_a_dark_one_are_refused():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 255, (4200, 4200, 1), np.uint8), 3, axis=2)
    with pytest.raises(CellsError, match="grey"):
        survey_slide(Slide.from_array(grey, microns_per_pixel=0.2))
    dark = np.zeros((4200, 4200, 3), np.uint8)
    dark[500:900, 500:3000, 2] = 200
    with pytest.raises(CellsError, match="dark"):
        survey_slide(Slide.from_array(dark, microns_per_pixel=0.2))


# -- what tiles are made of -----------------------------------------------------------------


@pytest.mark.parametrize("microns_per_pixel", [0.05, 0.0871, 0.15, 0.1999, 0.3])
def test_a_window_of_the_grid_has_the_pixels_of_the_whole(microns_per_pixel):
    image = np.random.default_rng(1).integers(0, 256, (211, 307, 3), np.uint8)
    grid = WorkingGrid.over(image.shape[:2], microns_per_pixel)
    height, width = grid.shape
    whole = grid.reduce(image, (0, 0, height, width))
    assert whole.shape == (height, width, 3)
    assert whole.mean() == pytest.approx(image.mean(), abs=1)
    rng = np.random.default_rng(2)
    for _ in range(20):
        y0, x0 = rng.integers(0, (height, width))
        y1, x1 = rng.integers((y0, x0), (height, width)) + 1
        source = grid.source_of((y0, x0, y1, x1))
        part = image[source[0] : source[2], source[1] : source[3]]
        np.testing.assert_array_equal(grid.reduce(part, (y0, x0, y1, x1)), whole[y0:y1, x0:x1])


def test_painted_labels_are_the_array_that_they_stand_for():
    rng = np.random.default_rng(0)
    whole = np.zeros((120, 90), np.int32)
    outlines, ids = [], []
    for label in range(1, 30):
        y, x = rng.integers(-0, (100, 75))
        mask = rng.random((rng.integers(1, 20), rng.integers(1, 15))) < 0.7
        outlines.append(Outline(int(y), int(x), mask))
        ids.append(7 * label)
        whole[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = 7 * label
    outlines.append(None)
    ids.append(1000)
    labels = PaintedLabels(whole.shape, ids, outlines)
    np.testing.assert_array_equal(np.asarray(labels), whole)
    assert labels.dtype == whole.dtype
    assert labels.size == whole.size
    keys = [
        np.s_[3:40, 5:60], np.s_[::7, ::3], np.s_[17], np.s_[17, 20], np.s_[-1, -2], np.s_[50:10],
        np.s_[:, 12], np.s_[100:500, 80:200],
    ]  # fmt: skip
    for key in keys:
        np.testing.assert_array_equal(labels[key], whole[key])
    with pytest.raises(IndexError):
        labels[120, 0]
