"""The main job in a real window: open, run, click, read."""

from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.layers import Labels
from window_actions import add_smear, analysed, click, until, world_of

from napari_cytosae.cells import detect_cells
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides import SampleSmear
from napari_cytosae.viewer.main_dock import CytoSAEDock

pytestmark = pytest.mark.gui
Open = Callable[..., CytoSAEDock]


def a_cell(dock: CytoSAEDock, row: int = 0) -> tuple[int, tuple[float, float]]:
    """Label of a cell, and a pixel inside it."""
    results = dock.session.results
    label = results.cell_labels[row]
    inside = np.argwhere(results.labels == label)
    return label, tuple(inside[len(inside) // 2])


def test_empty_window_says_what_to_do_and_offers_the_sample(open_dock: Open) -> None:
    dock = open_dock()
    assert not dock.run_bar.run.isEnabled()
    assert "sample" in dock.run_bar.message.text()
    dock.sample.click()
    assert dock.form.layer is not None
    assert dock.run_bar.run.isEnabled()
    assert dock.form.pixel.value() > 0
    assert "layer" in dock.form.pixel_origin.text()
    assert not dock.sample.isVisible()


def test_run_finds_the_cells_and_a_click_lists_concepts(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    results = dock.session.results
    assert results.run is not None
    assert not results.run.unfinished
    expected = detect_cells(smear.image, microns_per_pixel=smear.microns_per_pixel)
    assert len(results) == len(expected.table) > 0

    label, inside = a_cell(dock)
    click(viewer, world_of(image, inside))
    assert dock.session.selected == label
    rows = dock.panel.concepts.rows
    wanted = results.run.active_concepts(label)
    assert [row.concept_id for row in rows] == [concept.concept_id for concept in wanted]
    assert rows[0].strength == pytest.approx(wanted[0].activation)
    assert f"Cell {label}" in dock.panel.title.text()
    assert "µm" in dock.panel.facts.text()


def test_result_layers_lie_on_the_image_and_carry_features(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    cells = dock.layers.cells
    assert isinstance(cells, Labels)
    for name in ("scale", "translate", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(cells, name), getattr(image, name))
    assert list(cells.features["index"]) == dock.session.results.cell_labels
    label, _ = a_cell(dock)
    top = dock.session.results.run.active_concepts(label, k=1)[0]
    row = cells.features.set_index("index").loc[label]
    assert row["concept_1"] == f"#{top.concept_id}"
    assert row["activation_1"] == pytest.approx(top.activation, rel=1e-5)


def test_a_pinned_map_shows_each_patch_where_it_is(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    dock.panel.smooth.setChecked(False)
    label, _ = a_cell(dock)
    dock.session.select(label)
    concept = dock.panel.concepts.rows[0].concept_id
    dock.session.toggle_pin(concept)
    layer = dock.layers.map_layer(concept)
    assert layer.units == image.units
    run = dock.session.results.run
    y0, x0, y1, x1 = run.boxes[0]
    maps = run.concept_maps(concept)
    for patch in [(8, 8), (3, 11), (12, 5)]:
        y = y0 + (patch[0] + 0.5) * (y1 - y0) / 16 - 0.5
        x = x0 + (patch[1] + 0.5) * (x1 - x0) / 16 - 0.5
        if not (0 <= y < smear.image.shape[0] and 0 <= x < smear.image.shape[1]):
            continue
        shown = layer.get_value(world_of(image, (y, x)), world=True)
        # Where crops overlap the larger value shows.
        assert shown >= maps[0][patch] - 1e-6
        assert shown in maps
    assert layer.colormap.map([0.0])[0, 3] == 0.0
    assert layer.blending == "translucent_no_depth"
    dock.session.toggle_pin(concept)
    assert dock.layers.map_layer(concept) is None


def test_hover_previews_over_the_cell_and_leaving_takes_it_away(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    run = dock.session.results.run
    height, width = image.data.shape[:2]
    inside = (run.boxes[:, :2] >= 0).all(axis=1) & (run.boxes[:, 2:] <= (height, width)).all(axis=1)
    (row, *_), (at_border, *_) = np.flatnonzero(inside), np.flatnonzero(~inside)
    label = int(run.table["label"].iloc[row])
    dock.session.select(label)
    concept = dock.panel.concepts.rows[0].concept_id
    dock.panel.concepts.hovered.emit(concept)
    (preview,) = [layer for layer in viewer.layers if layer.name == "concept preview"]
    assert preview.visible
    expected = dock.session.results.run.concept_map(label, concept)
    np.testing.assert_array_equal(preview.data, expected)
    y0, x0, y1, x1 = run.boxes[row]
    centre = world_of(image, ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5))
    np.testing.assert_allclose(preview.data_to_world((7.5, 7.5)), centre)
    dock.panel.concepts.hovered.emit(None)
    assert not preview.visible

    # Of a crop that reaches over the border, what lies on the image: nothing else is drawn anew.
    dock.session.select(int(run.table["label"].iloc[at_border]))
    dock.panel.concepts.hovered.emit(dock.panel.concepts.rows[0].concept_id)
    assert preview.visible
    low, high = preview.extent.world
    assert (low >= image.extent.world[0]).all()
    assert (high <= image.extent.world[1]).all()


def test_a_click_on_a_patch_narrows_the_list(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    label, _ = a_cell(dock)
    dock.session.select(label)
    dock.panel.crop.patch_clicked.emit((7, 9))
    run = dock.session.results.run
    wanted = {concept.concept_id for concept in run.concepts_at(label, (7, 9))}
    assert {row.concept_id for row in dock.panel.concepts.rows} == wanted
    assert "row 8" in dock.panel.heading.text()
    dock.panel.whole_cell.click()
    assert len(dock.panel.concepts.rows) == len(run.active_concepts(label))


def test_a_drag_selects_nothing(viewer: napari.Viewer, open_dock: Open, smear: SampleSmear) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    label, inside = a_cell(dock)
    click(viewer, world_of(image, inside), drag_px=30)
    assert dock.session.selected is None
    click(viewer, world_of(image, inside), drag_px=2)
    assert dock.session.selected == label


def test_a_click_without_a_run_encodes_just_that_cell(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    found = detect_cells(smear.image, microns_per_pixel=smear.microns_per_pixel)
    label = int(found.table["label"].iloc[1])
    inside = np.argwhere(found.labels == label)
    click(viewer, world_of(image, tuple(inside[len(inside) // 2])))
    until(lambda: not dock.jobs.busy)
    assert dock.session.selected == label
    assert list(dock.session.results.fresh) == [label]
    assert dock.session.results.run is None
    assert dock.panel.concepts.rows
    outside = np.argwhere(found.labels == 0)[0]
    click(viewer, world_of(image, tuple(outside)))
    until(lambda: not dock.jobs.busy)
    assert dock.session.selected is None
    assert "No nucleated cell" in dock.run_bar.message.text()


def test_the_same_run_opens_again_without_the_model(
    viewer: napari.Viewer,
    open_dock: Open,
    smear: SampleSmear,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    first = dock.session.results.run.path
    from napari_cytosae.models import Bundle

    def never(*_: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(Bundle, "tokens", never)
    analysed(dock)
    assert "cells" in dock.run_bar.message.text()
    assert dock.session.results.run.path == first


def test_another_crop_size_keeps_both_runs(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    first = dock.session.results.run.path
    dock.form.crop_um.setValue(20.0)
    analysed(dock)
    second = dock.session.results.run.path
    assert second != first
    assert first.exists()
    assert second.name == first.name.replace(".cytosae", "-2.cytosae")


def test_cells_come_from_a_labels_layer_with_their_ids(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    labels = np.zeros(smear.image.shape[:2], np.int32)
    labels[100:180, 100:180] = 41
    labels[220:300, 300:380] = 7
    viewer.add_labels(
        labels, name="mine", scale=image.scale, translate=image.translate, units=image.units
    )
    dock = open_dock()
    dock.form.cells.setCurrentIndex(dock.form.cells.findText("cells in “mine”"))
    analysed(dock)
    assert sorted(dock.session.results.cell_labels) == [7, 41]


def test_labels_of_another_image_are_refused_with_both_sizes(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    viewer.add_labels(np.ones((50, 60), np.int32), name="other")
    dock = open_dock()
    dock.form.cells.setCurrentIndex(dock.form.cells.findText("cells in “other”"))
    dock.run_bar.run.click()
    text = dock.run_bar.message.text()
    assert "50 × 60" in text
    assert "420 × 640" in text
    assert not dock.jobs.busy


@pytest.mark.parametrize("kind", ["points", "shapes"])
def test_marked_cells_are_read_in_the_images_pixels(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear, kind: str
) -> None:
    image = add_smear(viewer, smear)
    if kind == "points":
        viewer.add_points([world_of(image, (150, 200))], name="mine", size=5)
    else:
        corners = [world_of(image, at) for at in [(110, 160), (110, 240), (190, 240), (190, 160)]]
        viewer.add_shapes([np.array(corners)], name="mine")
    dock = open_dock()
    dock.form.choose_layer(image)
    dock.form.cells.setCurrentIndex(dock.form.cells.findText(f"{kind} in “mine”"))
    analysed(dock)
    (row,) = dock.session.results.table.itertuples()
    assert (row.centroid_y, row.centroid_x) == pytest.approx((150, 200), abs=1.0)


def test_cancel_keeps_what_is_done_and_run_goes_on(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()
    dock.run_bar.run.click()
    until(lambda: dock.session.results is not None)
    dock.run_bar.cancel.click()
    until(lambda: not dock.jobs.busy)
    until(lambda: dock.jobs.idle)
    analysed(dock)
    assert not dock.session.results.run.unfinished


def test_run_pressed_twice_ends_in_one_whole_run(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()
    dock.run()
    dock.run()
    until(lambda: not dock.jobs.busy)
    until(lambda: dock.jobs.idle)
    analysed(dock)
    assert not dock.session.results.run.unfinished


def test_removing_the_image_in_mid_run_ends_quietly(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    dock.run_bar.run.click()
    viewer.layers.remove(image)
    until(lambda: dock.jobs.idle)
    assert dock.session.results is None
    assert not dock.run_bar.run.isEnabled()


def test_closing_the_dock_in_mid_run_leaves_no_thread_and_no_callback(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()
    before = len(viewer.mouse_drag_callbacks)
    dock.run_bar.run.click()
    jobs = dock.jobs
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    until(lambda: len(viewer.mouse_drag_callbacks) == before - 1)
    assert jobs._cancel.is_set()


def test_renamed_and_deleted_layers_are_followed(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    image.name = "renamed"
    assert dock.form.image.currentText() == "renamed"
    concept = dock.session.results.run.active_concepts(a_cell(dock)[0])[0].concept_id
    dock.session.toggle_pin(concept)
    viewer.layers.remove(dock.layers.map_layer(concept))
    assert concept not in dock.session.pins
    viewer.layers.remove(dock.layers.cells)
    click(viewer, world_of(image, a_cell(dock)[1]))
    assert dock.session.selected is not None


def test_cells_coloured_by_a_concept_show_the_strongest_brightest(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    concept = dock.session.results.run.active_concepts(a_cell(dock)[0])[0].concept_id
    dock.panel.colour_pressed.emit(concept)
    strengths = dock.session.results.strengths(concept)
    strongest = max(strengths, key=strengths.get)
    colour = dock.layers.coloured.get_color(strongest)
    assert colour[:3] == pytest.approx([0.993, 0.906, 0.144], abs=0.01)  # viridis' end


def test_six_pins_and_no_more(viewer: napari.Viewer, open_dock: Open, smear: SampleSmear) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    label, _ = a_cell(dock)
    dock.session.select(label)
    rows = dock.panel.concepts.rows[:7]
    for row in rows:
        dock.panel.concepts.pin_toggled.emit(row.concept_id)
    assert list(dock.session.pins) == [row.concept_id for row in rows[:6]]
    assert len({dock.session.hue(concept) for concept in dock.session.pins}) == 6
    assert "unpin" in dock.run_bar.message.text()


def test_keys_step_through_cells(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    labels = dock.session.results.cell_labels
    dock.panel.next.click()
    assert dock.session.selected == labels[0]
    dock.panel.next.click()
    assert dock.session.selected == labels[1]
    dock.panel.previous.click()
    dock.panel.previous.click()
    assert dock.session.selected == labels[-1]


def test_two_viewers_keep_their_own_results(
    make_napari_viewer: Callable[..., napari.Viewer],
    viewer: napari.Viewer,
    open_dock: Open,
    smear: SampleSmear,
) -> None:
    add_smear(viewer, smear)
    other = make_napari_viewer(show=True)
    add_smear(other, smear)
    one, two = open_dock(viewer), open_dock(other)
    analysed(one)
    assert two.session.results is None
    one.session.select(one.session.results.cell_labels[0])
    assert two.session.selected is None


def test_a_grey_image_is_told_what_to_do(viewer: napari.Viewer, open_dock: Open) -> None:
    viewer.add_image(np.random.default_rng(0).random((200, 220)), name="grey")
    dock = open_dock()
    dock.run_bar.run.click()
    until(lambda: not dock.jobs.busy)
    assert "olour" in dock.run_bar.message.text()
    assert "Traceback" not in dock.run_bar.message.text()


def test_a_stack_is_told_what_to_do(viewer: napari.Viewer, open_dock: Open) -> None:
    viewer.add_image(np.zeros((3, 64, 64, 3), np.uint8), rgb=True, name="stack")
    dock = open_dock()
    dock.run_bar.run.click()
    assert "two-dimensional" in dock.run_bar.message.text()


def test_an_unforeseen_error_shows_its_kind_and_can_be_copied(
    viewer: napari.Viewer,
    open_dock: Open,
    smear: SampleSmear,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the card fell out")

    monkeypatch.setattr("napari_cytosae.models.load_bundle", broken, raising=False)
    dock.run_bar.run.click()
    until(lambda: not dock.jobs.busy)
    assert "RuntimeError" in dock.run_bar.message.text()
    assert "the card fell out" in dock.run_bar.message.text()
    dock.run_bar.message.linkActivated.emit("copy")
    from qtpy.QtGui import QGuiApplication

    assert "Traceback" in QGuiApplication.clipboard().text()


def test_a_run_from_the_command_line_is_the_same_run_in_the_window(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear, tmp_path: Path, tiny_bundle: Path
) -> None:
    import tifffile

    from napari_cytosae.concepts import analyze

    file = tmp_path / "field.tif"
    tifffile.imwrite(file, smear.image, photometric="rgb")
    run = analyze(file, bundle=str(tiny_bundle))
    viewer.open(file, plugin="napari")
    dock = analysed(open_dock())
    assert dock.session.results.run.path == run.path


def test_a_hostile_model_file_is_refused_by_name(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear, tmp_path: Path
) -> None:
    import os
    import pickle

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload()))
    add_smear(viewer, smear)
    dock = open_dock()
    from napari_cytosae.viewer.analysis_work import ModelChoice

    choice = ModelChoice(backbone=tmp_path / "evil.pth", sae=tmp_path / "evil.pth")
    dock.form.model.insertItem(0, choice.title, choice)
    dock.form.model.setCurrentIndex(0)
    dock.run_bar.run.click()
    until(lambda: not dock.jobs.busy)
    assert "evil.pth" in dock.run_bar.message.text()
    assert not (tmp_path / "owned").exists()


def test_request_needs_an_image(open_dock: Open) -> None:
    dock = open_dock()
    with pytest.raises(CytoSAEError, match="Open an image"):
        dock.form.request()
