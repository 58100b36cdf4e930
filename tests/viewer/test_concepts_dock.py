"""Concepts are listed, searched, looked at, marked and named in the Concepts dock."""

from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow
from window_actions import add_smear, analysed, until

from made_runs import make_run, measure_made_run
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.naming import dictionary_of
from napari_cytosae.models.registry import STARTER
from napari_cytosae.slides import SampleSmear
from napari_cytosae.viewer.concepts_bar import CELL, STARRED
from napari_cytosae.viewer.concepts_dock import ConceptsDock
from napari_cytosae.viewer.go_to import camera_of
from napari_cytosae.viewer.main_dock import CytoSAEDock

pytestmark = pytest.mark.gui
Open = Callable[..., CytoSAEDock]


@pytest.fixture
def concepts(viewer: napari.Viewer, home: Path) -> ConceptsDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
    QApplication.processEvents()
    return dock


def filled(dock: ConceptsDock) -> ConceptsDock:
    until(lambda: not dock.gallery.jobs.busy and dock.gallery.jobs.idle)
    return dock


def rows(dock: ConceptsDock) -> list[int]:
    return dock.table.concepts.ids.tolist()


def test_an_empty_dock_says_what_to_do(concepts: ConceptsDock) -> None:
    assert "Analyse an image" in concepts.message.text()
    assert concepts.table.concepts.rowCount() == 0
    assert not concepts.naming._fields.isEnabled()


def test_it_lies_below_the_image(concepts: ConceptsDock) -> None:
    dock = concepts.parentWidget()
    assert isinstance(dock, QDockWidget)
    window = dock.parentWidget()
    assert isinstance(window, QMainWindow)
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.BottomDockWidgetArea


def test_a_runs_concepts_are_listed_and_their_best_cells_shown(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    run = dock.session.results.run
    assert concepts.table.concepts.rowCount() == run.d_sae
    concept = int(run.concepts["frequency"].to_numpy().argmax())
    concepts.tabs.setCurrentWidget(concepts.gallery)
    concepts.table.selectRow(concepts.table.concepts.row_of(concept))
    assert dock.session.concept == dock.session.preview == concept
    (section,) = filled(concepts).gallery.sections.values()
    strip = section.strip
    strengths = dock.session.results.strengths(concept)
    best = sorted(strengths, key=lambda label: (-strengths[label], label))[: len(strip.tiles)]
    assert [tile.what.cell for tile in strip.tiles] == best
    assert all(tile.picture is not None for tile in strip.tiles)
    at = strip.tile_rect(1).center()
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=at)
    assert dock.session.selected == best[1]


def test_a_concept_is_shown_on_the_slide_and_its_cells_gone_through(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    session = dock.session
    concept = int(session.results.run.concepts["frequency"].to_numpy().argmax())
    concepts.tabs.setCurrentWidget(concepts.gallery)
    session.choose_concept(concept)
    (section,) = filled(concepts).gallery.sections.values()
    section.on_slide.click()
    assert concept in session.pins
    assert dock.layers.coloured is not None
    strengths = session.results.strengths(concept)
    best = sorted(
        (label for label in strengths if strengths[label] > 0),
        key=lambda label: (-strengths[label], label),
    )
    seen = []
    for _ in range(len(best) + 1):
        dock.panel.step(1)
        seen.append(session.selected)
    assert seen == [*best, best[0]]
    camera = camera_of(viewer)
    camera.zoom, camera.center = 40.0, (0.0, 0.0, 0.0)
    QApplication.processEvents()
    dock.panel.step(1)
    dock.panel.step(-1)
    row = session.results.row(best[0])
    there = session.source.data_to_world((row["centroid_y"], row["centroid_x"]))
    assert np.allclose(camera.center[1:], there, atol=row["box_y1"] - row["box_y0"])
    assert "no. 1 by" in dock.panel.title.text()
    assert f"#{concept}" in dock.panel.next.toolTip()
    dock.panel.step(-1)
    assert session.selected == best[-1]
    session.toggle_pin(concept)  # unpinned: in the table's order again
    dock.panel.step(1)
    labels = session.results.cell_labels
    assert session.selected == labels[(labels.index(best[-1]) + 1) % len(labels)]
    assert "by" not in dock.panel.title.text()
    for other in (each for each in range(20) if each != concept):
        session.toggle_pin(other)
    concepts.show_on_slide(concept)
    assert "all six colours" in concepts.message.text()


def test_a_data_set_gives_more_cells_where_it_has_more(
    concepts: ConceptsDock, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "slide.cytosae", 60, 1, distinct=40)
    concepts.session.show_atlas(Atlas.build(run.path, name="made", k=25))
    concepts.tabs.setCurrentWidget(concepts.gallery)
    concepts.session.choose_concept(5)
    (section,) = filled(concepts).gallery.sections.values()
    assert len(section.strip.tiles) == 10
    assert section.more.toolTip() == "15 more cells have it."
    section.more.click()
    (section,) = filled(concepts).gallery.sections.values()
    assert len(section.strip.tiles) == 25
    assert section.more.isHidden()
    concepts.session.choose_concept(6)  # and again few at first
    (section,) = filled(concepts).gallery.sections.values()
    assert len(section.strip.tiles) == 10


def test_data_sets_stand_side_by_side_where_there_is_room(concepts: ConceptsDock) -> None:
    concepts.session.show_atlas(Atlas.open(STARTER / "atlas"))
    concepts.tabs.setCurrentWidget(concepts.gallery)
    concepts.session.choose_concept(56)
    gallery = filled(concepts).gallery
    assert len(gallery.sections) == 3
    for width, columns in ((320, 1), (1100, 3)):
        gallery.resize(width, 400)
        QApplication.processEvents()
        gallery._arrange()
        places = [gallery._grid.indexOf(each) for each in gallery.sections.values()]
        spots = [gallery._grid.getItemPosition(place)[:2] for place in places]
        assert len({column for _, column in spots}) == columns


def test_search_finds_numbers_and_names_and_the_scope_narrows(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    session = analysed(open_dock()).session
    concepts.search.setText("#7")
    until(lambda: rows(concepts) == [7])
    concepts.search.setText("")
    label = session.results.cell_labels[0]
    session.select(label)
    concepts.scope.setCurrentIndex(concepts.scope.findData(CELL))
    active = {concept.concept_id for concept in session.results.active_concepts(label)}
    assert set(rows(concepts)) == active


def test_a_name_is_saved_shown_everywhere_and_undone(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    session = dock.session
    session.select(session.results.cell_labels[0])
    concept = dock.panel.concepts.rows[0].concept_id
    dock.panel.concepts.setCurrentIndex(dock.panel.concepts.model().index(0))
    form = concepts.naming
    assert concepts.table.chosen_id() == concept
    form.author.setText("A. Reader")
    form.name.setText("lobed nucleus")
    QTest.keyClick(form.name, Qt.Key.Key_Return)
    assert dictionary_of(session.sae_digest).name(concept) == "lobed nucleus"
    assert dictionary_of(session.sae_digest).history(concept)[0].author == "A. Reader"
    QApplication.processEvents()
    assert dock.panel.concepts.rows[0].title == "lobed nucleus"
    concepts.search.setText("lobed")
    until(lambda: rows(concepts) == [concept])
    form.undo.click()
    assert dictionary_of(session.sae_digest).name(concept) == ""
    form.redo.click()
    assert dictionary_of(session.sae_digest).name(concept) == "lobed nucleus"


def test_what_was_typed_is_kept_when_another_concept_is_chosen(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    session = analysed(open_dock()).session
    session.choose_concept(5)
    concepts.naming.name.setText("pale centre")
    session.choose_concept(6)
    assert session.dictionary.name(5) == "pale centre"
    assert concepts.naming.name.text() == ""
    assert session.dictionary.name(6) == ""


def test_a_term_of_the_vocabulary_brings_what_is_known_of_it(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    session = analysed(open_dock()).session
    session.choose_concept(5)
    form = concepts.naming
    term = next(t for t in form._vocabulary if t.synonyms and t.tissue == "cytoplasm")
    form._take_term(term.synonyms[0])
    assert form.name.text() == term.name
    assert form.tissue.currentData() == "cytoplasm"


def test_stars_are_there_again(
    viewer: napari.Viewer, open_dock: Open, concepts: ConceptsDock, smear: SampleSmear
) -> None:
    add_smear(viewer, smear)
    analysed(open_dock())
    concepts.table.selectRow(concepts.table.concepts.row_of(9))
    QTest.keyClick(concepts.table, Qt.Key.Key_Space)
    concepts.scope.setCurrentIndex(concepts.scope.findData(STARRED))
    assert rows(concepts) == [9]
    _, again = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
    again.scope.setCurrentIndex(again.scope.findData(STARRED))
    assert rows(again) == [9]


def test_a_folder_that_is_no_atlas_is_said_so(concepts: ConceptsDock, tmp_path: Path) -> None:
    concepts.open_atlas(tmp_path)
    until(lambda: not concepts.jobs.busy)
    assert "neither an atlas nor published" in concepts.message.text()


@pytest.mark.slow
def test_the_published_atlas_is_listed_in_focus_and_searched(
    concepts: ConceptsDock, shared: Path
) -> None:
    concepts.open_atlas(shared / "data" / "cytosae-feature-data" / "mll23")
    until(lambda: not concepts.jobs.busy)
    atlas = concepts.session.atlas
    assert len(rows(concepts)) == len(atlas.focus())
    concepts.in_focus.setChecked(False)
    assert len(rows(concepts)) == 49_152
    concepts.search.setText("eosinophil")
    until(lambda: len(rows(concepts)) < 49_152)
    assert set(rows(concepts)) == set(atlas.find("eosinophil").tolist())
    concepts.search.setText("")
    until(lambda: len(rows(concepts)) == 49_152)
    concepts.in_focus.setChecked(True)
    concepts.tabs.setCurrentWidget(concepts.focus_plot)
    concepts.focus_plot.moved.emit(0.1)
    assert len(rows(concepts)) == np.count_nonzero(
        atlas.table["mean_activation"].to_numpy(float) > 0.1
    )
    concepts.table.selectRow(0)
    concept = concepts.session.concept
    concepts.naming.name.setText("granules")
    concepts.naming.save()
    assert dictionary_of(atlas.sae_digest).name(concept) == "granules"
    assert atlas.names[concept] == "granules"


def test_evidence_is_a_column_and_a_tab_and_gives_way_to_a_name(
    concepts: ConceptsDock, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "slide.cytosae", 60, 1, distinct=40)
    measure_made_run(run)
    session = concepts.session
    atlas = Atlas.build(run.path, name="made")
    session.show_atlas(atlas)
    concepts.in_focus.setChecked(False)
    model = concepts.table.concepts
    keys = [column.key for column in model.columns]
    for key in ("seen", "compartment", "compartment_enrichment", "correlates"):
        assert concepts.table.isColumnHidden(keys.index(key)) == (key != "seen")
    at = model.index(model.row_of(5), keys.index("seen"))
    assert model.data(at).startswith("cell area ρ")
    assert model.data(at, Qt.ItemDataRole.FontRole).italic()
    concepts.search.setText("cell area")
    until(lambda: 5 in rows(concepts))
    session.choose_concept(5)
    concepts.tabs.setCurrentWidget(concepts.evidence)
    QApplication.processEvents()
    view = concepts.evidence
    assert "(suggested)" in view.title.text()
    assert "high cell area" in view.title.text()
    shown = {row.words: row.numbers for row in view.rows}
    assert shown["cell area (µm²)"].startswith("ρ 0.9") or shown["cell area (µm²)"].startswith(
        "ρ 1"
    )
    assert "× its area" in shown["nucleus"]
    assert view.grab().width() > 0
    assert concepts.naming.suggestion.text() == "Suggested: high cell area"
    concepts.naming.name.setText("large cell")
    concepts.naming.save()
    QApplication.processEvents()
    assert "large cell" in view.title.text()
    assert "suggested" not in view.title.text()


def test_an_atlas_without_measured_cells_says_so(concepts: ConceptsDock, tmp_path: Path) -> None:
    run = make_run(tmp_path / "slide.cytosae", 6, 1)
    concepts.session.show_atlas(Atlas.build(run.path, name="made"))
    concepts.session.choose_concept(5)
    concepts.tabs.setCurrentWidget(concepts.evidence)
    QApplication.processEvents()
    assert concepts.evidence.rows == []
    assert "seen" not in [column.key for column in concepts.table.concepts.columns]


def test_an_atlas_is_built_from_a_folder_of_runs(concepts: ConceptsDock, tmp_path: Path) -> None:
    for number in (1, 2):
        make_run(tmp_path / "runs" / f"slide-{number}.cytosae", 5, number)
    concepts.build_atlas(tmp_path / "runs", tmp_path / "atlas")
    until(lambda: not concepts.jobs.busy and concepts.jobs.idle)
    atlas = concepts.session.atlas
    assert atlas is not None, concepts.message.text()
    assert len(atlas.data_sets[0]) == 10
    assert Atlas.open(tmp_path / "atlas").finished
    assert concepts.cancel.isHidden()
    (tmp_path / "empty").mkdir()
    concepts.build_atlas(tmp_path / "empty", tmp_path / "other")
    until(lambda: not concepts.jobs.busy and concepts.jobs.idle)
    assert concepts.message.text()
    assert concepts.session.atlas is atlas


def test_the_scatter_shows_what_the_table_lists(concepts: ConceptsDock) -> None:
    concepts.session.show_atlas(Atlas.open(STARTER / "atlas"))
    concepts.tabs.setCurrentWidget(concepts.scatter)
    assert len(concepts.scatter._ids) > len(concepts.table.concepts.ids)  # those out of focus, too
    concepts.search.setText("platelet")
    found = set(concepts.session.atlas.find("platelet").tolist())
    until(lambda: set(concepts.table.concepts.ids.tolist()) == found)
    strong = concepts.scatter._ids[concepts.scatter._points.get_alpha() == 1]
    assert 0 < len(strong) < len(concepts.scatter._ids)
    assert set(strong.tolist()) == found & set(concepts.scatter._ids.tolist())


def test_masks_that_were_not_kept_are_computed_when_asked(concepts: ConceptsDock) -> None:
    concepts.session.show_atlas(Atlas.open(STARTER / "atlas"))
    concepts.tabs.setCurrentWidget(concepts.gallery)
    concepts.session.choose_concept(56)
    gallery = filled(concepts).gallery
    controls = gallery.controls
    assert not controls.mask.isEnabled()
    assert controls.compute.isVisible()
    controls.compute.click()
    tiles = filled(concepts).gallery.sections["drawn cells"].strip.tiles
    assert len(tiles) == 10
    assert all(tile.concept_map.max() > 0 for tile in tiles)
    assert controls.mask.isEnabled()
    assert concepts.review.card._maps is gallery._maps  # which holds the model once for both
    controls.compute.click()
    tiles = filled(concepts).gallery.sections["drawn cells"].strip.tiles
    assert all(tile.concept_map is None for tile in tiles)
