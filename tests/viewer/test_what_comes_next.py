"""What a person does after the first run: the next image, the next click, other settings, keys."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_actions import add_smear, analysed, click, until, world_of

from napari_cytosae.cells import detect_cells
from napari_cytosae.concepts import AnalysisJob, Run, analyze, analyze_steps
from napari_cytosae.slides import SampleSmear, Slide, sample_smear
from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.open_window import open_in_napari

pytestmark = pytest.mark.gui
Open = Callable[..., CytoSAEDock]


def middle_of_a_cell(image: np.ndarray, row: int = 0) -> tuple[int, ...]:
    labels = detect_cells(image, microns_per_pixel=0.1)
    inside = np.argwhere(labels.labels == labels.table["label"].iloc[row])
    return tuple(inside[len(inside) // 2])


def press(dock: CytoSAEDock, widget: Any, key: Qt.Key) -> None:
    dock.window().activateWindow()
    widget.setFocus()
    QApplication.processEvents()
    QTest.keyClick(widget, key)
    QApplication.processEvents()


def test_a_click_on_the_next_image_looks_at_the_next_image(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    other = sample_smear(seed=9, shape=(420, 640))
    # Beside the first one, as two fields of a slide may lie.
    second = add_smear(viewer, other, translate=(3.0, 100.0))
    assert dock.form.layer is second
    click(viewer, world_of(second, middle_of_a_cell(other.image)))
    until(lambda: not dock.jobs.busy)
    assert dock.session.source is second
    assert dock.panel.concepts.rows


def test_another_crop_size_counts_for_the_next_click(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    at = world_of(image, middle_of_a_cell(smear.image))
    sides = []
    for crop_um in (25.0, 18.0):
        dock.form.crop_um.setValue(crop_um)
        click(viewer, at)
        until(lambda: not dock.jobs.busy)
        y0, _, y1, _ = dock.session.results.answer(dock.session.selected).box
        sides.append(y1 - y0)
    assert sides == [250, 180]


def test_the_cell_that_was_clicked_stays_selected_when_all_are_run(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    at = middle_of_a_cell(smear.image, row=2)
    click(viewer, world_of(image, at))
    until(lambda: not dock.jobs.busy)
    analysed(dock)
    assert dock.session.results.run is not None
    assert dock.session.selected == dock.session.results.labels[at] > 0
    assert dock.panel.concepts.rows


def test_other_cells_count_for_the_next_click(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = open_dock()
    at = world_of(image, middle_of_a_cell(smear.image))
    click(viewer, at)
    until(lambda: not dock.jobs.busy)
    dock.form.cells.setCurrentIndex(dock.form.cells.findData("whole"))
    click(viewer, at)
    until(lambda: not dock.jobs.busy)
    assert len(dock.session.results) == 1
    assert dock.session.results.geometry.whole


def test_a_dock_that_was_closed_and_opened_again_goes_on(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    first = analysed(open_dock())
    concept = first.session.results.active_concepts(1)[0].concept_id
    first.session.toggle_pin(concept)
    viewer.window.remove_dock_widget(first)
    first.deleteLater()
    QTest.qWait(100)
    until(lambda: True)
    second = open_dock()
    # What the first one drew still is known as a result, and is not drawn twice.
    assert second.form.image.count() == 1
    layers = len(viewer.layers)
    viewer.add_image(np.zeros((30, 30, 3), np.uint8), rgb=True, name="another")
    second.form.choose_layer(image)
    analysed(second)
    second.session.select(second.session.results.cell_labels[0])
    assert "went wrong" not in second.run_bar.message.text()
    assert len([layer for layer in viewer.layers if layer.name.startswith("cells of")]) == 1
    assert len(viewer.layers) <= layers + 2


def test_run_pressed_again_at_once_waits_for_its_turn(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()
    failures: list[BaseException] = []
    dock.jobs.failed.connect(failures.append)
    for _ in range(3):
        dock.run()
        QTest.qWait(60)
    until(lambda: not dock.jobs.busy)
    assert not failures
    assert not dock.session.results.run.unfinished


def unfinished_run(smear: SampleSmear, tiny_bundle: Path, folder: Path) -> tuple[Path, Run]:
    """Stop an analysis after its first shard; one cell per shard."""
    import napari_cytosae.concepts.analysis as analysis

    whole = analysis.SHARD_CELLS
    analysis.SHARD_CELLS = 1
    try:
        file = smear.save(folder)
        job = AnalysisJob(
            image=file, bundle=str(tiny_bundle), out=folder / "half.cytosae", batch_cells=1
        )
        steps: Iterator[Any] = analyze_steps(job)
        encoded = (step for step in steps if hasattr(step, "activations"))
        list(islice(encoded, 2))
        steps.close()
    finally:
        analysis.SHARD_CELLS = whole
    run = Run(folder / "half.cytosae")
    assert run.unfinished
    assert 0 < run.encoded.sum() < len(run)
    return file, run


def test_an_unfinished_run_shows_what_it_has(
    viewer: napari.Viewer,
    open_dock: Open,
    smear: SampleSmear,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    file, run = unfinished_run(smear, tiny_bundle, tmp_path)
    image = add_smear(viewer, smear)
    dock = open_dock()
    dock.show_run(run, Slide.open(file), image)
    results = dock.session.results
    label = int(run.table["label"][run.encoded].iloc[0])
    concept = run.active_concepts(label, k=1)[0]
    encoded = [int(each) for each in run.table["label"][run.encoded]]
    maxima = [
        each.maximum
        for cell in encoded
        for each in run.active_concepts(cell)
        if each.concept_id == concept.concept_id
    ]
    assert results.full_scale(concept.concept_id) == pytest.approx(max(maxima))
    assert results.strengths(concept.concept_id)[label] == pytest.approx(concept.activation)
    assert results.canvas(concept.concept_id, smooth=False).values.max() > 0
    row = dock.layers.cells.features.set_index("index").loc[label]
    assert row["concept_1"] == f"#{concept.concept_id}"


def test_keys_do_what_the_page_says(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    panel, session = dock.panel, dock.session
    labels = session.results.cell_labels
    press(dock, panel.crop, Qt.Key.Key_N)
    assert session.selected == labels[0]
    press(dock, panel.crop, Qt.Key.Key_N)
    press(dock, panel.crop, Qt.Key.Key_P)
    assert session.selected == labels[0]
    press(dock, panel.crop, Qt.Key.Key_Right)
    assert session.patch == (8, 8)
    press(dock, panel.crop, Qt.Key.Key_Right)
    press(dock, panel.crop, Qt.Key.Key_Up)
    assert session.patch == (7, 9)
    press(dock, panel.crop, Qt.Key.Key_Escape)
    assert session.patch is None
    panel.concepts.setCurrentIndex(panel.concepts.model().index(0))
    concept = panel.concepts.chosen_id()
    press(dock, panel.concepts, Qt.Key.Key_Return)
    assert list(session.pins) == [concept]
    layer = dock.layers.map_layer(concept)
    press(dock, panel.concepts, Qt.Key.Key_1)
    assert not layer.visible
    press(dock, panel.concepts, Qt.Key.Key_1)
    assert layer.visible
    panel.crop.setFocus()
    QTest.keyPress(panel.crop, Qt.Key.Key_Space)
    assert not layer.visible
    assert not dock.layers.cells.visible
    QTest.keyRelease(panel.crop, Qt.Key.Key_Space)
    assert layer.visible
    assert dock.layers.cells.visible


def test_numbers_are_typed_into_fields_and_not_taken_for_keys(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = open_dock()
    dock.window().activateWindow()
    dock.form.pixel.setFocus()
    dock.form.pixel.selectAll()
    QTest.keyClicks(dock.form.pixel, "0.1235")
    QTest.keyClick(dock.form.pixel, Qt.Key.Key_Return)
    assert dock.form.pixel.value() == pytest.approx(0.1235)
    assert dock.form.pixel_origin.text() == "typed"


def test_a_damaged_bundle_of_ones_own_does_not_keep_the_dock_from_opening(
    viewer: napari.Viewer, open_dock: Open, home: Path
) -> None:
    folder = home / "bundles" / "mine"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{ not json")
    assert open_dock().form.model.count() >= 3


def test_a_click_on_a_large_image_looks_around_the_click(
    viewer: napari.Viewer, open_dock: Open
) -> None:
    field = sample_smear(seed=3, shape=(420, 640)).image
    image = viewer.add_image(
        np.tile(field, (5, 4, 1)), rgb=True, scale=(0.1, 0.1), units=("um", "um"), name="large"
    )
    y, x = middle_of_a_cell(field)
    dock = open_dock()
    for shift in (0, 4):
        at = (y + 420 * shift, x + 640 * (shift > 0) * 3)
        click(viewer, world_of(image, at))
        until(lambda: not dock.jobs.busy)
        row = dock.session.results.row(dock.session.selected)
        assert abs(row["centroid_y"] - at[0]) < 60
        assert abs(row["centroid_x"] - at[1]) < 60
        assert dock.session.results.labels[at] == dock.session.selected


def test_view_opens_a_run_with_its_image_and_cells(
    smear: SampleSmear,
    tiny_bundle: Path,
    tmp_path: Path,
    viewer: napari.Viewer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = analyze(smear.save(tmp_path), bundle=str(tiny_bundle))
    monkeypatch.setattr(napari, "Viewer", lambda **_: viewer)
    opened = open_in_napari(run.path, block=False)
    (image,) = (layer for layer in opened.layers if isinstance(layer, Image))
    assert image.scale[0] == pytest.approx(smear.microns_per_pixel)
    (cells,) = (layer for layer in opened.layers if layer.name.startswith("cells of"))
    assert len(cells.features) == len(run)


def test_shift_click_shows_what_differs_between_two_cells(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    image = add_smear(viewer, smear)
    dock = analysed(open_dock())
    session, panel = dock.session, dock.panel
    first, second, third = session.results.cell_labels[:3]
    places = {
        label: world_of(image, tuple(session.results.row(label)[["centroid_y", "centroid_x"]]))
        for label in (first, second, third)
    }
    click(viewer, places[first])
    click(viewer, places[second], modifiers=("Shift",))
    assert session.cells == [first, second]
    assert not panel.other.isHidden()
    assert panel.facts.isHidden()
    differences = session.results.run.compare(first, second)
    assert [row.concept_id for row in panel.concepts.rows] == [d.concept_id for d in differences]
    assert panel.concepts.rows[0].strength == pytest.approx(differences[0].difference)
    rings = next(layer for layer in viewer.layers if layer.name == "also selected")
    assert rings.visible
    assert len(rings.data) == 1
    assert dock.form.cells.findText("also", Qt.MatchFlag.MatchContains) < 0
    click(viewer, places[third], modifiers=("Shift",))
    assert session.cells == [first, second, third]
    click(viewer, places[third], modifiers=("Shift",))
    click(viewer, places[first], modifiers=("Shift",))
    assert session.cells == [second]
    assert not rings.visible
    assert panel.title.text() == f"Cell {second}"
    session.select_also(first)
    press(dock, panel.crop, Qt.Key.Key_Escape)
    assert session.cells == [second]
