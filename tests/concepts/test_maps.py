import numpy as np
import pytest
from made_images import make_cells, make_image
from random_cells import D_SAE, cell_from_dense, random_dense

from napari_cytosae.concepts import analyze, colour_by, paint_maps, place_map, place_maps
from napari_cytosae.concepts.maps import placed, placed_within
from napari_cytosae.errors import RunError


@pytest.fixture(scope="module")
def run(bundle, tmp_path_factory):
    return analyze(
        make_image(), bundle, make_cells(9), tmp_path_factory.mktemp("maps") / "x.cytosae",
        precision="float32", device="cpu",
    )  # fmt: skip


@pytest.fixture
def strongest(run):
    return int(run.concepts["frequency"].argmax())


def test_a_map_lies_where_its_crop_was_cut():
    # A crop of 32 px at (10, 20): patches of 2 px; the first covers pixels 10 and 11, 20 and 21.
    place = placed(np.zeros((16, 16), np.float32), np.array([10.0, 20.0, 42.0, 52.0]))
    assert place.scale == (2.0, 2.0)
    assert place.translate == (10.5, 20.5)


def test_a_map_of_pixel_sized_patches_paints_the_very_pixels():
    values = cell_from_dense(random_dense(0, 0.5)).concept_map(3)
    canvas = paint_maps(values[None], np.array([[4.0, 7.0, 20.0, 23.0]]), (30, 40), downsample=1)
    expected = np.zeros((30, 40), np.float32)
    expected[4:20, 7:23] = values
    np.testing.assert_array_equal(canvas.values, expected)
    assert canvas.scale == (1.0, 1.0)
    assert canvas.translate == (0.0, 0.0)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("box", [[-8, 5, 56, 69], [3, 30, 67, 94], [-20, -9, 44, 55]])
def test_a_map_at_the_border_shows_what_lies_on_the_slide(box, smooth):
    values = np.arange(1, 257, dtype=np.float32).reshape(16, 16)
    shape = (50, 61)
    seen = placed_within(values, np.array(box, float), shape, smooth=smooth)
    whole = paint_maps(values[None], np.array([box], float), shape, downsample=1, smooth=smooth)
    y, x = (int(edge) for edge in seen.translate)
    height, width = seen.values.shape
    assert seen.scale == (1.0, 1.0)
    np.testing.assert_array_equal(whole.values[y : y + height, x : x + width], seen.values)
    assert np.count_nonzero(whole.values) == seen.values.size


def test_a_map_within_the_slide_stays_as_it_is():
    values = np.ones((16, 16), np.float32)
    box = np.array([0.0, 0.0, 32.0, 32.0])
    seen = placed_within(values, box, (32, 40))
    assert seen.values is values
    assert (seen.scale, seen.translate) == ((2.0, 2.0), (0.5, 0.5))


@pytest.mark.parametrize("downsample", [1, 2, 3, 4])
def test_every_canvas_pixel_shows_the_patch_under_its_centre(downsample):
    values = np.arange(1, 257, dtype=np.float32).reshape(16, 16)
    y0, x0, side = -8.0, 5.0, 64.0
    canvas = paint_maps(
        values[None], np.array([[y0, x0, y0 + side, x0 + side]]), (50, 61), downsample=downsample
    )
    assert canvas.values.shape == (-(-50 // downsample), -(-61 // downsample))
    for i, j in np.ndindex(canvas.values.shape):
        y, x = (np.array([i, j]) + 0.5) * downsample  # the centre, counted from the slide's edge
        row, column = int((y - y0) // 4), int((x - x0) // 4)
        inside = 0 <= row < 16 and 0 <= column < 16
        assert canvas.values[i, j] == (values[row, column] if inside else 0)


def test_where_crops_overlap_the_larger_value_shows():
    maps = np.stack([np.full((16, 16), value, np.float32) for value in (2.0, 3.0, 1.0)])
    boxes = np.array([[0, 0, 16, 16], [8, 8, 24, 24], [12, 12, 28, 28]], float)
    values = paint_maps(maps, boxes, (32, 32), downsample=1).values
    assert values[4, 4] == 2.0
    assert values[10, 10] == values[14, 14] == values[20, 20] == 3.0
    assert values[26, 26] == 1.0
    assert values[30, 30] == 0.0


def test_smooth_maps_keep_the_values_at_patch_centres():
    values = cell_from_dense(random_dense(1, 0.4)).concept_map(5)
    boxes = np.array([[0.0, 0.0, 48.0, 48.0]])  # patches of 3 px: a pixel's centre in each middle
    smooth = paint_maps(values[None], boxes, (48, 48), downsample=1, smooth=True).values
    np.testing.assert_allclose(smooth[1::3, 1::3], values, atol=1e-6)
    assert smooth.max() <= values.max() + 1e-6


def test_a_large_slide_gets_a_canvas_of_bounded_size():
    maps = np.ones((1, 16, 16), np.float32)
    canvas = paint_maps(maps, np.array([[0.0, 0.0, 64.0, 64.0]]), (40_000, 60_000))
    assert canvas.values.size <= 32_000_000
    assert canvas.values.any()


def test_maps_can_be_kept_within_the_cells(run, strongest):
    within = place_maps(run, strongest, downsample=1, within_cells=True).values
    anywhere = place_maps(run, strongest, downsample=1).values
    assert within.any()
    assert not within[run.labels == 0].any()
    assert (within <= anywhere).all()


def test_one_cells_map_and_the_canvas_agree(run, strongest):
    label = int(run.table["label"][4])
    place = place_map(run, label, strongest)
    np.testing.assert_array_equal(place.values, run.concept_map(label, strongest))
    canvas = place_maps(run, strongest, downsample=1).values
    rows, columns = (
        np.rint(start + np.arange(16) * step).astype(int)
        for start, step in zip(place.translate, place.scale, strict=True)
    )
    inside = np.ix_((rows >= 0) & (rows < 160), (columns >= 0) & (columns < 240))
    at = canvas[np.ix_(rows[(rows >= 0) & (rows < 160)], columns[(columns >= 0) & (columns < 240)])]
    assert (at >= place.values[inside]).all()  # neighbours may be stronger, never weaker


def test_maps_of_all_cells_are_the_maps_of_each(run):
    for concept_id in range(0, run.d_sae, 13):
        np.testing.assert_array_equal(
            run.concept_maps(concept_id),
            [run.concept_map(label, concept_id) for label in run.table["label"]],
        )


@pytest.mark.parametrize(
    ("statistic", "layer"), [("mean", None), ("max", "max"), ("count", "count")]
)
def test_cells_are_coloured_by_their_profile(run, strongest, statistic, layer):
    matrix = run.adata.X if layer is None else run.adata.layers[layer]
    strengths = colour_by(run, strongest, statistic)
    assert list(strengths) == list(run.table["label"])
    np.testing.assert_array_equal(
        list(strengths.values()), matrix[:, [strongest]].toarray().ravel()
    )


def test_a_patch_lists_what_is_active_there(run):
    label = int(run.table["label"][2])
    concepts = run.concepts_at(label, (7, 9))
    assert concepts
    for concept in concepts:
        assert concept.activation == run.concept_map(label, concept.concept_id)[7, 9]
    silent = set(range(run.d_sae)) - {concept.concept_id for concept in concepts}
    assert all(run.concept_map(label, concept_id)[7, 9] == 0 for concept_id in silent)


def test_an_unknown_cell_is_told_the_nearest(run):
    with pytest.raises(RunError, match=r"no cell 7 .* nearest label is 8"):
        run.active_concepts(7)


@pytest.mark.parametrize("ask", ["concept_maps", "strengths"])
def test_an_unknown_concept_is_told_which_there_are(run, ask):
    with pytest.raises(RunError, match="0 to 95"):
        getattr(run, ask)(D_SAE + 1000)
