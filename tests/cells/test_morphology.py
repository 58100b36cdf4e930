"""Morphology against shapes of known measures, the drawn smear's truth, and real cells."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from napari_cytosae.cells import (
    Cells,
    cells_from_points,
    detect_cells,
    estimate_stain,
    measure_cells,
    whole_image,
)
from napari_cytosae.cells.colour import measure_stain, unmix
from napari_cytosae.cells.morphology import MORPHOLOGY, measure_morphology
from napari_cytosae.cells.nuclear_lobes import count_lobes
from napari_cytosae.cells.shape import measure_shape
from napari_cytosae.errors import Cancelled
from napari_cytosae.slides import Slide, sample_smear


def grid(side_um: float, pixel_um: float):
    n = round(side_um / pixel_um)
    y, x = np.mgrid[:n, :n].astype(float)
    return (y + 0.5) * pixel_um - side_um / 2, (x + 0.5) * pixel_um - side_um / 2


def ellipse(y, x, cy, cx, ry, rx):
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


# -- shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel_um", [0.05, 0.1, 0.25, 0.5])
def test_a_disc_is_round_whole_and_as_long_as_wide_at_any_magnification(pixel_um):
    y, x = grid(20, pixel_um)
    shape = measure_shape(ellipse(y, x, 1, -2, 6, 6), pixel_um)
    assert shape.area_px * pixel_um**2 == pytest.approx(36 * np.pi, rel=0.02)
    assert shape.roundness == pytest.approx(1, abs=0.05)
    assert shape.solidity > 0.95
    assert shape.elongation == pytest.approx(1, abs=0.02)
    centre_um = [(value + 0.5) * pixel_um - 10 for value in shape.centre]
    assert_allclose(centre_um, [1, -2], atol=0.05)


def test_shapes_have_the_measures_of_geometry():
    y, x = grid(30, 0.1)
    square = measure_shape((abs(y) < 6) & (abs(x) < 6), 0.1)
    assert square.roundness == pytest.approx(np.pi / 4, rel=0.06)
    assert square.solidity == pytest.approx(1, abs=0.01)
    long = measure_shape(ellipse(y, x, 0, 0, 3, 9), 0.1)
    assert long.elongation == pytest.approx(3, rel=0.03)
    cross = measure_shape((abs(y) < 2) & (abs(x) < 8) | (abs(x) < 2) & (abs(y) < 8), 0.1)
    # 112 of the octagon around a cross of arms 4 wide and 16 long: 256 less four corners of 18.
    assert cross.solidity == pytest.approx(112 / (256 - 4 * 18), rel=0.03)
    two = measure_shape(ellipse(y, x, 0, -7, 3, 3) | ellipse(y, x, 0, 7, 3, 3), 0.1)
    assert two.area_px == pytest.approx(2 * 9 * np.pi * 100, rel=0.01)
    assert_allclose(two.centre, [149.5, 149.5], atol=0.5)
    assert measure_shape(np.zeros((5, 5), bool), 0.1) is None
    speck = np.zeros((9, 9), bool)
    speck[4, 4] = True
    assert measure_shape(speck, 0.05).area_px == 1


@pytest.mark.parametrize("pixel_um", [0.07, 0.1, 0.25])
@pytest.mark.parametrize("lobes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("threads", [True, False])
def test_lobes_are_counted_with_threads_between_them_and_without(lobes, threads, pixel_um):
    y, x = grid(20, pixel_um)
    mask = np.zeros(y.shape, bool)
    angles = np.arange(lobes) * 1.2
    centres = [(5 * np.sin(angle), 5 * np.cos(angle)) for angle in angles]
    for cy, cx in centres:
        mask |= ellipse(y, x, cy, cx, 2.0, 1.7)
    if threads:
        ring = np.hypot(y, x)
        between = (np.arctan2(y, x) % (2 * np.pi) <= angles[-1]) & (abs(ring - 5) < 0.4)
        mask |= between
    assert count_lobes(mask, pixel_um) == lobes


def test_round_oval_and_indented_nuclei_have_one_lobe_and_specks_are_none():
    y, x = grid(20, 0.1)
    assert count_lobes(ellipse(y, x, 0, 0, 3, 7), 0.1) == 1
    kidney = ellipse(y, x, 0, 0, 5, 6) & ~ellipse(y, x, 5, 0, 3, 3)
    assert count_lobes(kidney, 0.1) == 1
    assert count_lobes(ellipse(y, x, 0, 0, 4, 4) | ellipse(y, x, 8, 8, 0.4, 0.4), 0.1) == 1
    assert count_lobes(np.zeros((4, 4), bool), 0.1) == 0


# -- colours -------------------------------------------------------------------------------


def test_azure_and_eosin_are_told_apart():
    azure = np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 3.0]], np.float32)
    eosin = np.array([[0.0, 0.5, 0.0], [2.0, 1.0, 1.0]], np.float32)
    relative = np.stack(
        [azure + 0.40 * eosin, azure + eosin, 0.25 * azure + eosin], axis=-1
    ).astype(np.float32)
    found = unmix(relative)
    assert_allclose(found[0], azure, atol=1e-6)
    assert_allclose(found[1], eosin, atol=1e-6)


def test_vacuoles_are_counted_and_granules_are_not_taken_for_them():
    y, x = grid(20, 0.1)
    cell = ellipse(y, x, 0, 0, 8, 8)
    density = np.where(cell, 1.0, 0.0)
    holes = [(4, 0), (-4, 1), (0, -5)]
    for cy, cx in holes:
        density[ellipse(y, x, cy, cx, 0.6, 0.6)] = 0.1
    relative = np.repeat(density[..., np.newaxis], 3, axis=-1).astype(np.float32)
    found = measure_stain(relative, cell, None, 0.1)
    assert found.vacuoles == 3
    assert found.vacuole_share == pytest.approx(3 * 0.6**2 / 8**2, rel=0.3)

    granular = np.where(cell, 1.0 + (np.sin(6 * y) * np.sin(6 * x) > 0), 0.0)
    relative = np.repeat(granular[..., np.newaxis], 3, axis=-1).astype(np.float32)
    coarse = measure_stain(relative, cell, None, 0.1)
    assert coarse.vacuoles == 0
    assert coarse.granularity > 10 * measure_stain(relative * 0 + 1, cell, None, 0.1).granularity


# -- the drawn smear -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth():
    """Measures of some 60 drawn cells with their true masks, and of the same cells detected."""
    drawn, detected = [], []
    for seed in range(1, 5):
        smear = sample_smear(seed)
        slide = Slide.from_array(smear.image, microns_per_pixel=0.1)
        reference = estimate_stain(smear.image)
        table = smear.cells.assign(source="labels")
        found = measure_morphology(slide, table, smear.labels, smear.nuclei, reference, 0.1)
        drawn.append(found.assign(kind=smear.cells["kind"].to_numpy()))
        cells = detect_cells(slide)
        found = measure_morphology(slide, cells.table, cells.labels, cells.nuclei, reference, 0.1)
        at = np.asarray(cells.table[["centroid_y", "centroid_x"]]).round().astype(int)
        kinds = dict(zip(smear.cells["label"], smear.cells["kind"], strict=True))
        found["kind"] = [kinds.get(smear.labels[y, x], "none") for y, x in at]
        detected.append(found)
    return pd.concat(drawn), pd.concat(detected)


@pytest.mark.parametrize("which", [0, 1], ids=["true masks", "detected"])
def test_the_five_kinds_differ_as_they_do_under_the_microscope(truth, which):
    usual = truth[which].groupby("kind").median()
    order = {
        "area_um2": ["lymphocyte", "basophil", "neutrophil", "monocyte"],
        "basophilia": ["eosinophil", "neutrophil", "monocyte", "lymphocyte", "basophil"],
        "eosinophilia": ["lymphocyte", "neutrophil", "eosinophil"],
        "granularity": ["lymphocyte", "neutrophil", "eosinophil", "basophil"],
        "lobes": ["lymphocyte", "eosinophil", "neutrophil"],
    }
    for measure, kinds in order.items():
        values = usual.loc[kinds, measure].to_numpy()
        assert (np.diff(values) > 0).all(), (measure, usual[measure])
    others = usual.drop(index="lymphocyte")
    assert usual["nc_ratio"]["lymphocyte"] > 1.3 * others["nc_ratio"].max()
    assert usual["nucleus_roundness"]["lymphocyte"] > 1.2 * others["nucleus_roundness"].max()
    assert usual["nucleus_solidity"].idxmax() == "lymphocyte"
    assert usual["lobes"].loc[["lymphocyte", "monocyte", "eosinophil"]].to_list() == [1, 1, 2]
    assert usual["vacuoles"]["monocyte"] >= 3
    assert (usual["vacuoles"].drop("monocyte") <= 1).all()


def test_areas_are_those_of_the_truth(truth):
    smear = sample_smear(4)
    found = truth[0].iloc[-len(smear.cells) :]
    assert_allclose(found["area_um2"], smear.cells["area_px"] * 0.01)
    assert_allclose(found["nucleus_area_um2"], smear.cells["nucleus_area_px"] * 0.01)
    ratio = smear.cells["nucleus_area_px"] / smear.cells["area_px"]
    assert_allclose(found["nc_ratio"], ratio)


@pytest.fixture(scope="module")
def smear():
    return sample_smear(3, (512, 768))


@pytest.fixture(scope="module")
def slide(smear):
    return Slide.from_array(smear.image, microns_per_pixel=0.1)


def measured(slide, cells, **options):
    reference = estimate_stain(slide.read())
    settings = {"microns_per_pixel": 0.1} | options
    return measure_morphology(slide, cells.table, cells.labels, cells.nuclei, reference, **settings)


def test_exposure_and_white_balance_matter_little(smear, slide):
    cells = detect_cells(slide)
    usual = measured(slide, cells)
    for tint in ([0.8, 0.8, 0.8], [1.0, 0.92, 0.8]):
        other = Slide.from_array(np.rint(smear.image * tint).astype(np.uint8))
        found = measured(other, cells)
        for name in ("chromatin_density", "basophilia", "eosinophilia", "granularity"):
            spread = np.ptp(usual[name])
            assert np.abs(found[name] - usual[name]).max() < 0.08 * spread, (tint, name)


def test_a_cell_is_measured_alike_wherever_its_window_lies(smear, slide):
    cells = detect_cells(slide)
    moved = np.full((700, 1000, 3), smear.image[0, 0], np.uint8)
    moved[100 : 100 + 512, 57 : 57 + 768] = smear.image
    labels = np.zeros(moved.shape[:2], np.int32)
    labels[100 : 100 + 512, 57 : 57 + 768] = cells.labels
    nuclei = np.zeros_like(labels)
    nuclei[100 : 100 + 512, 57 : 57 + 768] = cells.nuclei
    reference = estimate_stain(smear.image)
    there = Slide.from_array(moved)
    table = measure_cells(labels, nuclei, "detect")
    inner = cells.table[["box_y0", "box_x0"]].min(axis=1) > 30
    inner &= (cells.table["box_y1"] < 480) & (cells.table["box_x1"] < 730)
    found = measure_morphology(there, table, labels, nuclei, reference, 0.1)
    usual = measure_morphology(slide, cells.table, cells.labels, cells.nuclei, reference, 0.1)
    assert inner.sum() >= 3
    assert_allclose(found[inner], usual[inner], rtol=1e-6)


def test_points_and_label_images_without_nuclei_are_measured_by_what_is_found_there(smear, slide):
    detected = detect_cells(slide)
    usual = measured(slide, detected)
    centres = detected.table[["centroid_y", "centroid_x"]].to_numpy()
    points = cells_from_points(centres, slide.shape, microns_per_pixel=0.1)
    bare = Cells(detected.labels, None, detected.table.assign(source="labels"), 0.1)
    for cells in (points, bare):
        found = measured(slide, cells)
        for name in ("area_um2", "nc_ratio", "basophilia"):
            assert np.median(np.abs(found[name] / usual[name] - 1)) < 0.05, name
    # A mark on nothing is no cell.
    nowhere = cells_from_points([[3.0, 3.0]], slide.shape, 20.0)
    assert measured(slide, nowhere).isna().all(axis=None)


def test_without_a_pixel_size_there_are_no_areas_but_all_else(slide):
    cells = detect_cells(slide)
    known = measured(slide, cells)
    for estimate in (0.1, None):  # estimated, or guessed from the cells
        found = measured(slide, cells, microns_per_pixel=None, estimated_microns_per_pixel=estimate)
        assert found[["area_um2", "nucleus_area_um2"]].isna().all(axis=None)
        assert_allclose(found["nc_ratio"], known["nc_ratio"])
        assert np.corrcoef(found["granularity"], known["granularity"])[0, 1] > 0.9


def test_grey_images_are_measured_by_shape_alone(slide):
    cells = detect_cells(slide)
    found = measure_morphology(slide, cells.table, cells.labels, cells.nuclei, None, 0.1)
    colours = [name for name in MORPHOLOGY if hasattr(measure_stain, name) or "cyto" in name]
    assert not colours
    seen = found.columns[found.notna().any()]
    assert {"area_um2", "nc_ratio", "lobes"} <= set(seen)
    assert not {"basophilia", "granularity", "chromatin_texture", "vacuoles"} & set(seen)


def test_hidden_and_missing_cells_have_no_measures(slide):
    cells = detect_cells(slide)
    first = int(cells.table["label"].iloc[0])
    labels = np.where(np.asarray(cells.labels) == first, 0, cells.labels)
    found = measured(slide, Cells(labels, cells.nuclei, cells.table))
    assert found.iloc[0].isna().all()
    assert found.iloc[1:]["area_um2"].notna().all()
    none = measured(slide, Cells(labels, cells.nuclei, cells.table.iloc[:0]))
    assert list(none) == list(MORPHOLOGY)
    assert none.empty


def test_measuring_can_be_stopped(slide):
    cells = detect_cells(slide)
    with pytest.raises(Cancelled):
        measured(slide, cells, cancelled=lambda: True)


# -- real cells ----------------------------------------------------------------------------


def test_a_real_eosinophil_is_granular_and_eosinophilic_beside_real_blood(shared):
    slide = Slide.open(
        shared / "data" / "single-cells" / "eosinophil-mll23.tif", microns_per_pixel=25 / 288
    )
    cells = whole_image(slide.shape, microns_per_pixel=25 / 288)
    eosinophil = measured(slide, cells, microns_per_pixel=25 / 288).iloc[0]
    assert 100 < eosinophil["area_um2"] < 260
    blood = []
    for path in sorted((shared / "data" / "bccd").rglob("*.jpg"))[::12]:
        field = Slide.open(path)
        found = detect_cells(field)
        reference = estimate_stain(
            np.asarray(Image.fromarray(field.read()).resize((400, 300), Image.Resampling.BOX))
        )
        blood.append(
            measure_morphology(
                field, found.table, found.labels, found.nuclei, reference, None,
                found.estimated_microns_per_pixel,
            )
        )  # fmt: skip
    blood = pd.concat(blood)
    assert len(blood) > 20
    assert (blood["eosinophilia"] < eosinophil["eosinophilia"]).mean() > 0.9
    assert (blood["granularity"] < eosinophil["granularity"]).mean() > 0.9
    # Round nuclei fill their cells, lobed ones do not; blood has both.
    assert blood["nc_ratio"].corr(blood["nucleus_roundness"], method="spearman") > 0.3
    assert blood["lobes"].corr(blood["nucleus_solidity"], method="spearman") < -0.4
    assert {1.0, 2.0, 3.0} <= set(blood["lobes"])
    assert blood[["roundness", "solidity", "nc_ratio"]].stack().between(0, 1).all()
