import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_cytosae.concepts import analyze
from napari_cytosae.export.on_cell import cell_share, strongest_on_cell


def test_patches_are_counted_by_the_share_that_the_cell_covers(run):
    for label in run.table["label"]:
        y0, x0, y1, x1 = run.cell(label).box
        share = cell_share(run, label)
        area_px = (share * (y1 - y0) * (x1 - x0) / 256).sum()
        drawn = np.count_nonzero(run.labels == label)
        assert area_px == pytest.approx(drawn, rel=0.03)
        cell = run.table[run.table["label"] == label].iloc[0]
        patches = np.argwhere(share > 0.5) + 0.5
        centre = patches.mean(axis=0) / 16 * (y1 - y0, x1 - x0) + (y0, x0)
        assert_allclose(centre, (cell["centroid_y"], cell["centroid_x"]), atol=(y1 - y0) / 16)


def test_concepts_are_ranked_by_their_mean_on_the_cell(run):
    label = int(run.table["label"][0])
    share = cell_share(run, label)
    means = {
        concept.concept_id: (run.concept_map(label, concept.concept_id) * share).sum() / share.sum()
        for concept in run.active_concepts(label)
    }
    ranked = strongest_on_cell(run, label, 10)
    assert len(ranked) == min(10, len(means))
    expected = sorted(means, key=lambda concept_id: (-means[concept_id], concept_id))
    assert [found.concept.concept_id for found in ranked] == expected[: len(ranked)]
    for found in ranked:
        assert found.on_cell == pytest.approx(means[found.concept.concept_id], rel=1e-5)
        assert found.concept in run.active_concepts(label)


def test_where_the_image_is_the_cell_every_patch_counts(smear, bundle, tmp_path):
    run = analyze(smear.image[:200, :200], bundle, "whole", tmp_path / "whole.cytosae")
    (label,) = run.table["label"]
    assert_array_equal(cell_share(run, label), 1)


def test_a_reflection_beyond_the_image_is_no_part_of_the_cell(smear, bundle, tmp_path):
    labels = np.zeros(smear.labels.shape, np.int32)
    labels[:40, :40] = 1
    run = analyze(smear.image, bundle, labels, tmp_path / "corner.cytosae")
    y0, _, y1, _ = run.boxes[0]
    assert y0 < 0
    reflected = int(np.floor(-y0 / (y1 - y0) * 16))
    share = cell_share(run, 1)
    assert not share[:reflected].any()
    assert not share[:, :reflected].any()
    assert share.any()
