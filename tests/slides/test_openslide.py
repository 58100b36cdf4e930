"""Scanners' files through OpenSlide: the same pixels as through tifffile, and what only it reads."""

import numpy as np
import pytest
from made_files import smooth_scan, write_mirax, write_scn, write_wsi_dicom

from napari_cytosae.errors import DamagedImageError, ImageError
from napari_cytosae.slides import Slide, openslides
from napari_cytosae.slides.openslides import aligned_edges

pytest.importorskip("openslide", reason="the openslide extra is not installed")


@pytest.fixture
def scan():
    return smooth_scan()


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("cmu-1-small-region.svs", 1),
        ("tcga-2level-jpeg2000-no-mpp.svs", 2),  # 2.0005 times as coarse
        ("fluorescence-7level.ndpi", 4),
        ("bccd-mosaic-8x8.ome.tif", 1),  # OpenSlide does not see the others
    ],
)
def test_both_backends_give_the_same_pixels(shared, name, levels):
    path = shared / "data/slides" / name
    rng = np.random.default_rng(0)
    with Slide.open(path) as one, Slide.open(path, backend="openslide") as other:
        assert (one.backend, other.backend) == ("tifffile", "openslide")
        assert other.level_shapes[:levels] == one.level_shapes[:levels]
        if other.microns_per_pixel is not None:
            assert other.microns_per_pixel == pytest.approx(one.microns_per_pixel, rel=1e-4)
        for picture in set(one.associated) & set(other.associated):
            np.testing.assert_array_equal(
                one.read_associated(picture), other.read_associated(picture)
            )
        for level, (height, width) in enumerate(one.level_shapes[:levels]):
            for _ in range(12):
                h, w = rng.integers(1, min(height, 500)), rng.integers(1, min(width, 500))
                y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
                np.testing.assert_array_equal(
                    one.read_region(y, x, h, w, level), other.read_region(y, x, h, w, level)
                )


def test_leica_scans_are_the_same_and_several_areas_are_put_together(tmp_path, scan):
    macro = np.full((700, 240, 3), 200, np.uint8)
    write_scn(tmp_path / "a.scn", [scan], macro)
    with (
        Slide.open(tmp_path / "a.scn") as one,
        Slide.open(tmp_path / "a.scn", backend="openslide") as other,
    ):
        assert other.pixel_size_um == pytest.approx(one.pixel_size_um)
        assert other.associated == one.associated == ("macro",)
        # OpenSlide shows the whole glass, the scan at its upper left.
        np.testing.assert_array_equal(other.read_region(0, 0, *one.shape), one.read())
    write_scn(tmp_path / "two.scn", [scan, scan], macro)
    with Slide.open(tmp_path / "two.scn") as slide:
        assert slide.backend == "openslide"


def test_pieces_begin_where_a_level_and_level_0_agree():
    assert aligned_edges(1200, 4.0, 512) == [0, 512, 1024, 1200]
    assert aligned_edges(300, 2.0005055500659967, 512) == [0, 300]
    edges = np.array(aligned_edges(40_000, 4.0003, 256))
    places = edges[:-1] * 4.0003
    assert (np.diff(edges) > 0).all()
    assert np.diff(edges).max() <= 4096
    assert np.abs(places - np.rint(places)).max() / 4.0003 < 1 / 512


# MIRAX


def test_a_mirax_slide_is_read(tmp_path, scan):
    write_mirax(tmp_path / "a.mrxs", scan, um=0.25)
    with Slide.open(tmp_path / "a.mrxs") as slide:
        assert slide.backend == "openslide"
        assert slide.microns_per_pixel == pytest.approx(0.25)
        height, width = slide.shape
        assert (height, width) == (512, 768)  # of whole tiles
        pixels = slide.read()
        assert np.abs(pixels[:400, :600].astype(int) - scan).mean() < 2
        assert len(slide.digest) == 64


def test_the_cover_of_a_mirax_slide_is_not_taken_for_it(tmp_path, picture):
    path = picture("a.jpg").rename(tmp_path / "a.mrxs")
    with pytest.raises(ImageError, match=r"a\.mrxs is only the cover of a slide; the folder a "):
        Slide.open(path)


# DICOM


def test_a_dicom_slide_is_read(tmp_path, scan):
    path = write_wsi_dicom(tmp_path / "series", scan, um=0.25)
    with Slide.open(path) as slide:
        assert slide.backend == "openslide"
        assert slide.level_shapes == ((400, 600), (200, 300))
        assert slide.microns_per_pixel == pytest.approx(0.25)
        assert np.abs(slide.read().astype(int) - scan).mean() < 2
        coarse = slide.read_region(0, 0, 200, 300, level=1)
        assert np.abs(coarse.astype(int) - scan[::2, ::2]).mean() < 2
        assert slide.associated == ("label",)
        assert (slide.read_associated("label") < 20).all()


def test_another_dicom_file_is_no_slide(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(300))
    with pytest.raises(ImageError, match=r"a\.dcm is a DICOM file, but no whole-slide image"):
        Slide.open(tmp_path / "a.dcm")


# Damage


def test_a_damaged_tile_costs_only_itself(tmp_path, scan):
    path = tmp_path / "a.mrxs"
    write_mirax(path, scan)
    data = path.with_suffix("") / "Data0000.dat"
    content = bytearray(data.read_bytes())
    last = content.rindex(b"\xff\xd8\xff")
    content[last : last + 300] = bytes(300)
    data.write_bytes(content)
    with Slide.open(path) as slide:
        with pytest.raises(DamagedImageError, match=r"a\.mrxs cannot be read at y 256, x 512"):
            slide.read_region(256, 500, 100, 100)
        # After an error OpenSlide answers nothing more; the slide still does.
        assert np.abs(slide.read_region(0, 0, 256, 512).astype(int) - scan[:256, :512]).mean() < 3
        pixels, bad = slide.read_around_damage(0, 0, 400, 600)
        assert bad == [(256, 512, 400, 600)]
        assert (pixels[256:400, 512:600] == 255).all()


# Without OpenSlide


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.dcm", bytes(128) + b"DICM", "DICOM"),
        ("a.czi", b"ZISRAWFILE" + bytes(50), "Zeiss CZI"),
        ("a.svslide", b"SQLite format 3\0" + bytes(50), "Sakura"),
        ("a.vms", b"[Virtual Microscope Specimen]\n", "Hamamatsu VMS"),
    ],
)
def test_without_the_extra_its_name_is_told(tmp_path, monkeypatch, name, content, kind):
    monkeypatch.setattr(openslides, "openslide_module", lambda: None)
    monkeypatch.setattr("napari_cytosae.slides.files.openslide_module", lambda: None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=rf"{name} is a {kind}.*napari-cytosae\[openslide\]"):
        Slide.open(tmp_path / name)
    with pytest.raises(ImageError, match=rf"Reading {name} needs OpenSlide"):
        Slide.open(tmp_path / name, backend="openslide")


def test_openslide_says_what_it_does_not_know(picture):
    with pytest.raises(ImageError, match=r"a\.png is of no format that OpenSlide knows"):
        Slide.open(picture("a.png"), backend="openslide")
