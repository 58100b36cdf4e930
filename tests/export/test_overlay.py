import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_cytosae.export.overlay import (
    heat_over,
    picture_scale,
    scaled_slide,
    smooth_map,
)
from napari_cytosae.slides import Slide


def grey_crop(side=64, value=200):
    return np.full((side, side, 3), value, np.uint8)


def one_patch(row=3, column=12, value=2.0):
    concept_map = np.zeros((16, 16), np.float32)
    concept_map[row, column] = value
    return concept_map


def test_a_smooth_map_peaks_where_its_patch_lies_and_is_never_negative():
    smooth = smooth_map(one_patch(3, 12), 224)
    row, column = np.unravel_index(smooth.argmax(), smooth.shape)
    assert (row // 14, column // 14) == (3, 12)
    assert smooth.min() == 0
    assert_allclose(smooth_map(np.full((16, 16), 0.7, np.float32), 224), 0.7, rtol=1e-6)


def test_where_a_concept_is_silent_the_crop_is_left_as_it_is_but_grey():
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    painted = heat_over(crop, np.zeros((16, 16), np.float32), top=1.0, hue="#D55E00")
    assert_array_equal(painted[..., 0], painted[..., 1])
    assert_array_equal(painted[..., 0], painted[..., 2])
    assert len(np.unique(painted)) > 50  # the cell can still be seen


def test_heat_darkens_a_bright_field_towards_its_hue_and_stays_out_of_other_patches():
    painted = heat_over(grey_crop(64, 255), one_patch(3, 12), top=2.0, hue="#0072B2").astype(int)
    inside = painted[3 * 4 + 2, 12 * 4 + 2]
    assert inside[2] > inside[1] > inside[0]
    assert inside[0] < 100
    assert_array_equal(painted[40:, :32], 255)


def test_the_same_activation_is_paler_where_the_run_has_a_larger_one():
    strong = heat_over(grey_crop(), one_patch(value=1.0), top=1.0, hue="#009E73").astype(int)
    weak = heat_over(grey_crop(), one_patch(value=1.0), top=9.0, hue="#009E73").astype(int)
    untouched = heat_over(grey_crop(), one_patch(value=0.0), top=9.0, hue="#009E73").astype(int)
    assert np.abs(strong - untouched).sum() > 2 * np.abs(weak - untouched).sum() > 0


@pytest.mark.parametrize(
    ("shape", "longer_side"),
    [((480, 640), 1600), ((288, 288), 864), ((3840, 5120), 3072), ((2000, 3000), 3000)],
)
def test_pictures_are_large_enough_to_read_and_small_enough_to_open(shape, longer_side):
    assert round(max(shape) * picture_scale(shape)) == longer_side


@pytest.mark.parametrize("scale", [0.5, 0.37, 0.1])
def test_a_large_slide_is_scaled_down_in_strips_without_seams(monkeypatch, scale):
    ramp = np.linspace(0, 255, 400)[:, None, None] * np.ones((1, 90, 3))
    slide = Slide.from_array(ramp.astype(np.uint8))
    whole = scaled_slide(slide, scale)
    monkeypatch.setattr("napari_cytosae.export.overlay._STRIP_PIXELS", 2000)
    strips = scaled_slide(slide, scale)
    assert strips.shape == (round(400 * scale), round(90 * scale), 3)
    assert np.abs(strips.astype(int) - whole).max() <= 1
    assert (np.diff(strips[:, 0, 0].astype(int)) >= 0).all()


def test_a_pyramid_is_read_at_the_coarsest_level_that_suffices():
    levels = [np.full((side, side, 3), 10 * n, np.uint8) for n, side in enumerate((800, 400, 200))]
    slide = Slide.from_levels(levels)
    assert (scaled_slide(slide, 0.3) == 10).all()
    assert (scaled_slide(slide, 0.25) == 20).all()
    assert (scaled_slide(slide, 1.0) == 0).all()
