"""What patches show, against views drawn by hand and the drawn smear's truth."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_cytosae.cells import CropGeometry, crop_boxes, estimate_stain
from napari_cytosae.cells.compartments import (
    BACKGROUND,
    BORDER,
    COMPARTMENTS,
    CYTOPLASM,
    NUCLEUS,
    OTHER_CELLS,
    POINTS_PER_PATCH,
    RED_CELLS,
    count_compartments,
)
from napari_cytosae.cells.views import CellView, iter_views
from napari_cytosae.slides import Slide, sample_smear

SIDE = 320  # px: 20 px per patch


@pytest.fixture
def view():
    """A cell of 10 µm with a nucleus of 4 µm in its middle, and a corner of another cell."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    cell = np.hypot(y, x) < 50
    nucleus = np.hypot(y, x) < 20
    labels = np.where(cell, 7, 0).astype(np.int32)
    labels[:40, :40] = 9
    rgb = np.full((SIDE, SIDE, 3), 230, np.uint8)
    return CellView(7, 1000, 2000, rgb, labels, cell, nucleus)


def box(y0=1000, x0=2000, side=SIDE):
    return np.array([y0, x0, y0 + side, x0 + side], np.float64)


def test_every_point_of_a_patch_is_counted_once(view):
    counts = count_compartments(view, box(), None, 0.1)
    assert counts.shape == (len(COMPARTMENTS), 16, 16)
    assert_array_equal(counts.sum(axis=0), POINTS_PER_PATCH)


def test_counts_go_with_areas(view):
    counts = count_compartments(view, box(), None, 0.1).sum(axis=(1, 2)) / (256 * POINTS_PER_PATCH)
    # 0.6 µm on both sides of an outline of 5 µm radius.
    areas = {
        NUCLEUS: np.pi * 20**2,
        CYTOPLASM: np.pi * (44**2 - 20**2),
        BORDER: np.pi * (56**2 - 44**2),
        OTHER_CELLS: 40**2,
    }
    for compartment, area_px in areas.items():
        assert counts[compartment] == pytest.approx(area_px / SIDE**2, rel=0.12)
    assert counts[RED_CELLS] == 0


def test_patches_lie_where_the_crop_says(view):
    counts = count_compartments(view, box(), None, 0.1)
    assert (counts[OTHER_CELLS][:2, :2] == POINTS_PER_PATCH).all()
    assert counts[OTHER_CELLS].sum() == 4 * POINTS_PER_PATCH
    moved = count_compartments(view, box(1000 - 40, 2000), None, 0.1)
    assert_array_equal(moved[:, 2:], counts[:, :-2])
    # What lies beyond the slide is counted nowhere.
    assert not moved[:, :2].any()


def test_a_cell_whose_parts_are_not_known_is_not_counted(view):
    from dataclasses import replace

    assert not count_compartments(None, box(), None, 0.1).any()
    assert not count_compartments(replace(view, nucleus=None), box(), None, 0.1).any()
    nowhere = replace(view, cell=np.zeros_like(view.cell))
    assert not count_compartments(nowhere, box(), None, 0.1).any()


@pytest.mark.parametrize("microns_per_pixel", [0.1, 0.25])
def test_the_drawn_smear_is_parted_as_it_was_drawn(microns_per_pixel):
    smear = sample_smear(
        5, (round(80 / microns_per_pixel),) * 2, microns_per_pixel=microns_per_pixel
    )
    slide = Slide.from_array(smear.image, microns_per_pixel=microns_per_pixel)
    reference = estimate_stain(smear.image)
    table = smear.cells.assign(source="labels")
    boxes = crop_boxes(table, CropGeometry(25.0), microns_per_pixel, slide.shape)
    # Where red cells were drawn: discs of their radius, less what shrinks odd shapes.
    y, x = np.mgrid[: slide.shape[0], : slide.shape[1]]
    red = np.zeros(slide.shape, bool)
    near_red = np.zeros(slide.shape, bool)
    for other in smear.others.itertuples():
        away = np.hypot(y - other.centre_y, x - other.centre_x)
        if other.kind == "red cell":
            red |= away < 0.75 * other.radius_px
        near_red |= away < 1.45 * other.radius_px
    views = iter_views(
        slide, table, smear.labels, smear.nuclei, reference, microns_per_pixel, boxes
    )
    agree, wrong, glass = [], [], []
    for view, crop in zip(views, boxes, strict=True):
        counts = count_compartments(view, crop, reference, microns_per_pixel)
        steps = (np.arange(64) + 0.5) / 64
        rows = np.floor(crop[0] + steps * (crop[2] - crop[0])).astype(int)
        columns = np.floor(crop[1] + steps * (crop[3] - crop[1])).astype(int)
        inside = ((rows >= 0) & (rows < slide.shape[0]))[:, None] & (
            (columns >= 0) & (columns < slide.shape[1])
        )
        at = np.ix_(np.clip(rows, 0, slide.shape[0] - 1), np.clip(columns, 0, slide.shape[1] - 1))

        def share_of(mask, at=at, inside=inside):
            return (mask[at] & inside).reshape(16, 4, 16, 4).sum(axis=(1, 3)) == 16

        counted = counts == POINTS_PER_PATCH
        # A pale centre that the crop cuts passes for glass.
        agree.append(counts[RED_CELLS][share_of(red & (smear.labels == 0))] / POINTS_PER_PATCH)
        free = ~near_red & (smear.labels == 0)
        glass.append((counted[BACKGROUND] | (counts[BORDER] > 0))[share_of(free)])
        nucleus = share_of(smear.nuclei == view.label)
        wrong.append(~counted[NUCLEUS][nucleus])
    assert np.concatenate(agree).mean() > 0.93
    assert np.concatenate(glass).mean() > 0.97
    assert not np.concatenate(wrong).any()
