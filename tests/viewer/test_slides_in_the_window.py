"""Slides and regions of interest in a real window."""

import re
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pytest
from window_actions import add_smear, analysed, click, until, world_of

from napari_cytosae.cells import PaintedLabels, detect_cells
from napari_cytosae.cells import survey as survey_module
from napari_cytosae.cells.outline import Outline
from napari_cytosae.concepts import analysis, label_writer, schedule
from napari_cytosae.concepts.stored_labels import StoredLabels
from napari_cytosae.slides import SampleSmear, Slide
from napari_cytosae.viewer.analysis_work import AnalysisRequest, ModelChoice, encode_clicked
from napari_cytosae.viewer.cell_layer_values import layer_data
from napari_cytosae.viewer.go_to import camera_of
from napari_cytosae.viewer.in_view import box_in_view
from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.strength_levels import Shades

pytestmark = pytest.mark.gui
Open = Callable[..., CytoSAEDock]


@pytest.fixture
def small_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any image for a slide, in small tiles."""
    monkeypatch.setattr(survey_module, "FIELD_PX", 300)
    monkeypatch.setattr(analysis, "tile_side", lambda survey: 200)
    monkeypatch.setattr(analysis, "SHARD_CELLS", 2)
    monkeypatch.setattr(label_writer, "_SMALLEST_PX", 200)


@pytest.fixture
def in_levels(viewer: napari.Viewer, smear: SampleSmear) -> napari.layers.Image:
    levels = [smear.image, smear.image[::2, ::2], smear.image[::4, ::4]]
    size = smear.microns_per_pixel
    look = {"scale": (size, size), "units": ("um", "um")}
    return viewer.add_image(levels, name="slide", rgb=True, multiscale=True, **look)


@pytest.mark.usefixtures("small_slides")
def test_cells_of_a_slide_are_a_pyramid_that_is_clicked_and_coloured(
    in_levels: napari.layers.Image, viewer: napari.Viewer, open_dock: Open
) -> None:
    counts = []
    dock = open_dock()
    dock.jobs.yielded.connect(lambda _: counts.append(len(dock.session.results or ())))
    analysed(dock)
    results = dock.session.results
    assert isinstance(results.labels, StoredLabels)
    assert counts[-1] == len(results) == len(results.run) > 3
    assert len(set(counts)) > 2  # cells came tile by tile
    assert dock.layers.cells.multiscale
    assert list(dock.layers.cells.features["index"]) == list(results.run.table["label"])
    assert (dock.layers.cells.features["concept_1"] != "").all()
    for cell in results.table.itertuples():
        inside = np.argwhere(np.asarray(results.labels) == cell.label)
        click(viewer, world_of(in_levels, inside[len(inside) // 2]))
        assert dock.session.selected == cell.label
        assert dock.panel.concepts.rows
    concept = dock.panel.concepts.rows[0].concept_id
    dock.layers.colour_by(concept)
    assert dock.layers.coloured.multiscale
    shades = np.asarray(dock.layers.coloured.data[0])
    labels = np.asarray(results.labels)
    assert ((shades > 0) == (labels > 0)).all()
    strengths = results.strengths(concept)
    strongest = max(strengths, key=strengths.get)
    assert set(np.unique(shades[labels == strongest])) == {255}
    other = dock.panel.concepts.rows[1].concept_id
    dock.layers.colour_by(other)
    assert f"#{other}" in dock.layers.coloured.name
    strengths = results.strengths(other)
    weakest = min(strengths, key=strengths.get)
    of_weakest = np.asarray(dock.layers.coloured.data[0])[labels == weakest]
    assert set(np.unique(of_weakest)) == {
        1 + round(254 * strengths[weakest] / max(strengths.values()))
    }
    assert dock.layers.coloured.name in viewer.layers


@pytest.mark.usefixtures("small_slides")
@pytest.mark.parametrize("at_work", [False, True])
def test_pinned_maps_of_a_slide_are_read_where_one_looks(
    in_levels: napari.layers.Image, viewer: napari.Viewer, open_dock: Open, at_work: bool
) -> None:
    dock = open_dock()
    dock.panel.smooth.setChecked(False)
    if at_work:  # a concept that is pinned in mid-run grows with it
        dock.run_bar.run.click()
        until(lambda: bool(dock.session.results and dock.session.results.fresh))
        first = next(iter(dock.session.results.fresh.values()))
        concept = first.active_concepts(k=1)[0].concept_id
        dock.session.toggle_pin(concept)
        until(lambda: not dock.jobs.busy)
    else:
        run = analysed(dock).session.results.run
        concept = run.active_concepts(int(run.table["label"].iloc[0]), k=1)[0].concept_id
        dock.session.toggle_pin(concept)
    results, layer = dock.session.results, dock.layers.map_layer(concept)
    assert layer.multiscale
    canvas = results.canvas(concept, smooth=False)
    np.testing.assert_allclose(np.asarray(layer.data[0]), canvas.values)
    np.testing.assert_allclose(layer.scale, in_levels.scale * canvas.scale)
    assert layer.contrast_limits[1] == results.full_scale(concept)
    dock.panel.smooth.setChecked(True)
    canvas = results.canvas(concept, smooth=True)
    np.testing.assert_allclose(np.asarray(layer.data[0]), canvas.values, atol=1e-5)
    assert layer.interpolation2d == "linear"
    dock.session.toggle_pin(concept)
    assert dock.layers.map_layer(concept) is None


def test_shades_of_a_piece_leave_out_cells_without_a_strength() -> None:
    shades = Shades({500_001: 2.0, 7: 1.0, 9: 0.0})
    piece = np.array([[0, 7, 9], [500_001, 8, 600_000]])
    np.testing.assert_array_equal(shades.of(piece), [[0, 128, 1], [255, 0, 0]])
    assert not Shades({}).of(piece).any()


class Endless:
    """An image of 400,000 × 500,000 px that is white but for a smear somewhere in it."""

    chunk_shape = (256, 256)
    shape, dtype = (400_000, 500_000, 3), np.dtype(np.uint8)

    def __init__(self, smear: np.ndarray, at: tuple[int, int]) -> None:
        self.smear, self.at = smear, at

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        rows, columns = (np.arange(part.start, part.stop) for part in key[:2])
        y, x = rows - self.at[0], columns - self.at[1]
        block = np.full((len(y), len(x), 3), 255, np.uint8)
        inside = np.ix_((y >= 0) & (y < len(self.smear)), (x >= 0) & (x < self.smear.shape[1]))
        block[inside] = self.smear[np.ix_(y[inside[0][:, 0]], x[inside[1][0]])]
        return block


def test_a_click_on_a_slide_keeps_only_the_cells_around_it(
    smear: SampleSmear, tiny_bundle: Path
) -> None:
    size, at = smear.microns_per_pixel, (300_000, 410_000)
    found = detect_cells(smear.image, microns_per_pixel=size)
    cell = found.table.iloc[1]
    slide = Slide.from_levels([Endless(smear.image, at)], microns_per_pixel=size)
    request = AnalysisRequest(
        slide=slide, file=None, cells="detect", model=ModelChoice(name=str(tiny_bundle)),
        bundle=None, out=tiny_bundle / "no-run", microns_per_pixel=size, crop_um=25.0,
        threshold=0.2, precision="float32", device="cpu",
    )  # fmt: skip
    yx = int(cell["centroid_y"]) + at[0], int(cell["centroid_x"]) + at[1]
    *_, clicked = encode_clicked(request, None, yx, lambda: False)
    results = clicked.results
    assert results.labels.shape == (400_000, 500_000)
    assert list(results.fresh) == [clicked.label]
    row = results.row(clicked.label)
    centre = row[["centroid_y", "centroid_x"]].to_numpy(float)
    np.testing.assert_allclose(centre, yx, atol=3)
    assert abs(row["area_px"] - cell["area_px"]) < 0.2 * cell["area_px"]  # other stain around it
    y0, x0, y1, x1 = results.extent_of(clicked.label)
    assert (results.labels[y0:y1, x0:x1] == clicked.label).sum() == row["area_px"]
    levels = layer_data(results.labels)
    assert max(levels[-1].shape) <= 2048
    seen = levels[3][y0 // 8 : y1 // 8 + 1, x0 // 8 : x1 // 8 + 1]
    assert (seen == clicked.label).sum() > row["area_px"] / 64


def test_painted_labels_half_as_large_show_every_cell() -> None:
    rng = np.random.default_rng(0)
    outlines = [
        Outline(int(y), int(x), np.pad(rng.random((int(h), int(w))) > 0.4, 1, constant_values=True))
        for y, x, h, w in rng.integers(0, 9, (40, 4))
    ]
    for number, outline in enumerate(outlines, start=1):
        painted = PaintedLabels((23, 21), [number], [outline])
        whole = np.zeros((24, 22), bool)
        whole[:23, :21] = np.asarray(painted) > 0
        expected = whole.reshape(12, 2, 11, 2).any(axis=(1, 3))
        half = painted.halved()
        assert half.shape == (12, 11)
        np.testing.assert_array_equal(np.asarray(half) > 0, expected)


@pytest.mark.usefixtures("small_slides", "in_levels")
def test_an_estimate_is_told_beside_the_window_and_dropped_with_its_question(
    open_dock: Open, tmp_path: Path
) -> None:
    dock = open_dock()
    assert dock.estimate.isVisible()
    dock.form.folder.setText(str(tmp_path))
    dock.estimate.button.click()
    assert dock.estimate.jobs.busy
    until(lambda: not dock.estimate.jobs.busy)
    said = dock.estimate.found.text()
    assert re.fullmatch(r"\d+ cells, \d+ s( \(up to \d+ s\))?, (under )?\d+ MB\.", said)
    assert not list(tmp_path.glob("*.cytosae"))
    dock.form.pixel.setValue(0.2)
    assert dock.estimate.found.text() != said
    dock.estimate.button.click()
    analysed(dock)  # takes the processor, and stops the estimate
    until(lambda: not dock.estimate.jobs.busy)
    assert dock.estimate.found.text() == "Stopped."


def test_a_field_needs_no_estimate(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    assert not open_dock().estimate.isVisible()


@pytest.mark.usefixtures("small_slides")
def test_the_window_tells_the_run_what_is_in_view(
    in_levels: napari.layers.Image, viewer: napari.Viewer, open_dock: Open, monkeypatch
) -> None:
    seen = []
    first = schedule._first
    monkeypatch.setattr(
        schedule, "_first", lambda tasks, view: seen.append(view) or first(tasks, view)
    )
    analysed(open_dock())
    assert seen[0] == box_in_view(in_levels)


def test_cells_within_a_drawn_shape_only(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    corners = [world_of(image, at) for at in [(0, 0), (0, 300), (419, 300), (419, 0)]]
    viewer.add_shapes([np.array(corners)], name="here")
    dock = open_dock()
    dock.form.choose_layer(image)
    everywhere = analysed(dock).session.results.table
    dock.form.where.setCurrentIndex(dock.form.where.findText("within “here”"))
    within = analysed(dock).session.results
    inside = everywhere[everywhere["centroid_x"] < 300]
    assert 0 < len(inside) < len(everywhere)
    assert list(within.table["label"]) == list(inside["label"])
    assert within.run.path.name.endswith("-2.cytosae")  # the whole image's run is kept


def test_cells_in_view_only(viewer: napari.Viewer, open_dock: Open, smear: SampleSmear) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    dock.form.choose_layer(image)
    everywhere = analysed(dock).session.results.table
    cell = everywhere.iloc[0]
    camera = camera_of(viewer)
    camera.center = (0, *world_of(image, (cell["centroid_y"], cell["centroid_x"])))
    camera.zoom *= 4
    whole = (0, 0, *smear.image.shape[:2])
    until(lambda: box_in_view(image) != whole)
    dock.form.where.setCurrentIndex(dock.form.where.findText("what is in view"))
    y0, x0, y1, x1 = box_in_view(image)
    seen = analysed(dock).session.results.table
    inside = everywhere["centroid_y"].between(y0 - 0.5, y1 - 0.5) & everywhere[
        "centroid_x"
    ].between(x0 - 0.5, x1 - 0.5)
    assert 0 < inside.sum() < len(everywhere)
    assert list(seen["label"]) == list(everywhere["label"][inside])


def test_lines_are_no_region(viewer: napari.Viewer, open_dock: Open, smear: SampleSmear) -> None:
    image = add_smear(viewer, smear)
    viewer.add_shapes([np.array([(0, 0), (9, 9)])], shape_type="line", name="a line")
    dock = open_dock()
    dock.form.choose_layer(image)
    dock.form.where.setCurrentIndex(dock.form.where.findText("within “a line”"))
    dock.run_bar.run.click()
    assert "no closed shape" in dock.run_bar.message.text()
    assert not dock.jobs.busy
