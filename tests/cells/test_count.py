"""How many cells a slide has, told from some of its tiles."""

import numpy as np
import pytest

from napari_cytosae.cells import Region, count, detect_cells
from napari_cytosae.cells import survey as survey_module
from napari_cytosae.cells.count import count_cells
from napari_cytosae.errors import Cancelled
from napari_cytosae.slides import Slide, sample_smear

MICRONS_PER_PIXEL = 0.13


@pytest.fixture(scope="module")
def slide():
    pixels = np.ascontiguousarray(sample_smear(seed=12).image[:800, :1200])
    return Slide.from_levels([pixels, pixels[::4, ::4]], microns_per_pixel=MICRONS_PER_PIXEL)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(survey_module, "FIELD_PX", 1000)
    monkeypatch.setattr(count, "tile_side", lambda survey: 200)


def test_where_all_tiles_are_looked_at_the_count_is_exact(slide):
    found = detect_cells(slide, tile_px=800)
    counted = count_cells(slide)
    assert counted.expected == counted.low == counted.high == len(found) > 4
    assert counted.tiles_seen == counted.tiles <= 24
    assert sum(len(cells) for _, cells in counted.sample) == len(found)


def test_a_sample_gives_a_range_around_what_is_there(slide, monkeypatch):
    monkeypatch.setattr(count, "_MOST_TILES", 12)
    counted = count_cells(slide)
    assert counted.tiles_seen == 12 < counted.tiles
    assert counted.low < counted.expected < counted.high
    assert counted.low <= len(detect_cells(slide, tile_px=800)) <= counted.high
    again = count_cells(slide)
    assert (again.expected, again.low, again.high) == (counted.expected, counted.low, counted.high)


def test_only_the_cells_of_a_region_are_counted(slide):
    region = Region.of([[(100, 200), (100, 900), (500, 1100), (700, 150)]])
    table = detect_cells(slide, tile_px=800).table
    inside = region.contains(table[["centroid_y", "centroid_x"]].to_numpy())
    assert abs(count_cells(slide, region=region).expected - inside.sum()) <= 2


def test_bare_glass_has_no_cells_and_says_so():
    glass = np.full((600, 800, 3), 240, np.uint8)
    slide = Slide.from_levels([glass, glass[::4, ::4]], microns_per_pixel=0.2)
    counted = count_cells(slide)
    assert (counted.expected, counted.high, counted.tiles) == (0, 0, 0)


def test_it_stops_when_told_to(slide):
    with pytest.raises(Cancelled):
        count_cells(slide, cancelled=lambda: True)


def test_the_range_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held, none_found = 0, 0
    for _ in range(300):
        matter = rng.gamma(2.0, 20.0, 150)
        cells = rng.poisson(rng.gamma(2.0, 0.05, 150) * matter).astype(float)
        seen = np.array([place for _, place in zip(range(16), count._spread(matter), strict=False)])
        assert len(set(seen.tolist())) == 16
        expected, low, high = count._extrapolated(matter, seen, cells[seen])
        assert low <= expected <= high
        held += low <= cells.sum() <= high
        none = count._extrapolated(matter, seen, np.zeros(16))
        none_found += none[2]
        assert none[:2] == (0, 0)
    assert held / 300 > 0.85  # cells that lie in heaps
    assert none_found > 0


def test_every_tile_has_its_turn_once():
    matter = np.array([3.0, 1.0, 2.0, 2.0, 9.0])
    assert sorted(count._spread(matter)) == [0, 1, 2, 3, 4]
    assert list(count._spread(np.zeros(0))) == []
