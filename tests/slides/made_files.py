"""Scanners' files, made small."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid

TILE = {"tile": (64, 64), "photometric": "rgb"}


def smooth_scan(height: int = 400, width: int = 600) -> NDArray[np.uint8]:
    """A smooth colour image, so that lossy codecs keep it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 200 // height, x * 200 // width, (y + x) // 4 % 256], axis=-1).astype(
        np.uint8
    )


def write_pyramid(path: Path, scan: NDArray[np.generic], *, metadata=None, **options) -> None:
    with tifffile.TiffWriter(path, **options) as tif:
        tif.write(scan, subifds=2, metadata=metadata, compression="zlib", **TILE)
        for step in (2, 4):
            tif.write(scan[::step, ::step], subfiletype=1, compression="zlib", **TILE)


def write_scn(
    path: Path,
    scans: Sequence[NDArray[np.uint8]],
    macro: NDArray[np.uint8] | None = None,
    nm_per_pixel: tuple[int, int] = (250, 250),
) -> None:
    """A Leica SCN: the whole glass, then scanned areas of two levels each."""
    glass = (26_000_000, 76_000_000)  # nm, x and y
    images, pages = [], []
    if macro is not None:
        images.append(_scn_image(glass, [(macro, len(pages))], "Image_0"))
        pages.append(macro)
    for number, scan in enumerate(scans, start=1):
        levels = [scan, np.ascontiguousarray(scan[::4, ::4])]
        size = (scan.shape[1] * nm_per_pixel[1], scan.shape[0] * nm_per_pixel[0])
        images.append(
            _scn_image(
                size,
                [(level, len(pages) + at) for at, level in enumerate(levels)],
                f"Image_{number}",
            )
        )
        pages += levels
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="slide" sizeX="{glass[0]}" sizeY="{glass[1]}">{"".join(images)}'
        "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, page in enumerate(pages):
            tif.write(
                page,
                description=xml if number == 0 else None,
                metadata=None,
                compression="jpeg",
                compressionargs={"level": 95},
                resolution=tuple(1e7 / nm for nm in nm_per_pixel[::-1]),
                resolutionunit="CENTIMETER",
                **TILE,
            )


def _scn_image(
    size_nm: tuple[int, int], levels: list[tuple[NDArray[np.uint8], int]], name: str
) -> str:
    height, width = levels[0][0].shape[:2]
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{r}" ifd="{ifd}"/>'
        for r, (level, ifd) in enumerate(levels)
    )
    return (
        f'<image name="{name}"><device model="Leica SCN400;Leica SCN"/>'
        f'<pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        f'<view sizeX="{size_nm[0]}" sizeY="{size_nm[1]}" offsetX="0" offsetY="0"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
        "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def write_aperio(path: Path, scan: NDArray[np.uint8]) -> None:
    """An Aperio SVS of two levels with thumbnail, label and macro."""
    aperio = "Aperio Image Library v12\r\n600x400 (64x64) JPEG/RGB|AppMag = 40|MPP = 0.2520"
    with tifffile.TiffWriter(path) as tif:
        tif.write(scan, description=aperio, metadata=None, **TILE)
        tif.write(scan[::8, ::8], description="Aperio\r\nthumbnail", metadata=None)
        tif.write(scan[::2, ::2], description=aperio, metadata=None, **TILE)
        # Larger than the scan, as macros of small scans are.
        for shade, word in ((10, "label"), (200, "macro")):
            tif.write(
                np.full((900, 700, 3), shade, np.uint8),
                metadata=None,
                photometric="rgb",
                description=f"Aperio Image Library v12\r\n{word} 700x900",
                subfiletype=1 if word == "label" else 9,
            )


def damage_tile(path: Path, tile: int, page: int = 0) -> None:
    """Overwrite the beginning of one tile of a page."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[page].dataoffsets[tile]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(20))


def write_mirax(path: Path, scan: NDArray[np.uint8], um: float = 0.25, tile: int = 256) -> None:
    """A MIRAX slide of one level: a cover, and a folder with index and data."""
    rows, columns = -(-scan.shape[0] // tile), -(-scan.shape[1] // tile)
    padded = np.pad(
        scan,
        ((0, rows * tile - scan.shape[0]), (0, columns * tile - scan.shape[1]), (0, 0)),
        "edge",
    )
    folder = path.with_suffix("")
    folder.mkdir()
    Image.fromarray(scan).resize((60, 40)).save(path, format="JPEG")
    slide_id = "0123456789ABCDEF0123456789ABCDEF"
    data, entries = bytearray(b"01.02" + slide_id.encode()), []
    data += bytes(296 - len(data))
    for row in range(rows):
        for column in range(columns):
            image = io.BytesIO()
            part = padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            Image.fromarray(part).save(image, format="JPEG", quality=95, subsampling=0)
            entries.append((row * columns + column, len(data), len(image.getvalue()), 0))
            data += image.getvalue()
    (folder / "Data0000.dat").write_bytes(data)
    header = b"01.02" + slide_id.encode()
    hierarchy = len(header) + 8
    level = hierarchy + 4
    page = level + 8
    index = header + struct.pack("<2i", hierarchy, 0) + struct.pack("<i", level)
    index += struct.pack("<2i", 0, page) + struct.pack("<2i", len(entries), 0)
    for entry in entries:
        index += struct.pack("<4i", *entry)
    (folder / "Index.dat").write_bytes(index)
    (folder / "Slidedat.ini").write_text(
        f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {slide_id}
IMAGENUMBER_X = {columns}
IMAGENUMBER_Y = {rows}
OBJECTIVE_MAGNIFICATION = 20
CURRENT_SLIDE_VERSION = 1.9
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
INDEXFILE = Index.dat
HIER_COUNT = 1
NONHIER_COUNT = 0
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {um}
MICROMETER_PER_PIXEL_Y = {um}
IMAGE_FORMAT = JPEG
IMAGE_FILL_COLOR_BGR = 16777215
IMAGE_CONCAT_FACTOR = 0
DIGITIZER_WIDTH = {tile}
DIGITIZER_HEIGHT = {tile}
"""
    )


def write_wsi_dicom(
    folder: Path, scan: NDArray[np.uint8], um: float = 0.25, tile: int = 128
) -> Path:
    """A DICOM whole-slide series of two levels and a label; returns the largest level's file."""
    folder.mkdir()
    series, frame = generate_uid(), generate_uid()
    for number, step in enumerate((1, 2)):
        level = np.ascontiguousarray(scan[::step, ::step])
        kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE" if step == 1 else "RESAMPLED"]
        _write_instance(folder / f"{number}.dcm", level, kind, um * step, tile, series, frame)
    label = np.full((120, 120, 3), 10, np.uint8)
    kind = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    _write_instance(folder / "label.dcm", label, kind, um, 120, series, frame)
    return folder / "0.dcm"


def _write_instance(
    path: Path,
    level: NDArray[np.uint8],
    kind: list[str],
    um: float,
    tile: int,
    series: str,
    frame: str,
) -> None:
    height, width = level.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(level, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), "edge")
    frames = []
    for row in range(rows):
        for column in range(columns):
            image = io.BytesIO()
            part = padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            Image.fromarray(part).save(image, format="JPEG", quality=95, subsampling=1)
            frames.append(image.getvalue())
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.FrameOfReferenceUID = series, frame
    data.StudyInstanceUID = generate_uid()
    data.Modality = "SM"
    data.ImageType = kind
    data.DimensionOrganizationType = "TILED_FULL"
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.Rows = data.Columns = tile
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = height, width
    data.TotalPixelMatrixFocalPlanes = data.NumberOfOpticalPaths = 1
    data.NumberOfFrames = len(frames)
    data.ImagedVolumeWidth, data.ImagedVolumeHeight = width * um / 1000, height * um / 1000
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [um / 1000, um / 1000]
    groups.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [groups]
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)
