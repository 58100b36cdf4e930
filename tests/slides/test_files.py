"""Files as cameras and scanners write them, whole and broken."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide, to_rgb8

TILE = {"tile": (64, 64), "photometric": "rgb"}


@pytest.fixture
def scan():
    """A large smooth image, so that lossy codecs keep it."""
    y, x = np.mgrid[:400, :600]
    return np.stack([y // 2, x // 3, (y + x) // 4], axis=-1).astype(np.uint8)


def write_pyramid(path, scan, *, metadata=None, **options):
    with tifffile.TiffWriter(path, **options) as tif:
        tif.write(scan, subifds=2, metadata=metadata, compression="zlib", **TILE)
        for step in (2, 4):
            tif.write(scan[::step, ::step], subfiletype=1, compression="zlib", **TILE)


# Fields


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_lossless_fields_are_read_exactly(picture, pixels, name):
    slide = Slide.open(picture(name))
    assert slide.name == name
    assert slide.path is not None
    assert slide.microns_per_pixel is None
    np.testing.assert_array_equal(slide.read(), pixels)


def test_a_string_path_and_a_misleading_extension_are_fine(picture, pixels):
    path = picture("a.png").rename(picture("b.png").with_name("a.dat"))
    np.testing.assert_array_equal(Slide.open(str(path)).read(), pixels)


def test_jpeg_dpi_is_no_pixel_size(picture):
    assert Slide.open(picture("a.jpg", dpi=(25400, 25400))).microns_per_pixel is None


def test_the_users_pixel_size_comes_first(picture):
    assert Slide.open(picture("a.png"), microns_per_pixel=0.07).microns_per_pixel == 0.07


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(picture, scan, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = picture(name, scan, exif=exif)
    turned = Slide.open(path).read()
    upright = {
        1: scan,
        2: scan[:, ::-1],
        3: scan[::-1, ::-1],
        4: scan[::-1],
        5: scan.swapaxes(0, 1),
        6: scan.swapaxes(0, 1)[:, ::-1],
        7: scan.swapaxes(0, 1)[::-1, ::-1],
        8: scan.swapaxes(0, 1)[::-1],
    }[orientation]
    assert turned.shape == upright.shape
    assert np.abs(turned.astype(int) - upright).max() < 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiffs_orientation_means_the_same_as_exif(tmp_path, scan, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(scan).save(tmp_path / "a.png", exif=exif)
    tifffile.imwrite(
        tmp_path / "a.tif",
        scan,
        photometric="rgb",
        extratags=[(274, "H", 1, orientation, True)],
        metadata=None,
    )
    np.testing.assert_array_equal(
        Slide.open(tmp_path / "a.tif").read(), Slide.open(tmp_path / "a.png").read()
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_of_picture_opens_as_rgb(tmp_path, mode):
    name = "a.jpg" if mode == "CMYK" else "a.tif" if mode == "F" else "a.png"
    image = Image.new("RGB", (30, 20), (255, 255, 255))
    image = (
        image.convert("L").convert("F")
        if mode == "F"
        else (
            Image.fromarray(np.full((20, 30), 65535, np.uint16))
            if mode == "I;16"
            else image.convert(mode)
        )
    )
    image.save(tmp_path / name)
    rgb = Slide.open(tmp_path / name).read()
    assert rgb.shape == (20, 30, 3)
    assert rgb.min() >= 254


def test_transparent_png_lies_on_white(picture):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, 3:] = (10, 20, 30, 255)
    rgb = Slide.open(picture("a.png", rgba)).read()
    np.testing.assert_array_equal(rgb[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(rgb[0, 5], [10, 20, 30])


def test_a_palette_png_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    rgb = Slide.open(tmp_path / "a.png").read()
    np.testing.assert_array_equal(rgb[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(rgb[1, 1], [200, 100, 50])


def test_16_bit_colour_png_keeps_its_bits(tmp_path, scan):
    deep = scan.astype(np.uint16) * 16  # 12 bits
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(Slide.open(tmp_path / "a.png").read(), to_rgb8(deep))


def test_16_bit_tiff_is_scaled(tmp_path, scan):
    deep = scan.astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    np.testing.assert_array_equal(Slide.open(tmp_path / "a.tif").read(), to_rgb8(deep))


def test_white_is_zero_and_palette_tiffs_are_read_as_colours(tmp_path, scan):
    grey = scan[..., 0]
    tifffile.imwrite(tmp_path / "w.tif", 255 - grey, photometric="miniswhite")
    np.testing.assert_array_equal(Slide.open(tmp_path / "w.tif").read()[..., 0], grey)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", grey, photometric="palette", colormap=colours * 257)
    np.testing.assert_array_equal(
        Slide.open(tmp_path / "p.tif").read(), np.moveaxis(colours, 0, -1)[grey]
    )


def test_separate_planes_and_alpha_in_tiff(tmp_path, scan):
    tifffile.imwrite(
        tmp_path / "s.tif", np.moveaxis(scan, -1, 0), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(Slide.open(tmp_path / "s.tif").read(), scan)
    rgba = np.dstack([scan, np.zeros(scan.shape[:2], np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert (Slide.open(tmp_path / "a.tif").read() == 255).all()
    tifffile.imwrite(tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(Slide.open(tmp_path / "x.tif").read(), scan)


def test_three_ome_channels_are_red_green_and_blue(tmp_path, scan):
    tifffile.imwrite(
        tmp_path / "c.ome.tif",
        np.moveaxis(scan, -1, 0),
        photometric="minisblack",
        metadata={"axes": "CYX"},
    )
    np.testing.assert_array_equal(Slide.open(tmp_path / "c.ome.tif").read(), scan)


# Pyramids


def test_an_ome_pyramid_is_read_tile_by_tile(tmp_path, scan):
    path = tmp_path / "a.ome.tif"
    write_pyramid(
        path, scan, metadata={"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    )
    with Slide.open(path) as slide:
        assert slide.level_shapes == ((400, 600), (200, 300), (100, 150))
        assert slide.microns_per_pixel == pytest.approx(0.25)
        for level, step in enumerate((1, 2, 4)):
            np.testing.assert_array_equal(
                slide.read_region(50, 60, 40, 80, level), scan[::step, ::step][50:90, 60:140]
            )


def test_bigtiff_and_ycbcr_jpeg2000_pyramids_are_read(tmp_path, scan):
    write_pyramid(tmp_path / "big.tif", scan, bigtiff=True)
    with Slide.open(tmp_path / "big.tif") as slide:
        np.testing.assert_array_equal(slide.read(), scan)
    # Aperio's tag 33003: JPEG 2000 of YCbCr, which the codec does not turn into RGB.
    ycbcr = np.asarray(Image.fromarray(scan).convert("YCbCr"))
    tifffile.imwrite(
        tmp_path / "j2k.tif",
        ycbcr,
        tile=(256, 256),
        photometric="ycbcr",
        compression=33003,
        compressionargs={"mct": False, "reversible": True},
        subsampling=(1, 1),
    )
    with Slide.open(tmp_path / "j2k.tif") as slide:
        assert np.abs(slide.read().astype(int) - scan).max() <= 3


def test_16_bit_pyramids_share_their_tones(tmp_path, scan):
    deep = scan.astype(np.uint16) * 16
    write_pyramid(tmp_path / "a.tif", deep)
    with Slide.open(tmp_path / "a.tif") as slide:
        # The coarsest level reaches above half of 12 bits, so all are read as 12 bits.
        np.testing.assert_array_equal(
            slide.read_region(0, 0, 64, 64),
            np.floor(deep[:64, :64].astype(np.float32) / 4095 * 255 + 0.5),
        )


def test_a_tile_that_the_scanner_left_out_is_white(tmp_path, scan):
    path = tmp_path / "a.tif"
    write_pyramid(path, scan)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages[0].tags["TileByteCounts"]
        tag.overwrite([0, *tag.value[1:]])
        tag = tif.pages[0].tags["TileOffsets"]
        tag.overwrite([0, *tag.value[1:]])
    with Slide.open(path) as slide:
        region = slide.read_region(0, 0, 64, 128)
    assert (region[:, :64] == 255).all()
    np.testing.assert_array_equal(region[:, 64:], scan[:64, 64:128])


def test_label_and_macro_pictures_are_not_offered(tmp_path, scan):
    path = tmp_path / "a.svs"
    aperio = "Aperio Image Library v12\r\n600x400 (64x64) JPEG/RGB|AppMag = 40|MPP = 0.2520"
    with tifffile.TiffWriter(path) as tif:
        tif.write(scan, description=aperio, metadata=None, **TILE)
        tif.write(scan[::8, ::8], description="Aperio\r\nthumbnail", metadata=None)
        tif.write(scan[::2, ::2], description=aperio, metadata=None, **TILE)
        # Larger than the scan, as macros of small scans are.
        for word in ("label", "macro"):
            tif.write(
                np.zeros((900, 700, 3), np.uint8),
                metadata=None,
                photometric="rgb",
                description=f"Aperio Image Library v12\r\n{word} 700x900",
                subfiletype=1,
            )
    with Slide.open(path) as slide:
        assert slide.level_shapes == ((400, 600), (200, 300))
        assert slide.microns_per_pixel == pytest.approx(0.252)
        np.testing.assert_array_equal(slide.read(), scan)


def test_many_threads_read_one_slide(tmp_path, scan):
    write_pyramid(tmp_path / "a.tif", scan)
    corners = [(y, x) for y in range(0, 350, 50) for x in range(0, 550, 50)]
    with Slide.open(tmp_path / "a.tif") as slide, ThreadPoolExecutor(8) as pool:
        regions = list(pool.map(lambda yx: slide.read_region(*yx, 50, 50), corners))
    for (y, x), region in zip(corners, regions, strict=True):
        np.testing.assert_array_equal(region, scan[y : y + 50, x : x + 50])


# Pixel size


@pytest.mark.parametrize(
    ("resolution", "unit", "microns"),
    [
        (100_000, "CENTIMETER", 0.1),
        (101_600, "INCH", 0.25),
        (72, "INCH", None),
        (96, "INCH", None),
        (300, "INCH", None),
        (1, "NONE", None),
    ],
)
def test_resolution_tags_count_where_they_are_a_microscopes(
    tmp_path, scan, resolution, unit, microns
):
    tifffile.imwrite(
        tmp_path / "a.tif",
        scan,
        photometric="rgb",
        metadata=None,
        resolution=(resolution, resolution),
        resolutionunit=unit,
    )
    found = Slide.open(tmp_path / "a.tif").microns_per_pixel
    assert found == (None if microns is None else pytest.approx(microns))


@pytest.mark.parametrize(
    ("unit", "per_unit"), [("um", 8), ("\\u00B5m", 8), ("micron", 8), ("mm", 8000)]
)
def test_imagej_units(tmp_path, scan, unit, per_unit):
    tifffile.imwrite(
        tmp_path / "a.tif",
        scan[..., 0],
        imagej=True,
        resolution=(per_unit, per_unit),
        metadata={"unit": unit},
    )
    assert Slide.open(tmp_path / "a.tif").microns_per_pixel == pytest.approx(0.125)


def test_imagej_without_a_unit_has_no_pixel_size(tmp_path, scan):
    tifffile.imwrite(tmp_path / "a.tif", scan[..., 0], imagej=True, resolution=(1, 1))
    assert Slide.open(tmp_path / "a.tif").microns_per_pixel is None


@pytest.mark.parametrize("unit", ["µm", "mm", "pixel"])
def test_ome_units(tmp_path, scan, unit):
    size = {"µm": 0.5, "mm": 0.0005, "pixel": 1.0}[unit]
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        scan,
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit},
    )
    found = Slide.open(tmp_path / "a.ome.tif").microns_per_pixel
    assert found == (None if unit == "pixel" else pytest.approx(0.5))


# Identity


def test_a_files_digest_is_its_content_not_its_name_or_date(picture, pixels):
    path = picture("a.png")
    digest = Slide.open(path).digest
    copy = path.with_name("b.png")
    shutil.copyfile(path, copy)
    os.utime(copy, (1, 1))
    assert Slide.open(copy).digest == digest
    pixels[0, 0, 0] ^= 1
    assert Slide.open(picture("c.png", pixels)).digest != digest


@pytest.mark.parametrize("place", [(0, 0), (399, 599), (200, 300)])
def test_a_pyramids_digest_is_its_content(tmp_path, scan, place):
    write_pyramid(tmp_path / "a.tif", scan)
    shutil.copyfile(tmp_path / "a.tif", tmp_path / "b.tif")
    scan[place] ^= 255
    write_pyramid(tmp_path / "c.tif", scan)
    digests = []
    for name in "abc":
        with Slide.open(tmp_path / f"{name}.tif") as slide:
            digests.append(slide.digest)
    assert digests[0] == digests[1] != digests[2]


# What cannot be read


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"smear\.tif does not exist"):
        Slide.open(tmp_path / "smear.tif")
    (tmp_path / "smears").mkdir()
    with pytest.raises(ImageError, match="smears is a folder"):
        Slide.open(tmp_path / "smears")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("smear.png", b"", "empty"),
        ("smear.tif", b"", "empty"),
        ("smear.jpg", b"These are words.", "not an image"),
        ("smear.jpg", b"BMs and other words", "damaged"),
        ("smear.tif", b"II*\0", "damaged"),
        ("smear.tif", b"II*\0\x08\0\0\0\0\0\0\0\0\0", "no image|damaged"),
        ("smear.png", b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
    ],
)
def test_files_that_hold_no_image_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name}.*({words})"):
        Slide.open(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "lzw.tif", "raw.tif", "pyramid.tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_named(tmp_path, picture, name, share):
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    path = tmp_path / name
    if name == "pyramid.tif":
        write_pyramid(path, noise)
    elif name.endswith("tif"):
        compression = "lzw" if name == "lzw.tif" else None
        tifffile.imwrite(path, noise, photometric="rgb", compression=compression)
    else:
        picture(name, noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageError, match=rf"{name} is (damaged|incomplete)"):
        Slide.open(path)


def test_a_damaged_tile_is_told_when_it_is_read(tmp_path, scan):
    path = tmp_path / "a.tif"
    write_pyramid(path, scan)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = bytes(20)
    path.write_bytes(content)
    with Slide.open(path) as slide:
        with pytest.raises(ImageError, match=r"a\.tif cannot be read at y 0, x 0"):
            slide.read_region(0, 0, 10, 10)
        np.testing.assert_array_equal(slide.read_region(0, 64, 10, 10), scan[:10, 64:74])


@pytest.mark.parametrize(
    ("shape", "axes", "words"),
    [
        ((5, 40, 60), "CYX", "5 channels"),
        ((2, 40, 60), "CYX", "2 channels"),
        ((6, 40, 60), "ZYX", "z-stack of 6 planes"),
        ((7, 40, 60), "TYX", "time series of 7 images"),
        ((7, 40, 60, 3), "TYXS", "time series of 7 images"),
    ],
)
def test_stacks_and_stains_are_named_by_their_axis(tmp_path, shape, axes, words):
    tifffile.imwrite(
        tmp_path / "smear.ome.tif",
        np.zeros(shape, np.uint8),
        metadata={"axes": axes},
        photometric="rgb" if axes.endswith("S") else "minisblack",
    )
    with pytest.raises(ImageError, match=rf"smear\.ome\.tif.*{words}"):
        Slide.open(tmp_path / "smear.ome.tif")


def test_other_things_that_are_no_single_image(tmp_path, scan):
    five = np.zeros((40, 60, 5), np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match=r"five\.tif has 5 channels"):
        Slide.open(tmp_path / "five.tif")
    tifffile.imwrite(
        tmp_path / "pages.tif",
        np.zeros((4, 40, 60), np.uint8),
        metadata=None,
        photometric="minisblack",
    )
    with pytest.raises(ImageError, match=r"pages\.tif is a (stack|sequence) of 4 images"):
        Slide.open(tmp_path / "pages.tif")
    cmyk = np.zeros((40, 60, 4), np.uint8)
    tifffile.imwrite(tmp_path / "print.tif", cmyk, photometric="separated")
    with pytest.raises(ImageError, match=r"print\.tif stores its colours as SEPARATED"):
        Slide.open(tmp_path / "print.tif")
    frames = [Image.fromarray(scan), Image.fromarray(255 - scan)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"moving\.png is an animation of 2 images"):
        Slide.open(tmp_path / "moving.png")
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as tif:
        tif.write(scan, photometric="rgb", metadata={"axes": "YXS"})
        tif.write(255 - scan, photometric="rgb", metadata={"axes": "YXS"})
    with pytest.raises(ImageError, match=r"two\.ome\.tif holds 2 images of the same size"):
        Slide.open(tmp_path / "two.ome.tif")
