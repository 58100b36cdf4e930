"""What becomes of grey, alpha, 16-bit, float and broken pixel values."""

import warnings

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cytosae.errors import ImageError
from napari_cytosae.slides import to_rgb8


def test_8_bit_rgb_is_unchanged_and_not_shared(pixels):
    rgb = to_rgb8(pixels)
    np.testing.assert_array_equal(rgb, pixels)
    assert not np.shares_memory(rgb, pixels)


def test_grey_is_repeated_in_all_channels(pixels):
    grey = pixels[..., 0]
    for image in (grey, grey[..., np.newaxis], grey[np.newaxis]):
        np.testing.assert_array_equal(to_rgb8(image), np.stack([grey] * 3, axis=-1))


def test_channels_first_is_recognised(pixels):
    np.testing.assert_array_equal(to_rgb8(np.moveaxis(pixels, -1, 0)), pixels)


def test_alpha_is_composited_over_white():
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 100, 200, 51]]], np.uint8)
    # 51 / 255 is a fifth: 0.2 × colour + 0.8 × 255.
    expected = [[[200, 100, 0], [255, 255, 255], [204, 224, 244]]]
    np.testing.assert_array_equal(to_rgb8(rgba), expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_cameras_bits_in_a_16_bit_file_are_found(bits):
    full = 2**bits - 1
    image = np.array([[0, full // 2, full]], np.uint16)
    np.testing.assert_array_equal(to_rgb8(image)[0, :, 0], [0, 127, 255])


def test_a_hot_pixel_shifts_16_bit_tones_by_powers_of_two_only():
    image = np.full((4, 4), 3000, np.uint16)
    image[0, 0] = 4000
    assert to_rgb8(image)[1, 1, 0] == round(3000 / 4095 * 255)


def test_dark_8_bit_images_are_not_brightened():
    assert to_rgb8(np.full((3, 3), 7, np.uint8)).max() == 7
    assert to_rgb8(np.full((3, 3), 7, np.uint16)).max() == 7


def test_16_bit_alpha_counts_to_its_own_full_scale():
    rgba = np.array([[[4095, 0, 0, 65535], [4095, 0, 0, 0]]], np.uint16)
    np.testing.assert_array_equal(to_rgb8(rgba), [[[255, 0, 0], [255, 255, 255]]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-0.004, 0.5, 1.009], [0, 128, 255]),  # overshoot of a resampling filter
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 3.0], [0, 64, 255]),
        ([1000.0, 2000.0, 3000.0], [0, 128, 255]),
    ],
)
def test_float_ranges(values, expected):
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(to_rgb8(np.array([values], dtype))[0, :, 0], expected)


def test_bool_is_black_and_white():
    np.testing.assert_array_equal(to_rgb8(np.array([[False, True]]))[0, :, 0], [0, 255])


def test_signed_integers_with_negative_values_span_black_to_white():
    image = np.array([[-100, 0, 100]], np.int16)
    np.testing.assert_array_equal(to_rgb8(image)[0, :, 0], [0, 128, 255])


def test_nan_in_any_channel_makes_the_pixel_white_and_infinities_are_the_ends():
    image = np.full((1, 4, 3), 0.5)
    image[0, 1, 2] = np.nan
    image[0, 2] = np.inf
    image[0, 3] = -np.inf
    np.testing.assert_array_equal(to_rgb8(image)[0], [[128] * 3, [255] * 3, [255] * 3, [0] * 3])


def test_an_image_of_one_value_beyond_known_ranges_is_bare_background():
    assert (to_rgb8(np.full((2, 2), 1234.5)) == 255).all()


def test_transparent_nan_is_white():
    image = np.full((1, 1, 4), np.nan)
    image[..., 3] = 0
    np.testing.assert_array_equal(to_rgb8(image), [[[255, 255, 255]]])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 5, 3), "empty"),
        ((5, 0), "empty"),
        ((7,), "height and width"),
        ((20, 20, 5), "5 channels"),
        ((20, 20, 2), "2 channels"),
        ((30, 20, 40), "stack of 30 planes"),
        ((4, 20, 40), "stack of 4 planes"),
        ((2, 20, 20, 3), "4 axes"),
    ],
)
def test_what_is_no_single_image_is_refused_by_name(shape, words):
    with pytest.raises(ImageError, match=f"smear.*{words}"):
        to_rgb8(np.zeros(shape, np.uint8), name="smear")


@pytest.mark.parametrize("dtype", ["complex64", "U3", "M8[s]", "O"])
def test_values_that_are_no_intensities_are_refused(dtype):
    with pytest.raises(ImageError, match="no intensities"):
        to_rgb8(np.zeros((4, 4), dtype))


images = st.sampled_from(
    ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", "f2", "f4", "f8"]
).flatmap(
    lambda dtype: arrays.arrays(
        np.dtype(dtype),
        st.one_of(
            st.tuples(st.integers(1, 6), st.integers(1, 6)),
            st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4])),
        ),
    )
)


@settings(max_examples=300, deadline=None)
@given(images)
def test_every_image_gives_8_bit_rgb_of_its_size_and_no_warning(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb = to_rgb8(image)
    assert rgb.shape == (*image.shape[:2], 3)
    assert rgb.dtype == np.uint8


@settings(max_examples=200, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.dtype("u2"), np.dtype("i4"), np.dtype("f4")]),
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
    )
)
def test_brighter_stays_brighter(image):
    order = np.argsort(image, axis=None)
    finite = order[~np.isnan(image.ravel()[order])] if image.dtype.kind == "f" else order
    tones = to_rgb8(image)[..., 0].ravel()[finite].astype(int)
    assert (np.diff(tones) >= 0).all()


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.uint16, (6, 7, 3)), st.integers(0, 5), st.integers(0, 6))
def test_a_pixels_tone_does_not_depend_on_where_it_lies(image, shift_y, shift_x):
    rolled = np.roll(image, (shift_y, shift_x), (0, 1))
    np.testing.assert_array_equal(
        to_rgb8(rolled), np.roll(to_rgb8(image), (shift_y, shift_x), (0, 1))
    )


def test_a_large_float_image_is_converted_alike_in_every_band():
    ramp = np.linspace(0, 1, 3000, dtype=np.float32)
    image = np.broadcast_to(ramp[:, np.newaxis], (3000, 3000))  # more than one band of rows
    rgb = to_rgb8(image)
    np.testing.assert_array_equal(rgb[:, 0, 0], np.floor(ramp * np.float32(255) + np.float32(0.5)))
    assert (rgb == rgb[:, :1, :1]).all()
