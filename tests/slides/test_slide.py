"""Slides from arrays and from napari's multiscale layers."""

import gc
import hashlib

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide, to_rgb8


class Counting:
    """An array that remembers how many pixels were read from it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        block = self.array[key]
        self.read += block.size
        return block


def test_an_array_is_a_slide_of_one_level(pixels):
    slide = Slide.from_array(pixels, name="field", microns_per_pixel=0.1)
    assert (slide.name, slide.path, slide.microns_per_pixel) == ("field", None, 0.1)
    assert slide.shape == (40, 60)
    assert slide.level_shapes == ((40, 60),)
    np.testing.assert_array_equal(slide.read(), pixels)
    np.testing.assert_array_equal(slide.read_region(3, 5, 10, 20), pixels[3:13, 5:25])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_regions_of_any_type_match_the_whole(pixels, dtype):
    image = pixels[..., 0].astype(dtype) * 13
    slide = Slide.from_array(image)
    np.testing.assert_array_equal(slide.read(), to_rgb8(image))
    np.testing.assert_array_equal(slide.read_region(30, 50, 10, 10), to_rgb8(image)[30:40, 50:60])


def test_channels_first_arrays_are_read_in_place(pixels):
    slide = Slide.from_array(np.moveaxis(pixels, -1, 0))
    assert slide.shape == (40, 60)
    np.testing.assert_array_equal(slide.read_region(1, 2, 3, 4), pixels[1:4, 2:6])


def test_a_region_is_a_copy(pixels):
    slide = Slide.from_array(pixels)
    slide.read_region(0, 0, 5, 5)[:] = 0
    np.testing.assert_array_equal(slide.read(), pixels)


@pytest.mark.parametrize(
    "region",
    [(-1, 0, 5, 5), (0, -1, 5, 5), (36, 0, 5, 5), (0, 56, 5, 5), (0, 0, 0, 5), (0, 0, 5, -1)],
)
def test_a_region_outside_the_level_is_refused(pixels, region):
    slide = Slide.from_array(pixels, name="field")
    with pytest.raises(ImageError, match=r"field.*not inside.*40 × 60"):
        slide.read_region(*region)


def test_a_missing_level_is_refused(pixels):
    slide = Slide.from_array(pixels)
    for level in (1, -1):
        with pytest.raises(ImageError, match="no level"):
            slide.read_region(0, 0, 1, 1, level)


@pytest.mark.parametrize("size", [0, -0.1, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_refused(pixels, size):
    with pytest.raises(ImageError, match="pixel size"):
        Slide.from_array(pixels, microns_per_pixel=size)


def test_an_arrays_digest_is_its_content(pixels):
    digest = Slide.from_array(pixels).digest
    assert len(digest) == len(hashlib.sha256().hexdigest())
    other = pixels.copy()
    other[20, 30, 1] ^= 1
    assert Slide.from_array(other).digest != digest
    assert Slide.from_array(pixels.reshape(60, 40, 3)).digest != digest
    assert Slide.from_array(pixels.astype(np.uint16)).digest != digest
    assert Slide.from_array(pixels.copy(), name="other", microns_per_pixel=1).digest == digest
    assert Slide.from_array(np.asfortranarray(pixels)).digest == digest
    assert Slide.from_array(pixels.astype(">u2")).digest == (
        Slide.from_array(pixels.astype("<u2")).digest
    )


@pytest.fixture
def pyramid():
    rng = np.random.default_rng(2)
    largest = rng.integers(0, 256, (512, 768, 3), dtype=np.uint8)
    return [largest, largest[::2, ::2], largest[::4, ::4]]


def test_multiscale_layers_of_dask_and_zarr_arrays_are_read(pyramid):
    for kind in (da.from_array, zarr.array):
        slide = Slide.from_levels([kind(level) for level in pyramid], name="layer")
        assert slide.level_shapes == ((512, 768), (256, 384), (128, 192))
        for number, level in enumerate(pyramid):
            np.testing.assert_array_equal(
                slide.read_region(10, 20, 30, 40, number), level[10:40, 20:60]
            )


def test_only_the_region_is_read(pyramid):
    largest = Counting(pyramid[0])
    slide = Slide.from_levels([largest, *pyramid[1:]])
    slide.read_region(100, 200, 50, 60)
    assert largest.read == 50 * 60 * 3


def test_16_bit_levels_share_their_tones():
    largest = np.full((64, 64), 100, np.uint16)
    largest[0, 0] = 4000  # read as 12 bits everywhere, also where only 100 is seen
    slide = Slide.from_levels([largest, largest[::2, ::2]])
    assert slide.read_region(40, 40, 4, 4).max() == round(100 / 4095 * 255)


def test_a_levels_digest_follows_its_content(pyramid):
    digest = Slide.from_levels(pyramid).digest
    assert Slide.from_levels([da.from_array(level) for level in pyramid]).digest == digest
    assert Slide.from_levels(pyramid[:2]).digest != digest
    inverted = [255 - level for level in pyramid]
    assert Slide.from_levels(inverted).digest != digest


def test_levels_that_do_not_go_together_are_refused(pyramid):
    with pytest.raises(ImageError, match="no levels"):
        Slide.from_levels([])
    with pytest.raises(ImageError, match="largest first"):
        Slide.from_levels(pyramid[::-1])
    with pytest.raises(ImageError, match="does not go with"):
        Slide.from_levels([pyramid[0], pyramid[1][..., 0]])
    with pytest.raises(ImageError, match="does not go with"):
        Slide.from_levels([pyramid[0], pyramid[1].astype(np.uint16)])


def test_a_closed_file_says_so_and_a_forgotten_one_is_closed(shared):
    path = shared / "data/slides/bccd-mosaic-8x8.ome.tif"
    with Slide.open(path) as slide:
        slide.read_region(0, 0, 10, 10)
    with pytest.raises(ImageError, match=r"bccd-mosaic-8x8\.ome\.tif has been closed"):
        slide.read_region(0, 0, 10, 10)
    with pytest.raises(ImageError, match="has been closed"):
        _ = slide.digest
    forgotten = Slide.open(path)
    forgotten.read_region(0, 0, 10, 10)
    del forgotten
    gc.collect()  # an unclosed file would warn here, and warnings are errors
