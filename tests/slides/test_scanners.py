"""What scanners' files hold beside the pixels: pictures of the glass, pixel sizes, channels."""

import numpy as np
import pytest
import tifffile
from made_files import smooth_scan, write_aperio, write_pyramid, write_scn
from PIL import Image

from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide, to_rgb8


@pytest.fixture
def scan():
    return smooth_scan()


# Pictures of the glass


def test_label_and_macro_are_there_when_asked_for(tmp_path, scan):
    write_aperio(tmp_path / "a.svs", scan)
    with Slide.open(tmp_path / "a.svs") as slide:
        assert slide.level_shapes == ((400, 600), (200, 300))
        assert set(slide.associated) == {"thumbnail", "label", "macro"}
        assert slide.read_associated("label").shape == (900, 700, 3)
        assert (slide.read_associated("label") == 10).all()
        assert (slide.read_associated("macro") == 200).all()
        with pytest.raises(ImageError, match=r"a\.svs has no picture called back .*label"):
            slide.read_associated("back")


def test_a_slide_can_be_opened_without_the_pictures_of_its_glass(tmp_path, scan):
    write_aperio(tmp_path / "a.svs", scan)
    with Slide.open(tmp_path / "a.svs", associated=False) as slide:
        assert slide.associated == slide.with_pixel_size(0.3).associated == ()
        with pytest.raises(ImageError, match="no picture called label"):
            slide.read_associated("label")
        with Slide.open(tmp_path / "a.svs") as whole:
            assert slide.digest == whole.digest
            np.testing.assert_array_equal(slide.read(), whole.read())


def test_a_field_has_no_pictures_of_the_glass(picture):
    slide = Slide.open(picture("a.png"))
    assert slide.associated == ()
    with pytest.raises(ImageError, match=r"no picture called label \(it has: none\)"):
        slide.read_associated("label")


def test_an_image_that_is_all_there_is_opens_whatever_its_name(tmp_path, scan):
    tifffile.imwrite(
        tmp_path / "a.ome.tif", scan, photometric="rgb", metadata={"axes": "YXS", "Name": "macro"}
    )
    slide = Slide.open(tmp_path / "a.ome.tif")
    assert slide.shape == (400, 600)
    assert slide.associated == ()


def test_pictures_of_the_glass_in_real_files(shared):
    with Slide.open(shared / "data/slides/cmu-1-small-region.svs") as slide:
        assert set(slide.associated) == {"thumbnail", "label", "macro"}
        assert slide.read_associated("label").shape == (463, 387, 3)
        assert slide.read_associated("macro").shape == (431, 1280, 3)
        # The thumbnail shows the scan.
        thumbnail = slide.read_associated("thumbnail")
        scaled = Image.fromarray(slide.read()).resize(thumbnail.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(np.asarray(scaled).astype(int) - thumbnail).mean() < 8
    with Slide.open(shared / "data/slides/fluorescence-7level.ndpi") as slide:
        assert set(slide.associated) == {"macro", "map"}
        assert slide.read_associated("macro").shape == (406, 1188, 3)


# Leica SCN


def test_a_leica_scan_is_found_among_its_overview(tmp_path, scan):
    macro = np.full((700, 240, 3), 200, np.uint8)
    write_scn(tmp_path / "a.scn", [scan], macro, nm_per_pixel=(252, 250))
    with Slide.open(tmp_path / "a.scn") as slide:
        assert slide.level_shapes == ((400, 600), (100, 150))
        assert slide.pixel_size_um == (pytest.approx(0.252), pytest.approx(0.25))
        assert slide.microns_per_pixel == pytest.approx(0.25)
        assert slide.associated == ("macro",)
        assert np.abs(slide.read_associated("macro").astype(int) - 200).max() <= 2
        assert np.abs(slide.read().astype(int) - scan).mean() < 2
        coarse = slide.read_region(0, 0, 100, 150, level=1)
        assert np.abs(coarse.astype(int) - scan[::4, ::4]).mean() < 3


def test_leica_scans_of_several_areas_are_not_shown_in_part(tmp_path, scan):
    write_scn(tmp_path / "a.scn", [scan, scan[:200, :200]], np.zeros((700, 240, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.scn holds 2 scanned areas; .*openslide"):
        Slide.open(tmp_path / "a.scn", backend="tifffile")


# Pixels that are not square


def test_pixels_that_are_not_square_are_told_when_one_number_is_asked_for(tmp_path, scan):
    write_pyramid(
        tmp_path / "a.ome.tif",
        scan,
        metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5},
    )
    with Slide.open(tmp_path / "a.ome.tif") as slide:
        assert slide.pixel_size_um == (0.5, 0.25)
        assert "0.5 × 0.25 µm/px" in repr(slide)
        with pytest.raises(ImageError, match=r"a\.ome\.tif are not square \(0\.5 × 0\.25 µm\)"):
            _ = slide.microns_per_pixel
        assert slide.with_pixel_size(0.25).microns_per_pixel == 0.25
    assert Slide.open(tmp_path / "a.ome.tif", 0.3).microns_per_pixel == 0.3


def test_a_slide_with_another_pixel_size_keeps_the_file_open(tmp_path, scan):
    write_pyramid(tmp_path / "a.tif", scan)
    twin = Slide.open(tmp_path / "a.tif").with_pixel_size(0.3)
    np.testing.assert_array_equal(twin.read(), scan)
    assert twin.microns_per_pixel == 0.3
    twin.close()
    with pytest.raises(ImageError, match="has been closed"):
        twin.read()


# Channels


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("axes", ["CYX", "YXS"])
def test_channels_are_chosen_from_more(tmp_path, scan, axes, tiled):
    more = np.concatenate([scan, 255 - scan], axis=-1)[..., [5, 0, 3, 1, 2, 4]]
    stored = np.moveaxis(more, -1, 0) if axes == "CYX" else more
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.ascontiguousarray(stored),
        photometric="minisblack",
        planarconfig="contig" if axes == "YXS" else None,
        metadata={"axes": axes},
        **({"tile": (64, 64), "compression": "zlib"} if tiled else {}),
    )
    with pytest.raises(ImageError, match=r"a\.ome\.tif has 6 channels; choose the three"):
        Slide.open(tmp_path / "a.ome.tif")
    colour = Slide.open(tmp_path / "a.ome.tif", channels=(1, 3, 4))
    np.testing.assert_array_equal(colour.read(), scan)
    grey = Slide.open(tmp_path / "a.ome.tif", channels=(2,))
    np.testing.assert_array_equal(grey.read(), np.repeat(255 - scan[..., :1], 3, axis=-1))
    with pytest.raises(ImageError, match=r"numbered from 0; there is no channel 6"):
        Slide.open(tmp_path / "a.ome.tif", channels=(6,))
    with pytest.raises(ImageError, match=r"2 channels make no image"):
        Slide.open(tmp_path / "a.ome.tif", channels=(0, 1))


def test_a_stain_is_black_where_nothing_was_scanned(tmp_path, scan):
    path = tmp_path / "a.ome.tif"
    stains = np.stack([scan[..., 0]] * 5)
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            stains, tile=(64, 64), compression="zlib", metadata={"axes": "CYX"}, subifds=1,
            photometric="minisblack",
        )  # fmt: skip
        tif.write(stains[:, ::2, ::2], tile=(64, 64), compression="zlib", subfiletype=1,
                  photometric="minisblack")  # fmt: skip
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages[2].tags["TileByteCounts"]
        tag.overwrite([0, *tag.value[1:]])
    with Slide.open(path, channels=(2,)) as slide:
        assert slide.level_shapes == ((400, 600), (200, 300))
        assert (slide.read_region(0, 0, 64, 64) == 0).all()
        np.testing.assert_array_equal(
            slide.read_region(64, 0, 64, 64)[..., 1], scan[64:128, :64, 0]
        )


# Unpacked pixels


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("planar", [True, False])
def test_unpacked_pyramids_are_read_by_rows(tmp_path, scan, order, planar):
    deep = scan.astype(np.uint16) * 16
    how = {"photometric": "rgb", "metadata": None, "planarconfig": "separate" if planar else None}
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order) as tif:
        for step in (1, 2):
            level = deep[::step, ::step]
            level = np.moveaxis(level, -1, 0) if planar else level
            tif.write(np.ascontiguousarray(level), subifds=2 - step, subfiletype=step - 1, **how)
    with Slide.open(tmp_path / "a.tif") as slide:
        assert len(slide.level_shapes) == 2
        expected = np.floor(deep.astype(np.float32) / 4095 * 255 + 0.5)
        np.testing.assert_array_equal(slide.read(), expected)
        np.testing.assert_array_equal(slide.read_region(3, 5, 30, 40), expected[3:33, 5:45])
        np.testing.assert_array_equal(slide.pyramid(values=True)[0], deep)


# Arrays


def test_a_pyramid_slices_like_the_image(tmp_path, scan):
    write_pyramid(tmp_path / "a.tif", scan)
    with Slide.open(tmp_path / "a.tif") as slide:
        levels = slide.pyramid()
        assert [level.shape for level in levels] == [(400, 600, 3), (200, 300, 3), (100, 150, 3)]
        level = levels[0]
        assert (level.ndim, level.dtype, level.size, len(level)) == (3, np.uint8, scan.size, 400)
        assert level.chunks == (64, 64, 3)
        for key in (
            np.s_[:], np.s_[5], np.s_[-1, 3], np.s_[10:20, 30:70], np.s_[..., 1], np.s_[7, ..., 0],
            np.s_[::50, ::-7], np.s_[300:10:-9, 5:5], np.s_[3:4, 2:9, 1:], np.s_[-30:, -40:],
            np.s_[np.int64(3), 4, 2], np.s_[[1, 5, 2]],
        ):  # fmt: skip
            np.testing.assert_array_equal(level[key], scan[key], err_msg=str(key))
        np.testing.assert_array_equal(np.asarray(level), scan)
        with pytest.raises(IndexError):
            level[400]


def test_values_are_given_as_stored(tmp_path, scan):
    deep = scan[..., 0].astype(np.uint16) * 16
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(deep, subifds=1, tile=(64, 64), metadata=None)
        tif.write(deep[::2, ::2], subfiletype=1, tile=(64, 64), metadata=None)
    with Slide.open(tmp_path / "a.tif") as slide:
        stored, shown = slide.pyramid(values=True), slide.pyramid()
        assert stored[1].shape == (200, 300)
        assert stored[0].dtype == np.uint16
        np.testing.assert_array_equal(stored[0][5:50:3], deep[5:50:3])
        np.testing.assert_array_equal(shown[0][:, :, 2], to_rgb8(deep)[..., 2])
