"""Large images without a pyramid: levels made when they are looked at, and kept."""

import errno
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_files import damage_tile
from PIL import Image

from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide, large_pictures, pictures, tile_store, virtual
from napari_cytosae.slides.axes import read_window
from napari_cytosae.slides.tiff_tiles import TiffTiles
from napari_cytosae.slides.tile_store import TileStore
from napari_cytosae.slides.turned import Turned, upright
from napari_cytosae.slides.virtual import VirtualLevel, reduce


@pytest.fixture
def scan():
    """Blobs of colour, larger than one tile of every virtual level."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((4500, 3300), Image.Resampling.BICUBIC))


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """What is large in life is a few megapixels here."""
    monkeypatch.setattr(virtual, "_TOO_LARGE_PX", 1 << 22)
    monkeypatch.setattr(virtual, "_SMALL_PX", 1 << 17)
    monkeypatch.setattr(pictures, "FIELD_PX", 1 << 22)
    monkeypatch.setattr("napari_cytosae.slides.tiffs.FIELD_PX", 1 << 22)


@pytest.fixture
def tiled(tmp_path, scan):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, scan, tile=(256, 256), photometric="rgb", compression="zlib")
    return path


def box_means(block, step=4):
    """The reference: an average over each block of 4 × 4 px, those at the edges as they are."""
    height, width = (-(-side // step) for side in block.shape[:2])
    means = np.empty((height, width, *block.shape[2:]))
    for y in range(height):
        for x in range(width):
            part = block[y * step : (y + 1) * step, x * step : (x + 1) * step].astype(float)
            means[y, x] = part.mean((0, 1))
    return means


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]),
        st.tuples(st.integers(1, 11), st.integers(1, 11))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
        elements=st.integers(0, 200),
    )
)
def test_a_level_is_the_average_of_the_one_above(block):
    means = box_means(block)
    made = reduce(block)
    assert made.dtype == block.dtype
    # Pillow divides by multiplying in fixed point, and may round down at the edges.
    most = {"u1": 1.0, "f4": 1e-4}.get(block.dtype.str[1:], 0.5)
    assert np.abs(made - means).max() <= most


def test_a_file_without_a_pyramid_has_small_levels(tiled, scan, home):
    with Slide.open(tiled) as slide:
        assert slide.stored_levels == 1
        assert slide.level_shapes == ((3300, 4500), (825, 1125), (207, 282))
        np.testing.assert_array_equal(slide.read_region(50, 70, 300, 400), scan[50:350, 70:470])
        first = reduce(scan)
        np.testing.assert_array_equal(slide.read_region(0, 0, 825, 1125, 1), first)
        np.testing.assert_array_equal(
            slide.read_region(100, 60, 107, 222, 2), reduce(first)[100:, 60:]
        )
    assert len(list((home / "pyramids").glob("*.level"))) == 2


def test_only_what_is_looked_at_is_made(tiled, monkeypatch):
    made = []
    plain = VirtualLevel._reduced_tile
    monkeypatch.setattr(
        VirtualLevel,
        "_reduced_tile",
        lambda level, row, column: (
            made.append((level.shape[0], row, column)) or plain(level, row, column)
        ),
    )
    with Slide.open(tiled) as slide:
        assert not made
        slide.read_region(300, 600, 100, 100, 1)
        assert made == [(825, 1, 2)]
        slide.read_region(300, 600, 100, 100, 1)
        assert len(made) == 1
        assert not slide.levels_made
    with Slide.open(tiled) as slide:  # as next time
        slide.read_region(300, 600, 100, 100, 1)
        assert len(made) == 1


def test_levels_are_made_step_by_step_and_kept(tiled, scan, monkeypatch):
    with Slide.open(tiled) as slide:
        shares = list(slide.make_levels())
        assert len(shares) > 10
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert slide.levels_made
    with Slide.open(tiled) as slide:
        assert slide.levels_made
        assert list(slide.make_levels()) == []
        monkeypatch.setattr(VirtualLevel, "_read", None)  # nothing is made any more
        np.testing.assert_array_equal(slide.read_region(0, 0, 825, 1125, 1), reduce(scan))


def test_a_window_need_not_wait(tiled, scan):
    with Slide.open(tiled) as slide:
        levels = slide.pyramid(wait=False)
        assert (levels[2][:] == 255).all()
        assert (levels[1][600:700, 700:800] == 255).all()
        np.testing.assert_array_equal(levels[0][5:50, 6:70], scan[5:50, 6:70])
        steps = slide.make_levels()
        next(steps)  # the first tile in order
        next(steps)  # what the window asked for last comes soon
        for _ in range(20):
            if not (levels[1][600:700, 700:800] == 255).all():
                break
            next(steps)
        np.testing.assert_array_equal(levels[1][600:700, 700:800], reduce(scan)[600:700, 700:800])
        for _ in steps:
            pass
        np.testing.assert_array_equal(levels[2][:], reduce(reduce(scan)))


def test_a_file_with_a_large_smallest_level_gets_smaller_ones(tmp_path, scan, monkeypatch):
    monkeypatch.setattr(virtual, "_TOO_LARGE_PX", 1 << 21)
    path = tmp_path / "a.tif"
    half = scan[::2, ::2]
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate((scan, half)):
            tif.write(
                level, subifds=1 - number, subfiletype=number, tile=(256, 256), photometric="rgb",
                compression="zlib", metadata=None,
            )  # fmt: skip
    with Slide.open(path) as slide:
        assert slide.stored_levels == 2
        assert slide.level_shapes[1:] == ((1650, 2250), (413, 563), (104, 141))
        np.testing.assert_array_equal(slide.read_region(0, 0, 413, 563, 2), reduce(half))


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_strips_are_decoded_once(tmp_path, scan, compression, monkeypatch):
    wide = np.ascontiguousarray(np.concatenate([scan, scan[:, ::-1]], axis=1)[:1500])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, wide, photometric="rgb", rowsperstrip=8, compression=compression)
    count = []
    decode = TiffTiles.read_chunk
    monkeypatch.setattr(
        TiffTiles,
        "read_chunk",
        lambda tiles, row, column: count.append(row) or decode(tiles, row, column),
    )
    with Slide.open(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 375, 2250, 1), reduce(wide))
    if compression:
        assert sorted(count) == list(range(188))
    else:
        assert not count


def test_16_bit_and_grey_images_have_small_levels(tmp_path, scan):
    deep = scan[..., 0].astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "a.tif", deep, tile=(256, 256), compression="zlib")
    with Slide.open(tmp_path / "a.tif") as slide:
        np.testing.assert_array_equal(slide.pyramid(values=True)[1][:], reduce(deep))
        assert slide.value_range == (0.0, 4095.0)


def test_damage_is_white_in_a_small_level(tiled, scan):
    damage_tile(tiled, 0)
    with Slide.open(tiled) as slide:
        small = slide.read_region(0, 0, 100, 100, 1)
        assert (small[:64, :64] == 255).all()
        np.testing.assert_array_equal(small[64:], reduce(scan)[64:100, :100])


def test_many_threads_look_at_once(tiled, scan):
    expected = reduce(scan)
    corners = [(y, x) for y in range(0, 700, 100) for x in range(0, 1000, 100)]
    with Slide.open(tiled) as slide, Slide.open(tiled) as other, ThreadPoolExecutor(8) as pool:

        def look(at):
            number, (y, x) = at
            return (slide, other)[number % 2].read_region(y, x, 100, 100, 1)

        for (y, x), region in zip(corners, pool.map(look, enumerate(corners)), strict=True):
            np.testing.assert_array_equal(region, expected[y : y + 100, x : x + 100])


def test_other_channels_are_other_levels(tmp_path, scan):
    more = np.concatenate([scan, scan[..., :2]], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", more, tile=(256, 256), photometric="minisblack",
                     planarconfig="contig")  # fmt: skip
    digests = set()
    for channel in (0, 1):
        with Slide.open(tmp_path / "a.tif", channels=(channel,)) as slide:
            digests.add(slide.digest)
            small = slide.read_region(0, 0, 100, 100, 1)
        np.testing.assert_array_equal(small[..., 0], reduce(scan[:400, :400, channel]))
    assert len(digests) == 2


# Keeping


def store_at(path, grid=(2, 3)):
    return TileStore(path, grid, (3,), np.dtype(np.uint8))


def tile_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def test_tiles_outlive_the_program(tmp_path):
    store = store_at(tmp_path / "a.level")
    store.put(1, 2, tile_of(0))
    store.put(0, 0, tile_of(1)[:10, :20])
    store.close()
    store = store_at(tmp_path / "a.level")
    assert (store.has(1, 2), store.has(0, 1), store.kept) == (True, False, 2)
    np.testing.assert_array_equal(store.get(1, 2), tile_of(0))
    np.testing.assert_array_equal(store.get(0, 0)[:10, :20], tile_of(1)[:10, :20])
    assert store.get(0, 1) is None


def test_a_damaged_or_unfinished_tile_is_made_anew(tmp_path):
    store = store_at(tmp_path / "a.level")
    for column in range(3):
        store.put(0, column, tile_of(column))
    store.close()
    content = bytearray((tmp_path / "a.level").read_bytes())
    content[-5] ^= 1  # in the last tile
    (tmp_path / "a.level").write_bytes(content)
    store = store_at(tmp_path / "a.level")
    assert store.get(0, 2) is None
    assert not store.has(0, 2)
    np.testing.assert_array_equal(store.get(0, 1), tile_of(1))
    store.close()
    (tmp_path / "a.level").write_bytes(content[: len(content) // 2])
    store = store_at(tmp_path / "a.level")
    assert store.get(0, 2) is None


@pytest.mark.parametrize("content", [b"", b"words", bytes(100_000)])
def test_another_file_of_that_name_is_replaced(tmp_path, content):
    (tmp_path / "a.level").write_bytes(content)
    store = store_at(tmp_path / "a.level")
    assert store.kept == 0
    store.put(0, 0, tile_of(0))
    np.testing.assert_array_equal(store.get(0, 0), tile_of(0))


def test_a_killed_program_leaves_whole_tiles(tmp_path):
    code = f"""
import os
from pathlib import Path
import numpy as np
from napari_cytosae.slides import tile_store
tile_store._FLUSHED_BYTES = 400_000
path = Path({str(tmp_path / "a.level")!r})
store = tile_store.TileStore(path, (2, 3), (3,), np.dtype("u1"))
for n in range(5):
    tile = np.random.default_rng(n).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    store.put(n // 3, n % 3, tile)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    store = store_at(tmp_path / "a.level")
    assert store.kept == 3  # as many as had been flushed
    for number in range(3):
        np.testing.assert_array_equal(store.get(0, number), tile_of(number))


def test_a_full_disk_only_costs_time(tiled, scan, monkeypatch, caplog):
    write = os.write

    def full(handle, content):
        if len(content) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, content)

    monkeypatch.setattr(tile_store.os, "write", full)
    with Slide.open(tiled) as slide:
        levels = slide.pyramid(wait=False)
        for _ in slide.make_levels():
            pass
        np.testing.assert_array_equal(levels[2][:], reduce(reduce(scan)))
    assert "No space left" in caplog.text


def test_a_home_that_cannot_be_made_only_costs_time(tiled, scan, home, caplog):
    home.write_text("a file where the folder should be")
    with Slide.open(tiled) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 825, 1125, 1), reduce(scan))
    assert "is not kept" in caplog.text


def test_levels_used_longest_ago_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(tile_store, "MOST_BYTES", 3_000_000)
    for number in range(5):
        store = store_at(tmp_path / f"{number}.level", (1, 5))
        for column in range(5):
            store.put(0, column, tile_of(number))
        store.close()
        os.utime(tmp_path / f"{number}.level", (number, number))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[-1] == "4.level"
    assert len(left) in (2, 3)


# Pictures that are too large for memory


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_large_pictures_are_read_upright_from_a_file(
    tmp_path, scan, home, name, orientation, monkeypatch
):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / name
    how = {"compression": "tiff_lzw"} if name == "a.tif" else {"compress_level": 1}
    Image.fromarray(scan).save(path, exif=exif, **how)
    with Slide.open(path) as slide:
        stored = scan if name != "a.jpg" else np.asarray(Image.open(path))
        expected = upright(stored, orientation)
        assert slide.shape == expected.shape[:2]
        assert len(slide.level_shapes) > 1
        np.testing.assert_array_equal(
            slide.read_region(900, 1000, 300, 200), expected[900:1200, 1000:1200]
        )
        np.testing.assert_array_equal(
            slide.read_region(0, 0, *slide.level_shapes[1], level=1), reduce(expected)
        )
        digest = slide.digest
    if name == "a.tif":
        return
    assert len(list((home / "pyramids").glob("*.pixels"))) == 1
    monkeypatch.setattr(large_pictures, "_decode", None)  # it is there already
    with Slide.open(path) as slide:
        assert slide.digest == digest
        np.testing.assert_array_equal(
            slide.read_region(900, 1000, 30, 20), expected[900:930, 1000:1020]
        )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16", "BMP"])
def test_large_pictures_of_many_modes(tmp_path, scan, mode):
    path = tmp_path / ("a.bmp" if mode == "BMP" else "a.png")
    if mode == "I;16":
        Image.fromarray(scan[..., 0].astype(np.uint16) * 16).save(path, compress_level=1)
    else:
        image = Image.fromarray(scan)
        image = image if mode == "BMP" else image.convert(mode)
        image.save(path, **({} if mode == "BMP" else {"compress_level": 1}))
    with Slide.open(path) as slide:
        large = slide.read_region(100, 200, 64, 64)
    small_path = tmp_path / f"small{path.suffix}"
    with Image.open(path) as image:
        image.crop((200, 100, 264, 164)).save(small_path)
    small = Slide.open(small_path).read()
    if mode == "I;16":
        assert np.abs(large.astype(int) - small).max() <= 255
        np.testing.assert_allclose(
            large / 255, scan[100:164, 200:264, [0] * 3] / 255.9375, atol=0.003
        )
    else:
        np.testing.assert_array_equal(large, small)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_large_picture_that_is_cut_short_is_damaged(tmp_path, scan, home, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (2100, 2100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"{name} is damaged or incomplete"):
        Slide.open(path)
    assert not list((home / "pyramids").iterdir())


def test_a_picture_that_fits_on_no_disk_is_told_so(tmp_path, monkeypatch):
    # 60,000 × 60,000 white px, in a file of a few megabytes.
    rows = zlib.compress(bytes(60_001), 9)
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])

    def chunk(content):
        return (
            (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
        )

    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + rows) + chunk(b"IEND"))
    usage = type("Usage", (), {"free": 1 << 30, "total": 1 << 40})
    monkeypatch.setattr(large_pictures.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        ImageError, match=r"bomb\.png is too large for memory.*10\.1 GiB are needed"
    ):
        Slide.open(path)


def test_kinds_that_only_memory_can_hold_are_told_so(tmp_path, scan, monkeypatch):
    Image.fromarray(scan).convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(ImageError, match=r"print\.jpg is too large.*CMYK.*tiled TIFF"):
        Slide.open(tmp_path / "print.jpg")
    monkeypatch.setattr(large_pictures, "_MOST_PROGRESSIVE_PX", 1 << 22)
    Image.fromarray(scan).save(tmp_path / "a.jpg", progressive=True)
    with pytest.raises(ImageError, match=r"a\.jpg is a progressive JPEG"):
        Slide.open(tmp_path / "a.jpg")


@given(
    st.integers(1, 8), st.integers(0, 4), st.integers(0, 5), st.integers(1, 4), st.integers(1, 5)
)
def test_turned_levels_are_the_turned_image(orientation, y, x, height, width):
    image = np.arange(5 * 7 * 3).reshape(5, 7, 3)
    level = Turned(image, orientation)
    whole = upright(image, orientation)
    assert level.shape == whole.shape
    np.testing.assert_array_equal(
        read_window(level, "YXS", y, x, height, width), whole[y : y + height, x : x + width]
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "strips.tif"])
def test_memory_stays_bounded(tmp_path, name, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / name
    side = 14_000  # 588 MB
    image = np.tile(np.arange(256, dtype=np.uint8), (side, side * 3 // 256 + 1))[:, : side * 3]
    image = image.reshape(side, side, 3)
    if name == "strips.tif":
        tifffile.imwrite(path, image, photometric="rgb", compression="lzw", rowsperstrip=32)
    else:
        Image.fromarray(image).save(path, **({"compress_level": 1} if name == "a.png" else {}))
    del image
    code = f"""
import re
from napari_cytosae.slides import Slide
def anonymous():
    status = open("/proc/self/status").read()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) // 1024
before, most = anonymous(), 0
with Slide.open({str(path)!r}) as slide:
    for _ in slide.make_levels():
        most = max(most, anonymous())
    last = len(slide.level_shapes) - 1
    print(most - before, slide.read_region(0, 0, *slide.level_shapes[last], last).mean())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300,
        env=os.environ | {"NAPARI_CYTOSAE_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    grown, mean = map(float, done.stdout.split())
    assert grown < 350  # MiB
    assert 100 < mean < 155
