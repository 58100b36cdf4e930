"""Maps of a slide, painted piece by piece, against the canvas of the whole."""

import numpy as np
import pytest

from napari_cytosae.concepts import paint_maps
from napari_cytosae.concepts.map_levels import MapLevel, map_levels

SHAPE = (2500, 3100)


@pytest.fixture
def cells():
    rng = np.random.default_rng(4)
    corners = rng.integers(-60, np.array(SHAPE) - 60, (40, 2))
    maps = rng.gamma(1.0, 1.0, (40, 16, 16)).astype(np.float32) * (rng.random((40, 1, 1)) < 0.8)
    return np.hstack([corners, corners + 160]).astype(float), maps.astype(np.float32)


def level(cells, step, smooth=False, asked=None):
    boxes, maps = cells

    def read(rows):
        if asked is not None:
            asked.update(rows.tolist())
        return maps[rows]

    return MapLevel(
        lambda: boxes, read, lambda rows: maps[rows].mean(axis=(1, 2)), SHAPE, step, smooth=smooth
    )


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("step", [1, 3, 10])
def test_windows_are_pieces_of_the_whole_canvas(cells, step, smooth):
    whole = paint_maps(cells[1], cells[0], SHAPE, downsample=step, smooth=smooth).values
    pyramid = level(cells, step, smooth)
    assert pyramid.shape == whole.shape
    height, width = whole.shape
    for y, x in [(0, 0), (height // 3, width // 2), (height - 40, width - 30)]:
        window = (slice(y, y + 90), slice(x, x + 70))
        np.testing.assert_allclose(pyramid[window], whole[window], atol=1e-5)
    np.testing.assert_array_equal(pyramid[40:90:2, 3:60:3], pyramid[40:90, 3:60][::2, ::3])


def test_only_cells_of_the_window_are_read(cells):
    asked = set()
    level(cells, 2, asked=asked)[300:500, 400:650]
    boxes = cells[0] / 2
    near = (boxes[:, 0] < 500) & (boxes[:, 2] > 300) & (boxes[:, 1] < 650) & (boxes[:, 3] > 400)
    assert asked == set(np.flatnonzero(near).tolist())
    assert 0 < len(asked) < 20


@pytest.mark.parametrize("step", [12, 64, 400])
def test_from_afar_a_cell_is_filled_with_its_mean(cells, step):
    boxes, maps = cells
    asked = set()
    seen = level(cells, step, asked=asked)[:, :]
    assert not asked  # a map's patches cannot be told apart, so none is read
    means = maps.mean(axis=(1, 2))
    expected = np.zeros(seen.shape, np.float32)
    for mean, box in zip(means, boxes / step, strict=True):
        y0, x0, y1, x1 = np.ceil(box - 0.5).astype(int)
        rows = slice(max(y0, 0), max(y1, y0 + 1, 0))
        columns = slice(max(x0, 0), max(x1, x0 + 1, 0))
        expected[rows, columns] = np.maximum(expected[rows, columns], mean)
    np.testing.assert_array_equal(seen, expected)


def test_levels_halve_down_to_what_is_held_in_memory(cells):
    boxes, maps = cells
    shape = (30_000, 41_000)
    levels = map_levels(
        lambda: boxes, maps.__getitem__, lambda rows: maps[rows].mean(axis=(1, 2)), shape,
        smooth=False,
    )  # fmt: skip
    assert [each.step for each in levels] == [2, 4, 8, 16, 32]
    assert max(levels[-1].shape) <= 2048 < max(levels[-2].shape)


@pytest.mark.parametrize("step", [1, 64])
def test_without_cells_or_pixels_nothing_shows(step):
    none = np.zeros((0, 4)), np.zeros((0, 16, 16), np.float32)
    assert not level(none, step)[5:9, 3:8].any()
    assert level(none, step)[5:5, 3:8].shape == (0, 5)
