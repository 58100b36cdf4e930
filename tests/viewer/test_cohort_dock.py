"""Patients are opened, compared, looked at and told apart in the Cohort dock."""

from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow
from window_actions import until

from napari_cytosae.cohorts import SyntheticOptions, make_cohort, write_barcodes
from napari_cytosae.cohorts.classification import ClassificationOptions
from napari_cytosae.concepts.naming import Names
from napari_cytosae.slides import SampleSmear
from napari_cytosae.viewer.analysis_work import ModelChoice
from napari_cytosae.viewer.cohort_cells_work import FIRST, SECOND
from napari_cytosae.viewer.cohort_dock import CohortDock
from napari_cytosae.viewer.extract_work import ExtractRequest

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(viewer: napari.Viewer) -> CohortDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Cohort")
    dock.options = ClassificationOptions(
        folds=3, repeats=1, n_permutations=3, curve=(), curve_repeats=1
    )
    QApplication.processEvents()
    return dock


@pytest.fixture
def made(tmp_path: Path) -> Path:
    cohort = make_cohort(
        SyntheticOptions(
            patients={"healthy": 7, "AML": 7}, n_concepts=50, log_odds=2.5, median_cells=50,
            n_sites=2, site_log_odds=2.0, confounding=1.0,
        )
    )  # fmt: skip
    named = replace(cohort.barcodes, stored_names=Names({n: f"granules {n}" for n in range(50)}))
    return write_barcodes(named, tmp_path / "made.h5ad")


def opened(dock: CohortDock, path: Path) -> CohortDock:
    dock.open_cohort(path)
    until(lambda: dock.comparison is not None and not dock.jobs.busy)
    return dock


def test_an_empty_dock_says_what_to_do_and_lies_below(dock: CohortDock) -> None:
    assert "Open a cohort" in dock.status.text
    assert not dock.tabs.isEnabled()
    holder = dock.parentWidget()
    assert isinstance(holder, QDockWidget)
    window = holder.parentWidget()
    assert isinstance(window, QMainWindow)
    assert window.dockWidgetArea(holder) == Qt.DockWidgetArea.BottomDockWidgetArea


def test_a_cohort_is_listed_and_compared(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    assert "14 patients" in dock.patients.title.text()
    assert len(dock.table.patients.rows) == 14
    assert dock.comparison.first == "AML"
    assert dock.patient == dock.cohort.barcodes.patients.index[0]
    dock.compared.second.setCurrentText("healthy")
    dock.compared.second.activated.emit(dock.compared.second.currentIndex())
    until(lambda: not dock.jobs.busy and dock.comparison.second == "healthy")
    dock.compared.first.setCurrentText("healthy")
    dock.compared.first.activated.emit(1)
    assert "differ" in dock.status.text


@pytest.mark.parametrize("volcano", [0, 1])
def test_a_click_on_a_point_chooses_its_concept(dock: CohortDock, made: Path, volcano: int) -> None:
    opened(dock, made)
    dock.compared.kind.setCurrentIndex(volcano)
    dock.compared.kind.activated.emit(volcano)
    plot = dock.compared.plot
    plot.draw()
    axes = plot.figure.axes[0]
    x, y = plot.places()
    place = axes.transData.transform((x[0], y[0]))
    plot.callbacks.process("button_press_event", press(plot, axes, place))
    concept = int(dock.comparison.table["concept_id"].iloc[0])
    assert dock.concept == concept
    assert dock.session.concept == concept
    assert f"#{concept} granules {concept}" in dock.compared.cells.message.text()
    until(lambda: not dock.compared.cells.jobs.busy)
    tiles = dock.compared.cells.strips[FIRST].tiles
    assert tiles
    assert "not kept" in tiles[0].note
    dock.compared.cells.go_to.emit(tiles[0].what)
    assert "not kept" in dock.status.text
    ring = plot._ring.get_offsets()[0]
    np.testing.assert_allclose(ring, (x[0], y[0]))


def press(plot, axes, place):
    from matplotlib.backend_bases import MouseEvent

    event = MouseEvent("button_press_event", plot, *place, button=1)
    event.inaxes = axes
    return event


def test_a_patient_is_shown_against_its_disease(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    dock.tabs.setCurrentWidget(dock.barcode)
    patient = dock.table.patients.rows[9][0]
    dock.table.choose(patient)
    assert dock.patient == patient
    words = [t.get_text() for t in dock.barcode.plot.figure.axes[0].get_legend().get_texts()]
    assert patient in words
    dock.tabs.setCurrentWidget(dock.overview)
    assert dock.overview.heatmap.figure.axes
    assert dock.overview.correlation.figure.axes


def test_patients_are_told_apart_with_a_reason_and_a_warning(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    dock.classification.start.click()
    assert dock.status.cancel.isVisible()
    until(lambda: dock.classified is not None and not dock.jobs.busy)
    assert "Weighted F1" in dock.classification.verdict.text()
    assert "not a diagnosis" in dock.classification.verdict.text()
    assert "site alone predicts" in dock.classification.verdict.text()
    assert dock.table.patients.rows[0][3] in ("AML", "healthy")
    assert not dock.table.isColumnHidden(3)
    title = dock.why.head.text()
    assert title.startswith(dock.patient)
    dock.table.choose(dock.table.patients.rows[12][0])
    assert dock.why.head.text() != title
    row = list(dock.cohort.barcodes.patients.index).index(dock.patient)
    seen = dock.classified.model_of[row].facts["patients"]
    assert seen < 14  # the model that explains has not seen the patient


def test_what_if_concepts_were_absent(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    assert "Classify the patients" in dock.why.head.text()
    assert not dock.why.tick.isEnabled()
    dock.classification.start.click()
    until(lambda: dock.classified is not None and not dock.jobs.busy)
    page = dock.why
    dock.tabs.setCurrentWidget(page)
    assert dock.patient in page.head.text()
    np.testing.assert_array_equal(page.changed["change"], 0.0)  # nothing is ticked
    page.tick.click()
    assert len(page.list.ticked_ids) == 5
    assert page.changed.loc[page.target.currentData(), "change"] < 0
    page.untick.click()
    assert not page.list.ticked_ids
    for view in (1, 2):
        page.view.setCurrentIndex(view)
        page.view.activated.emit(view)
        until(lambda: not page.masking.busy and page.curve is not None)
        assert page.plot.figure.axes
    until(lambda: not page.cells.jobs.busy)
    assert page.exports()[0].title.startswith("Contributions")


def test_telltale_cells_come_with_the_concepts_that_tell(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    page = dock.specific
    dock.tabs.setCurrentWidget(page)
    page.disease.setCurrentIndex(page.disease.findData("AML"))
    for place in range(page.whose.count()):
        page.whose.setCurrentIndex(place)
        page.find.click()
        until(lambda: not page.cells.jobs.busy)
        assert page.cells.head.text()
        assert not page.stop.isVisible()
    assert "No run is on show" in page.cells.head.text()  # the last choice is the slide on show
    page.whose.setCurrentIndex(1)
    page.find.click()
    until(lambda: not page.cells.jobs.busy)
    table = page.specific.table
    assert (table["share_first"] > table["share_second"]).all()
    assert page.list.topLevelItemCount() == len(table) > 0
    page.list.setCurrentItem(page.list.topLevelItem(0))
    assert dock.session.concept == int(table["concept_id"].iloc[0])


def test_the_form_says_what_is_missing(dock: CohortDock, tmp_path: Path) -> None:
    dock.show_form()
    assert dock.pages.currentWidget() is dock.form
    dock.form.start.click()
    assert "Choose a table of patients" in dock.status.text
    dock.form.source.setText(str(tmp_path / "none.csv"))
    dock.form.start.click()
    assert "There is no" in dock.status.text
    (tmp_path / "empty.csv").write_text("patient,diagnosis,image\n")
    dock.form.source.setText(str(tmp_path / "empty.csv"))
    dock.form.start.click()
    until(lambda: not dock.jobs.busy)
    assert "empty.csv" in dock.status.text
    dock.form.close_button.click()
    assert dock.pages.currentWidget() is dock.tabs


def test_a_classification_can_be_cancelled(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    dock.options = ClassificationOptions(folds=3, repeats=50, n_permutations=50)
    dock.classification.start.click()
    dock.status.cancel.click()
    until(lambda: not dock.jobs.busy)
    assert dock.classified is None
    assert "Stopped" in dock.status.text
    assert not dock.status.cancel.isVisible()


def test_what_cannot_be_opened_is_told(dock: CohortDock, tmp_path: Path, made: Path) -> None:
    dock.open_cohort(tmp_path / "none.h5ad")
    until(lambda: not dock.jobs.busy)
    assert "does not exist" in dock.status.text
    opened(dock, made)
    dock.classification.by_site.setCurrentIndex(1)
    dock.classification.start.click()
    until(lambda: not dock.jobs.busy)
    assert "have one site" in dock.status.text


def test_pinned_concepts_wear_their_hue(dock: CohortDock, made: Path) -> None:
    opened(dock, made)
    before = len(dock.compared.plot.figure.axes[0].collections)
    dock.session.toggle_pin(int(dock.comparison.table["concept_id"].iloc[3]))
    assert len(dock.compared.plot.figure.axes[0].collections) == before + 1


@pytest.mark.slow
def test_a_table_is_analysed_and_its_cells_are_gone_to(
    dock: CohortDock, viewer: napari.Viewer, tiny_bundle: Path, smear: SampleSmear, tmp_path: Path
) -> None:
    rows = ["patient,diagnosis,image"]
    for number in range(6):
        turned = np.rot90(smear.image[:, : 640 - 64 * (number // 4)], number)
        Image.fromarray(turned).save(tmp_path / f"{number}.png", dpi=(254_000, 254_000))
        rows.append(f"p{number},{('AML', 'healthy')[number % 2]},{number}.png")
    (tmp_path / "clinic.csv").write_text("\n".join(rows))
    model = ModelChoice(name=str(tiny_bundle))
    dock.tasks.extract(ExtractRequest(tmp_path / "clinic.csv", tmp_path / "clinic.cohort", model))
    until(lambda: dock.comparison is not None and not dock.jobs.busy, 180)
    assert dock.cohort.folder == tmp_path / "clinic.cohort"
    dock.choose_concept(int(dock.comparison.table["concept_id"].iloc[0]))
    until(lambda: not dock.compared.cells.jobs.busy)
    tiles = [tile for group in (FIRST, SECOND) for tile in dock.compared.cells.strips[group].tiles]
    assert tiles
    assert all(tile.picture is not None for tile in tiles)
    dock.compared.cells.go_to.emit(tiles[0].what)
    assert dock.session.selected == tiles[0].what.cell
    assert dock.session.results.run.path.resolve() == tiles[0].what.run.resolve()
    assert viewer.layers

    dock.options = replace(dock.options, folds=2, inner_folds=2)
    dock.classification.shuffle.setChecked(False)
    dock.classification.start.click()
    until(lambda: dock.classified is not None and not dock.jobs.busy, 60)
    dock.tabs.setCurrentWidget(dock.why)
    until(lambda: not dock.why.cells.jobs.busy, 60)
    shown = dock.why.cells.strip.tiles
    assert shown
    assert all(tile.picture is not None for tile in shown)
    dock.tabs.setCurrentWidget(dock.specific)
    dock.specific.whose.setCurrentIndex(dock.specific.whose.count() - 1)
    dock.specific.find.click()
    until(lambda: not dock.specific.cells.jobs.busy, 60)
    assert dock.specific.cells.strip.tiles or "specific" in dock.specific.cells.head.text()
