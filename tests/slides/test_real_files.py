"""Real fields and whole-slide images."""

import numpy as np
import pytest
from PIL import Image

from napari_cytosae.slides import Slide


@pytest.mark.parametrize(
    ("name", "shapes", "microns"),
    [
        ("cmu-1-small-region.svs", [(2967, 2220)], 0.499),
        ("tcga-2level-jpeg2000-no-mpp.svs", [(3567, 4443), (1783, 2221)], None),
        (
            "fluorescence-7level.ndpi",
            [(4864, 3968), (2432, 1984), (1216, 992), (608, 496)],
            pytest.approx(0.228, abs=5e-4),
        ),
        (
            "bccd-mosaic-8x8.ome.tif",
            [(3840, 5120), (1920, 2560), (960, 1280), (480, 640)],
            None,
        ),
    ],
)
def test_whole_slide_images(shared, name, shapes, microns):
    with Slide.open(shared / "data/slides" / name) as slide:
        assert slide.level_shapes == tuple(shapes)
        assert slide.microns_per_pixel == microns
        for level, (height, width) in enumerate(shapes):
            corner = slide.read_region(height - 37, width - 41, 37, 41, level)
            assert corner.shape == (37, 41, 3)
        # Levels show the same scene: their means agree.
        if len(shapes) > 1:
            fine = slide.read_region(0, 0, *shapes[-2], level=len(shapes) - 2).mean((0, 1))
            coarse = slide.read_region(0, 0, *shapes[-1], level=len(shapes) - 1).mean((0, 1))
            np.testing.assert_allclose(fine, coarse, atol=4)


def test_the_mosaic_shows_the_field_that_it_was_made_of(shared):
    fields = sorted((shared / "data/bccd/JPEGImages").glob("*.jpg"))
    with Slide.open(shared / "data/slides/bccd-mosaic-8x8.ome.tif") as slide:
        for number in (0, 10, 63):
            region = slide.read_region(number // 8 * 480, number % 8 * 640, 480, 640)
            field = Slide.open(fields[number]).read()
            assert np.abs(region.astype(int) - field).mean() < 6  # JPEG twice over


def test_every_blood_field_opens_as_it_is(shared):
    folders = ["bccd/JPEGImages", "chula-rbc12/fields", "chula-rbc12/diseases"]
    paths = [p for f in folders for p in sorted((shared / "data" / f).rglob("*.[jJ][pP][gG]"))]
    assert len(paths) >= 364 + 214 + 61
    for path in paths:
        slide = Slide.open(path)
        assert slide.microns_per_pixel is None  # some say 300 dpi
        with Image.open(path) as image:
            assert slide.shape == image.size[::-1]
    np.testing.assert_array_equal(slide.read(), np.asarray(Image.open(path)))


def test_the_single_cell_crop(shared):
    slide = Slide.open(shared / "data/single-cells/eosinophil-mll23.tif")
    assert slide.shape == (288, 288)
    assert slide.microns_per_pixel is None
    red, green, blue = slide.read().reshape(-1, 3).mean(0)
    assert green < red < blue  # a pink-lilac field
