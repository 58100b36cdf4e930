"""The drawn smear: the same every time, true about itself, and like a real one."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from napari_cytosae.cells import detect_cells
from napari_cytosae.slides import SampleSmear, Slide, sample_smear

KINDS = {"neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte"}
SMALL = (700, 800)


@pytest.fixture(scope="module")
def smear() -> SampleSmear:
    return sample_smear()


@pytest.fixture(scope="module")
def small_smears() -> list[SampleSmear]:
    return [sample_smear(seed, SMALL) for seed in range(6)]


def _density(image, where, glass):
    """Median optical density of a region in red, green and blue."""
    return np.median(-np.log(np.maximum(image[where], 1) / glass), axis=0)


def _whole_red_cells(smear):
    """Around each normal red cell: its pixels, and their distance from its middle in radii."""
    others = smear.others
    for row in others[(others["kind"] == "red cell") & (others["shape"] == "normal")].itertuples():
        reach = int(row.radius_px)
        y, x = round(row.centre_y), round(row.centre_x)
        window = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
        pixels = smear.image[window] if min(y, x) >= reach else smear.image[:0]
        if pixels.shape[:2] == (2 * reach + 1, 2 * reach + 1):
            off = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1]) / row.radius_px
            yield pixels.astype(float), off


@pytest.fixture(scope="module")
def densities(smear):
    """Optical density by part of the smear, as a camera would measure it."""
    image = smear.image.astype(float)
    is_bright = image.min(axis=2) > np.percentile(image.min(axis=2), 75)
    glass = np.median(image[is_bright], axis=0)
    rims = [rings[0][(rings[1] > 0.6) & (rings[1] < 0.85)] for rings in _whole_red_cells(smear)]
    parts = {"red cell": _density(np.concatenate(rims), slice(None), glass)}
    for kind in KINDS:
        labels = smear.cells.loc[smear.cells["kind"] == kind, "label"]
        nucleus = ndimage.binary_erosion(np.isin(smear.nuclei, labels), iterations=3)
        beside = ~ndimage.binary_dilation(smear.nuclei > 0, iterations=3)
        cytoplasm = ndimage.binary_erosion(np.isin(smear.labels, labels), iterations=3) & beside
        parts[f"{kind} nucleus"] = _density(image, nucleus, glass)
        parts[f"{kind} cytoplasm"] = _density(image, cytoplasm, glass)
    return parts


def test_the_same_seed_gives_the_same_smear():
    first, second = sample_smear(3, SMALL), sample_smear(3, SMALL)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.nuclei, second.nuclei)
    pd.testing.assert_frame_equal(first.cells, second.cells)
    pd.testing.assert_frame_equal(first.others, second.others)


def test_another_seed_gives_another_smear(small_smears):
    for one, other in pairwise(small_smears):
        assert (one.labels != other.labels).any()
        assert np.abs(one.image.astype(int) - other.image).mean() > 5


def test_the_default_field_holds_what_it_promises(smear):
    assert smear.image.shape == (1024, 1536, 3)
    assert smear.image.dtype == np.uint8
    assert smear.microns_per_pixel == 0.1
    assert 12 <= len(smear.cells) <= 20
    counts = smear.others["kind"].value_counts()
    assert 120 <= counts["red cell"] <= 180
    assert 10 <= counts["platelet"] <= 20
    assert {"normal", "target", "ovalocyte", "teardrop"} <= set(smear.others["shape"])


def test_every_smear_has_all_five_kinds(smear, small_smears):
    for each in (smear, *small_smears):
        assert set(each.cells["kind"]) == KINDS


def test_the_tables_tell_what_the_masks_show(smear, small_smears):
    for each in (smear, *small_smears):
        assert each.labels.dtype == each.nuclei.dtype == np.int32
        ids = each.cells["label"].tolist()
        assert ids == list(range(1, len(ids) + 1))
        assert set(np.unique(each.labels)) == {0, *ids} == set(np.unique(each.nuclei))
        for row in each.cells.itertuples():
            ys, xs = np.nonzero(each.labels == row.label)
            assert (row.box_y0, row.box_x0) == (ys.min(), xs.min())
            assert (row.box_y1, row.box_x1) == (ys.max() + 1, xs.max() + 1)
            assert row.centroid_y == pytest.approx(ys.mean())
            assert row.centroid_x == pytest.approx(xs.mean())
            assert row.area_px == len(ys)
            assert row.nucleus_area_px == (each.nuclei == row.label).sum()
        assert each.cells["nucleated"].all()


def test_nuclei_lie_in_their_cells_and_cells_are_whole_and_apart(smear, small_smears):
    for each in (smear, *small_smears):
        inside = each.nuclei > 0
        np.testing.assert_array_equal(each.nuclei[inside], each.labels[inside])
        _, pieces = ndimage.label(each.labels > 0)
        assert pieces == len(each.cells)  # none touches another, none is in two pieces
        border = np.concatenate(
            [each.labels[0], each.labels[-1], each.labels[:, 0], each.labels[:, -1]]
        )
        assert not border.any()


def test_cells_have_the_size_of_blood_cells(smear):
    diameter = 2 * np.sqrt(smear.cells["area_px"] / np.pi) * smear.microns_per_pixel
    by_kind = diameter.groupby(smear.cells["kind"])
    for kind, (least, most) in {
        "neutrophil": (11, 15),
        "eosinophil": (11, 15),
        "basophil": (10, 14),
        "lymphocyte": (7, 11.5),
        "monocyte": (14, 19),
    }.items():
        assert by_kind.min()[kind] >= least
        assert by_kind.max()[kind] <= most
    share = (smear.cells["nucleus_area_px"] / smear.cells["area_px"]).groupby(smear.cells["kind"])
    assert share.min()["lymphocyte"] > 0.6 > share.max()["monocyte"]


def test_nuclei_are_the_darkest_and_purple(densities):
    for kind in KINDS:
        red, green, blue = densities[f"{kind} nucleus"]
        assert green > red > blue > 0
        assert green > 1.3 * densities[f"{kind} cytoplasm"][1]
        assert green > 2 * densities["red cell"][1]


def test_stains_have_their_colours(densities):
    # Eosin takes green and blue, azure takes red; which of them prevails tells the parts apart.
    for part in ("red cell", "eosinophil cytoplasm"):
        red, green, blue = densities[part]
        assert green > 1.5 * red
        assert blue > 1.5 * red
    for part in ("lymphocyte cytoplasm", "monocyte cytoplasm"):
        red, green, blue = densities[part]
        assert red > 1.8 * blue
        assert red > 0.9 * green
    red, green, blue = densities["neutrophil cytoplasm"]
    assert green > 1.5 * red > 1.5 * blue  # pink-lilac
    assert densities["neutrophil cytoplasm"][1] < densities["eosinophil cytoplasm"][1] / 2


def test_a_red_cell_is_paler_in_its_middle(smear):
    paler = [
        pixels[off < 0.15, 1].mean() > pixels[abs(off - 0.75) < 0.1, 1].mean()
        for pixels, off in _whole_red_cells(smear)
    ]
    assert len(paler) > 60
    assert np.mean(paler) > 0.95


def test_the_light_is_uneven_and_tinted(small_smears):
    tints = []
    for each in small_smears:
        thumbs = each.image[: SMALL[0] // 4 * 4].reshape(4, SMALL[0] // 4, 4, SMALL[1] // 4, 3)
        bright = np.percentile(thumbs, 90, axis=(1, 3))
        assert bright[..., 1].max() - bright[..., 1].min() >= 2
        tints.append(bright.mean((0, 1)) / bright.mean())
    assert np.std(tints, axis=0).max() > 0.005


def test_a_smear_at_another_pixel_size_is_the_same_scene():
    fine, coarse = sample_smear(1, (600, 800)), sample_smear(1, (300, 400), microns_per_pixel=0.2)
    assert fine.cells["kind"].tolist() == coarse.cells["kind"].tolist()
    np.testing.assert_allclose(
        fine.cells[["centroid_y", "centroid_x"]] * 0.1,
        coarse.cells[["centroid_y", "centroid_x"]] * 0.2,
        atol=0.5,
    )
    np.testing.assert_allclose(
        fine.cells["area_px"] * 0.1**2, coarse.cells["area_px"] * 0.2**2, rtol=0.05
    )


def test_a_field_without_room_is_refused():
    with pytest.raises(ValueError, match="20 × 30 µm has no room"):
        sample_smear(shape=(200, 300))


def test_a_saved_smear_is_read_back_with_its_pixel_size_and_truth(small_smears, tmp_path):
    smear = small_smears[0]
    path = smear.save(tmp_path / "new" / "sample")
    slide = Slide.open(path)
    assert slide.microns_per_pixel == pytest.approx(0.1)
    np.testing.assert_array_equal(slide.read(), smear.image)
    np.testing.assert_array_equal(tifffile.imread(path.with_name("labels.tif")), smear.labels)
    np.testing.assert_array_equal(tifffile.imread(path.with_name("nuclei.tif")), smear.nuclei)
    pd.testing.assert_frame_equal(pd.read_csv(path.with_name("cells.csv")), smear.cells)
    pd.testing.assert_frame_equal(pd.read_csv(path.with_name("others.csv")), smear.others)


def test_the_detector_finds_the_white_cells_and_nothing_else(smear):
    smears = [smear, *(sample_smear(seed) for seed in range(4))]
    for microns_per_pixel in (0.1, None):
        true = found = hits = 0
        for each in smears:
            cells = detect_cells(each.image, microns_per_pixel)
            at = np.rint(cells.table[["centroid_y", "centroid_x"]].to_numpy()).astype(int)
            under = each.labels[at[:, 0], at[:, 1]]
            true += len(each.cells)
            found += len(at)
            hits += len(set(under[under > 0].tolist()))
        assert hits == true
        assert hits / found >= 0.95
