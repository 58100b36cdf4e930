"""Which red cells are found: on the drawn smear, on real fields, and where there are none."""

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from napari_cytosae.cells import detect_red_cells, read_cells
from napari_cytosae.errors import CellsError
from napari_cytosae.slides import Slide, sample_smear

GLASS = np.array([200, 205, 215], float)
# What a red cell of usual stain absorbs, as the detector's own density of 0.15 in green.
RED_CELL = np.array([0.06, 0.15, 0.09])
AZURE = np.array([0.35, 0.4, 0.06])


def field(shape=(480, 640)):
    return np.zeros((*shape, 3))


def lay(density, y, x, radius, stain=RED_CELL, hole=0.0):
    """Add a disc, or a ring, of stain."""
    rows, columns = np.mgrid[: density.shape[0], : density.shape[1]]
    distance = np.hypot(rows - y, columns - x)
    density[distance <= radius] += stain
    density[distance <= hole] -= 0.95 * stain


def photograph(density):
    return np.rint(GLASS * 10**-density).clip(0, 255).astype(np.uint8)


def met(points, cells, reach):
    """Share of points with a detection of their own within reach."""
    found = cells.table[["centroid_y", "centroid_x"]].to_numpy()
    distance = cdist(points, found)
    rows, columns = linear_sum_assignment(np.where(distance <= reach, distance, 1e6))
    return np.count_nonzero(distance[rows, columns] <= reach) / len(points)


def test_red_cells_of_the_drawn_smear_are_found_and_nothing_else():
    smear = sample_smear(seed=4)
    height, width = smear.labels.shape
    red = smear.others[smear.others["kind"] == "red cell"]
    y, x = red["centre_y"].to_numpy(), red["centre_x"].to_numpy()
    inside = (y > 40) & (x > 40) & (y < height - 40) & (x < width - 40)
    covered = np.zeros(len(red), bool)
    covered[inside] = smear.labels[y[inside].astype(int), x[inside].astype(int)] > 0
    points = np.stack([y, x], axis=1)[inside & ~covered]
    cells = detect_red_cells(smear.image)
    assert met(points, cells, reach=20) >= 0.97
    centres = cells.table[["centroid_y", "centroid_x"]].to_numpy()
    nearest = cdist(centres, np.stack([y, x], axis=1)).min(axis=1)
    assert np.mean(nearest < 30) >= 0.97
    nuclei = smear.nuclei[tuple(centres.astype(int).T)] > 0
    assert nuclei.mean() <= 0.01


def test_marked_cells_of_real_fields_are_found(shared):
    folder = shared / "data/chula-rbc12/fields"
    files = sorted(folder.glob("*.jpg"), key=lambda file: int(file.stem))[::18]
    hits = points = 0.0
    for file in files:
        rows = [line.split() for line in file.with_suffix(".txt").read_text().splitlines()]
        marked = np.array([(float(row[1]), float(row[0])) for row in rows if row])
        cells = detect_red_cells(np.asarray(Image.open(file).convert("RGB")))
        hits += len(marked) * met(marked, cells, reach=16)
        points += len(marked)
    assert points > 300
    assert hits / points >= 0.97


def test_rings_are_cells_and_overlapping_cells_are_two():
    density = field()
    for column in range(3):
        lay(density, 100, 100 + 200 * column, 32, hole=14)
        lay(density, 260, 100 + 200 * column, 32)
        lay(density, 300, 130 + 200 * column, 32)
        lay(density, 400, 100 + 200 * column, 30)
    cells = detect_red_cells(photograph(density), microns_per_pixel=7.5 / 64)
    assert len(cells) == 12
    ring = cells.labels[100, 100]
    assert ring > 0
    assert (cells.labels == ring).sum() == pytest.approx(np.pi * 32**2, rel=0.1)
    assert cells.labels[250, 90] != cells.labels[310, 140]
    assert cells.nuclei is None
    assert set(cells.table["source"]) == {"red"}


def test_platelets_nuclei_and_a_grey_pointer_are_left_out():
    density = field()
    for y, x in ((80, 80), (80, 240), (240, 80), (240, 240), (400, 80), (400, 240), (80, 400)):
        lay(density, y, x, 32, hole=8)
    lay(density, 300, 420, 12, AZURE)
    lay(density, 420, 420, 40, 2 * AZURE)
    density[100:480, 560:590] += 0.4
    cells = detect_red_cells(photograph(density), microns_per_pixel=7.5 / 64)
    assert len(cells) == 7
    assert not cells.labels[300, 420]
    assert not cells.labels[420, 420]
    assert not cells.labels[300, 575]


def test_an_uneven_lamp_makes_no_cells():
    density = field()
    for y in range(60, 480, 120):
        for x in range(60, 640, 130):
            lay(density, y, x, 32, hole=10)
    ramp = np.linspace(0, 0.15, 640)[np.newaxis, :, np.newaxis]
    even = detect_red_cells(photograph(density), microns_per_pixel=7.5 / 64)
    uneven = detect_red_cells(photograph(density + ramp), microns_per_pixel=7.5 / 64)
    assert len(even) == len(uneven) == 20


@pytest.mark.parametrize("shape", [(300, 400), (7, 5), (1, 1), (1, 300)])
def test_bare_glass_has_no_red_cells(shape):
    image = photograph(field(shape))
    cells = detect_red_cells(image)
    assert len(cells) == 0
    assert cells.labels.shape == shape


@pytest.mark.parametrize("shape", [(1, 300), (9, 9), (40, 2000)])
def test_odd_shapes_are_no_error(shape):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detect_red_cells(noise).labels.shape == shape


def test_grey_and_dark_images_are_refused():
    grey = np.repeat(photograph(field())[..., :1], 3, axis=2)
    grey[100:200, 100:200] = 90
    with pytest.raises(CellsError, match="grey"):
        detect_red_cells(grey)
    dark = np.zeros((100, 100, 3), np.uint8)
    dark[40:60, 40:60] = (200, 10, 10)
    with pytest.raises(CellsError, match="dark"):
        detect_red_cells(dark)
    with pytest.raises(CellsError, match="pixel size"):
        detect_red_cells(photograph(field()), microns_per_pixel=-1)


def test_red_is_a_source_of_cells_by_name():
    smear = sample_smear(seed=4, shape=(700, 700))
    slide = Slide.from_array(smear.image, microns_per_pixel=0.1)
    by_name = read_cells("red", slide)
    assert len(by_name) > 10
    assert np.array_equal(by_name.labels, detect_red_cells(slide).labels)
