"""Which cells are found, on real fields, on the drawn smear, and where there is nothing to find."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cytosae.cells import detect_cells
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import sample_smear


def white_cells(path):
    for item in ET.parse(path).iter("object"):
        box = [float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        if item.findtext("name") == "WBC" and box[2] > box[0] and box[3] > box[1]:
            yield box


def counts(folder, files):
    """Hits, false detections and missed boxes; one detection per box is a hit."""
    hits = false = missed = 0
    for file in files:
        boxes = list(white_cells(folder / "Annotations" / f"{file.stem}.xml"))
        table = detect_cells(np.asarray(Image.open(file).convert("RGB"))).table
        for y, x in zip(table["centroid_y"], table["centroid_x"], strict=True):
            inside = [b for b in boxes if b[0] <= x <= b[2] and b[1] <= y <= b[3]]
            hits, false = hits + bool(inside), false + (not inside)
            for box in inside[:1]:
                boxes.remove(box)
        missed += len(boxes)
    return hits, false, missed


@pytest.mark.slow
def test_white_cells_of_all_bccd_fields_are_found(shared):
    folder = shared / "data/bccd"
    files = sorted((folder / "JPEGImages").glob("*.jpg"))
    assert len(files) == 364
    hits, false, missed = counts(folder, files)
    assert hits / (hits + missed) >= 0.99
    assert hits / (hits + false) >= 0.96


def test_a_single_cell_image_holds_one_cell_in_its_middle(shared):
    image = tifffile.imread(shared / "data/single-cells/eosinophil-mll23.tif")
    table = detect_cells(image, microns_per_pixel=25 / 288).table
    assert len(table) == 1
    assert table["centroid_y"].iloc[0] == pytest.approx(144, abs=30)
    assert table["centroid_x"].iloc[0] == pytest.approx(144, abs=30)


def test_extents_cover_the_drawn_cells_and_nuclei_lie_inside_them():
    smear = sample_smear(seed=12)
    cells = detect_cells(smear.image, microns_per_pixel=smear.microns_per_pixel)
    assert len(cells.table) == len(smear.cells)
    overlaps = []
    for label in smear.cells["label"]:
        drawn = smear.labels == label
        found = cells.labels == np.bincount(cells.labels[drawn]).argmax()
        overlaps.append((drawn & found).sum() / (drawn | found).sum())
    assert np.mean(overlaps) >= 0.85
    inside = cells.nuclei > 0
    np.testing.assert_array_equal(cells.labels[inside], cells.nuclei[inside])


def test_turning_the_image_turns_the_cells():
    image = sample_smear(seed=3, shape=(420, 640)).image
    upright = detect_cells(image, microns_per_pixel=0.1).table
    turned = detect_cells(np.rot90(image).copy(), microns_per_pixel=0.1).table
    assert len(upright) == len(turned) > 0
    back = sorted(
        (x, image.shape[1] - 1 - y) for y, x in turned[["centroid_y", "centroid_x"]].to_numpy()
    )
    np.testing.assert_allclose(
        back, sorted(map(tuple, upright[["centroid_y", "centroid_x"]].to_numpy())), atol=4
    )


def test_blank_glass_has_no_cells():
    glass = np.full((300, 400, 3), (232, 226, 224), np.uint8)
    noisy = glass + np.random.default_rng(0).integers(-3, 4, glass.shape)
    for image in (glass, noisy.astype(np.uint8)):
        cells = detect_cells(image, microns_per_pixel=0.1)
        assert len(cells.table) == 0
        assert not cells.labels.any()


def test_a_grey_image_is_refused_in_words():
    grey = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    with pytest.raises(CellsError, match="olour"):
        detect_cells(np.stack([grey] * 3, -1))
