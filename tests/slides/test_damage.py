"""Damaged tiles, files that go away, and what is still read."""

import os
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import tifffile
from made_files import damage_tile, smooth_scan, write_pyramid

from napari_cytosae.errors import DamagedImageError, ImageError, UnreachableImageError
from napari_cytosae.slides import Slide
from napari_cytosae.slides.file_bytes import FileBytes


@pytest.fixture
def scan():
    return smooth_scan()


@pytest.fixture
def damaged(tmp_path, scan):
    """A slide whose tiles 1 (0, 64) and 14 (64, 256) cannot be decoded."""
    path = tmp_path / "a.tif"
    write_pyramid(path, scan)
    for tile in (1, 14):
        damage_tile(path, tile)
    return path


def test_the_error_names_the_place(damaged, scan):
    with Slide.open(damaged) as slide:
        with pytest.raises(DamagedImageError, match=r"a\.tif.* at y 0, x 64 and 1 more of level 0"):
            slide.read_region(0, 0, 200, 400)
        with pytest.raises(DamagedImageError, match=r"at y 70, x 256 of level 0"):
            slide.read_region(70, 200, 10, 90)
        np.testing.assert_array_equal(slide.read_region(128, 0, 272, 600), scan[128:])


def test_reading_around_damage_gives_the_rest_and_the_places(damaged, scan):
    with Slide.open(damaged) as slide:
        pixels, bad = slide.read_around_damage(10, 30, 200, 300)
        assert bad == [(10, 64, 64, 128), (64, 256, 128, 320)]
        expected = scan[10:210, 30:330].copy()
        expected[:54, 34:98] = 255
        expected[54:118, 226:290] = 255
        np.testing.assert_array_equal(pixels, expected)
        pixels, bad = slide.read_around_damage(128, 0, 100, 100)
        assert bad == []
        np.testing.assert_array_equal(pixels, scan[128:228, :100])
        with pytest.raises(ImageError, match="not inside"):
            slide.read_around_damage(399, 0, 2, 2)


def test_a_16_bit_slide_is_white_where_it_is_damaged(tmp_path, scan):
    path = tmp_path / "a.tif"
    write_pyramid(path, scan.astype(np.uint16) * 16)
    damage_tile(path, 0)
    with Slide.open(path) as slide:
        pixels, bad = slide.read_around_damage(0, 0, 64, 128)
    assert bad == [(0, 0, 64, 64)]
    assert (pixels[:, :64] == 255).all()
    assert (pixels[:, 64:] < 255).all()


@pytest.mark.parametrize("compression", ["jpeg", "aperio_jp2000_rgb", "webp", "zstd", "lzw"])
def test_tiles_of_any_codec_are_told_when_they_are_damaged(tmp_path, scan, compression):
    path = tmp_path / "a.tif"
    how = {"compression": compression, "tile": (128, 128), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(scan, subifds=1, **how)
        tif.write(scan[::2, ::2], subfiletype=1, **how)
    with Slide.open(path) as slide:
        whole = slide.read()
    damage_tile(path, 6)
    with Slide.open(path) as slide:
        with pytest.raises(DamagedImageError, match=r"at y 128, x 128 of level 0"):
            slide.read()
        pixels, bad = slide.read_around_damage(0, 0, *slide.shape)
    assert bad == [(128, 128, 256, 256)]
    whole[128:256, 128:256] = 255
    np.testing.assert_array_equal(pixels, whole)


def test_layers_of_other_readers_are_read_around_damage_too(scan):
    def block(info):
        (y, _), (x, _) = info[None]["array-location"][:2]
        if (y, x) == (100, 200):
            raise RuntimeError("this tile is no JPEG")
        return scan[y : y + 100, x : x + 200]

    chunks = ((100,) * 4, (200,) * 3, (3,))
    lazy = da.map_blocks(
        lambda block_info: block(block_info), chunks=chunks, dtype=np.uint8, meta=scan[:0, :0]
    )
    slide = Slide.from_levels([lazy], name="layer")
    with pytest.raises(DamagedImageError, match=r"layer cannot be read at y 100, x 200"):
        slide.read_region(50, 150, 100, 100)
    pixels, bad = slide.read_around_damage(50, 150, 100, 100)
    assert bad == [(100, 200, 150, 250)]
    assert (pixels[50:, 50:] == 255).all()
    np.testing.assert_array_equal(pixels[:50], scan[50:100, 150:250])


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_cut_short_while_open_is_gone_not_damaged(tmp_path, scan, packed):
    path = tmp_path / "a.tif"
    if packed:
        write_pyramid(path, scan)
    else:
        # Two levels, unpacked and untiled.
        with tifffile.TiffWriter(path) as tif:
            tif.write(scan, subifds=1, metadata=None, photometric="rgb")
            tif.write(scan[::2, ::2], subfiletype=1, metadata=None, photometric="rgb")
    with Slide.open(path) as slide:
        slide.read_region(0, 0, 20, 20)
        os.truncate(path, path.stat().st_size // 8)
        for read in (slide.read_region, slide.read_around_damage):
            with pytest.raises(UnreachableImageError, match=r"a\.tif (has become shorter|can no)"):
                read(380, 580, 20, 20)


def test_a_drive_that_fails_is_named_and_comes_back(tmp_path, scan, monkeypatch):
    path = tmp_path / "a.tif"
    write_pyramid(path, scan)
    with Slide.open(path) as slide:
        with monkeypatch.context() as patch:

            def stale(*_):
                raise OSError(116, "Stale file handle")

            patch.setattr(FileBytes, "_read", stale)
            with pytest.raises(UnreachableImageError, match=r"a\.tif can no longer .*Stale.*drive"):
                slide.read_around_damage(0, 0, 64, 64)
        np.testing.assert_array_equal(slide.read_region(0, 0, 64, 64), scan[:64, :64])


def test_a_file_that_is_moved_or_closed_while_threads_read(tmp_path, scan):
    path = tmp_path / "a.tif"
    write_pyramid(path, scan)
    slide = Slide.open(path)
    path.rename(tmp_path / "b.tif")
    corners = [(y, x) for y in range(0, 350, 50) for x in range(0, 550, 50)]

    def read(number):
        y, x = corners[number]
        if number == 50:
            slide.close()
        try:
            region = slide.read_region(y, x, 50, 50)
        except ImageError as error:
            return "has been closed" in str(error)
        np.testing.assert_array_equal(region, scan[y : y + 50, x : x + 50])
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(read, range(len(corners))))
    assert all(done)
    with pytest.raises(ImageError, match="has been closed"):
        slide.read_region(0, 0, 1, 1)


def test_levels_whose_store_fails_are_unreachable():
    class Vanished:
        shape, dtype = (64, 64, 3), np.dtype(np.uint8)

        def __getitem__(self, key):
            raise OSError(5, "Input/output error")

    slide = Slide.from_levels([Vanished()], name="layer")
    with pytest.raises(UnreachableImageError, match=r"layer can no longer be read.*drive"):
        slide.read_around_damage(0, 0, 10, 10)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are POSIX")
def test_a_file_that_may_not_be_read_says_so(picture):
    path = picture("a.png")
    path.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:  # who may read anything; ask as somebody else
        for folder in path.parents[:-2]:
            if folder.stat().st_uid == 0 and folder.name.startswith(("pytest-", "test_")):
                folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError, match=r"a\.png cannot be opened: Permission denied"):
            Slide.open(path)
    finally:
        if superuser:
            os.seteuid(0)


def test_text_with_a_slides_name_is_no_slide(tmp_path):
    path = tmp_path / "smear.svs"
    path.write_text("patient; date; diagnosis\n" * 20)
    with pytest.raises(ImageError, match=r"smear\.svs is not an image that can be read"):
        Slide.open(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"smear\.svs is empty"):
        Slide.open(path)
