"""OME-Zarr images of several versions, and what is no image."""

import json
import shutil

import numpy as np
import pytest
import zarr
from made_files import smooth_scan

from napari_cytosae.errors import DamagedImageError, ImageError, UnreachableImageError
from napari_cytosae.slides import Slide


@pytest.fixture
def scan():
    return smooth_scan()


def axes_of(letters, unit="micrometer"):
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": letter, "type": kinds.get(letter, "space")}
        | ({"unit": unit} if unit and letter in "zyx" else {})
        for letter in letters
    ]


def write_ngff(
    path, scan, version="0.4", letters="tczyx", um=0.25, unit="micrometer", omero=None, whole=1.0
):
    """A pyramid of three levels; `scan` has its channels last."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version < "0.5" else 3)
    datasets = []
    for number, step in enumerate((1, 2, 4)):
        level = scan[::step, ::step] if scan.ndim == 3 else scan[::step, ::step, np.newaxis]
        order = {"y": 0, "x": 1, "c": 2}
        kept = [letter for letter in letters if letter in order]
        data = np.transpose(level, [order[letter] for letter in kept])
        data = data.reshape([1 if c in "tz" else data.shape[kept.index(c)] for c in letters])
        chunks = [64 if c in "yx" else 1 for c in letters]
        group.create_array(str(number), data=data, chunks=chunks)
        steps = [um * step if c in "yx" else 1.0 for c in letters]
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": steps}],
            }
        )
    image = {"version": version, "axes": axes_of(letters, unit), "datasets": datasets}
    if whole != 1.0:
        image["coordinateTransformations"] = [
            {"type": "scale", "scale": [whole if c in "yx" else 1.0 for c in letters]}
        ]
    ome = {"multiscales": [image]} | ({"omero": omero} if omero else {})
    group.attrs.update({"ome": {"version": "0.5", **ome}} if version >= "0.5" else ome)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("letters", ["tczyx", "cyx", "yxc"])
def test_an_ngff_pyramid_is_a_slide(tmp_path, scan, version, letters):
    path = write_ngff(tmp_path / "a.ome.zarr", scan, version, letters)
    with Slide.open(path) as slide:
        assert slide.backend == "zarr"
        assert slide.level_shapes == ((400, 600), (200, 300), (100, 150))
        assert slide.microns_per_pixel == pytest.approx(0.25)
        np.testing.assert_array_equal(slide.read(), scan)
        np.testing.assert_array_equal(slide.read_region(30, 50, 60, 70), scan[30:90, 50:120])
        np.testing.assert_array_equal(slide.read_region(0, 0, 100, 150, 2), scan[::4, ::4])


@pytest.mark.parametrize(
    ("unit", "um", "whole", "expected"),
    [
        ("nanometer", 250.0, 1.0, 0.25),
        ("millimeter", 0.0005, 0.5, 0.25),
        (None, 0.25, 1.0, None),
        ("micrometer", 1000.0, 1.0, None),
    ],
)
def test_the_pixel_size_comes_from_scales_and_units(tmp_path, scan, unit, um, whole, expected):
    path = write_ngff(tmp_path / "a.zarr", scan, unit=unit, um=um, whole=whole)
    assert Slide.open(path).microns_per_pixel == (expected and pytest.approx(expected))


def test_a_grey_image_and_chosen_channels(tmp_path, scan):
    path = write_ngff(tmp_path / "grey.zarr", scan[..., 0], "0.5")
    np.testing.assert_array_equal(Slide.open(path).read()[..., 1], scan[..., 0])
    five = np.concatenate([scan, scan[..., :2]], axis=-1)
    path = write_ngff(tmp_path / "five.zarr", five)
    with pytest.raises(ImageError, match=r"five\.zarr has 5 channels"):
        Slide.open(path)
    np.testing.assert_array_equal(Slide.open(path, channels=(3, 4, 2)).read(), five[..., [3, 4, 2]])


def test_three_stains_are_not_red_green_and_blue(tmp_path, scan):
    def coloured(*colours):
        return {"channels": [{"color": colour} for colour in colours]}

    path = write_ngff(tmp_path / "a.zarr", scan, omero=coloured("0000FF", "00FF00", "FF00FF"))
    with pytest.raises(ImageError, match=r"a\.zarr has 3 channels that are stains"):
        Slide.open(path)
    np.testing.assert_array_equal(Slide.open(path, channels=(0, 1, 2)).read(), scan)
    path = write_ngff(tmp_path / "b.zarr", scan, omero=coloured("FF0000", "00FF00", "0000FF"))
    np.testing.assert_array_equal(Slide.open(path).read(), scan)


def test_what_bioformats2raw_makes_of_a_slide(tmp_path, scan):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_ngff(tmp_path / "a.zarr" / "0", scan)
    write_ngff(tmp_path / "a.zarr" / "1", np.full((900, 700, 3), 10, np.uint8))
    (tmp_path / "a.zarr" / "OME").mkdir()
    (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0" Name="smear"/><Image ID="Image:1" Name="label image"/></OME>'
    )
    slide = Slide.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(slide.read(), scan)
    assert slide.associated == ("label",)
    assert (slide.read_associated("label") == 10).all()


def test_a_plain_array_is_an_image(tmp_path, scan):
    zarr.create_array(tmp_path / "a.zarr", data=scan, chunks=(64, 64, 3))
    slide = Slide.open(tmp_path / "a.zarr")
    assert slide.microns_per_pixel is None
    np.testing.assert_array_equal(slide.read_region(10, 20, 100, 300), scan[10:110, 20:320])


def test_the_digest_is_the_content(tmp_path, scan):
    digest = Slide.open(write_ngff(tmp_path / "a.zarr", scan)).digest
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert Slide.open(tmp_path / "b.zarr").digest == digest
    scan[200, 300] ^= 255
    assert Slide.open(write_ngff(tmp_path / "c.zarr", scan)).digest != digest


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"plate": {}}, "a plate of many wells"),
        ({"well": {}}, "a well of several fields"),
        ({"image-label": {}, "multiscales": [{}]}, "a label image"),
        ({}, "without an OME image"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": []}]}, "damaged"),
        ({"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "9"}]}]}, "damaged"),
        ({"multiscales": [{"axes": ["t", "c"], "datasets": [{"path": "0"}]}]}, "has axes tc"),
        ({"multiscales": ["words"]}, "damaged"),
    ],
)
def test_groups_that_are_no_image_are_named(tmp_path, attributes, words):
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs.update(attributes)
    with pytest.raises(ImageError, match=rf"a\.zarr.*{words}"):
        Slide.open(tmp_path / "a.zarr")


def test_stacks_are_named(tmp_path, scan):
    path = write_ngff(tmp_path / "a.zarr", scan)
    shutil.rmtree(path / "0")
    zarr.create_array(path / "0", shape=(1, 3, 7, 400, 600), dtype="u1", zarr_format=2)
    with pytest.raises(ImageError, match=r"a\.zarr is a z-stack of 7 planes"):
        Slide.open(path)


def test_metadata_that_are_no_json_are_damage(tmp_path, scan):
    path = write_ngff(tmp_path / "a.zarr", scan)
    (path / ".zattrs").write_text("{ words")
    with pytest.raises(ImageError, match=r"a\.zarr is damaged"):
        Slide.open(path)
    (path / ".zattrs").write_text(json.dumps({"multiscales": [{"datasets": 3}]}))
    with pytest.raises(ImageError, match=r"a\.zarr is damaged"):
        Slide.open(path)


def test_a_damaged_chunk_and_a_folder_that_is_gone(tmp_path, scan):
    path = write_ngff(tmp_path / "a.zarr", scan, letters="yxc")
    (chunk,) = (path / "0").glob("1.2.0")
    chunk.write_bytes(b"no chunk")
    slide = Slide.open(path)
    with pytest.raises(DamagedImageError, match=r"a\.zarr cannot be read at y 64, x 128"):
        slide.read()
    pixels, bad = slide.read_around_damage(0, 0, 400, 600)
    assert bad == [(64, 128, 128, 192)]
    assert (pixels[64:128, 128:192] == 255).all()
    np.testing.assert_array_equal(pixels[128:], scan[128:])
    slide = Slide.open(path)
    shutil.rmtree(path)
    with pytest.raises(UnreachableImageError, match=r"a\.zarr can no longer be read"):
        slide.read_around_damage(128, 0, 10, 10)
