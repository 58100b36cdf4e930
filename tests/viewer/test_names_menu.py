"""All names at once, and the vocabulary, in the Concepts dock's tab Name."""

from pathlib import Path

import napari
import pytest
from qtpy.QtWidgets import QApplication

from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.naming import (
    Dictionary,
    Naming,
    Vocabulary,
    dictionary_of,
    load_vocabulary,
    vocabulary_path,
)
from napari_cytosae.models.registry import STARTER
from napari_cytosae.viewer.concepts_bar import DISPUTED, NAMED
from napari_cytosae.viewer.concepts_dock import ConceptsDock
from napari_cytosae.viewer.names_menu import NamesMenu
from napari_cytosae.viewer.vocabulary_editor import VocabularyEditor

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(viewer: napari.Viewer, home: Path) -> ConceptsDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
    dock.session.show_atlas(Atlas.open(STARTER / "atlas"))
    dock.in_focus.setChecked(False)
    QApplication.processEvents()
    return dock


@pytest.fixture
def menu(dock: ConceptsDock) -> NamesMenu:
    return dock.naming.menu


def listed(dock: ConceptsDock, scope: str) -> list[int]:
    dock.scope.setCurrentIndex(dock.scope.findData(scope))
    return sorted(dock.table.concepts.ids.tolist())


def test_disputed_names_stand_side_by_side_until_one_is_taken(
    dock: ConceptsDock, menu: NamesMenu, tmp_path: Path
) -> None:
    digest = dock.session.sae_digest
    mine = dock.session.dictionary
    mine.give(5, Naming("cleft nucleus"), "Ada")
    other = Dictionary(tmp_path / "ben.jsonl", digest)
    other.give(5, Naming("folded <nucleus>", tissue="nucleus", confidence=0.8), "Ben")
    other.give(7, Naming("granules"), "Ben")
    menu.take_over(other.path)
    assert "1 concept has several names" in dock.message.text()
    QApplication.processEvents()
    assert listed(dock, NAMED) == [5, 7]
    assert listed(dock, DISPUTED) == [5]
    dock.session.choose_concept(5)
    words = dock.naming.disputed.text()
    assert "<table>" in words
    assert "folded &lt;nucleus&gt;" in words
    assert "80 % sure" in words
    (theirs,) = (r for r in mine.entry(5).standing if r.author == "Ben")
    assert f'href="{theirs.id}"' in words
    dock.naming.disputed.linkActivated.emit(theirs.id)
    dock.naming.save()
    assert not mine.entry(5).conflict
    assert mine.name(5) == "folded <nucleus>"
    assert dock.naming.disputed.isHidden()
    assert listed(dock, DISPUTED) == []


def test_names_go_out_as_a_table_and_come_back(
    dock: ConceptsDock, menu: NamesMenu, tmp_path: Path
) -> None:
    dictionary = dock.session.dictionary
    dictionary.give(5, Naming("cleft nucleus", ("cleaved",), "nucleus", "", 0.5), "Ada")
    for name in ("names.csv", "names.tsv", "names.jsonl"):
        menu.save_as(tmp_path / name)
        assert str(tmp_path / name) in dock.message.text()
    dictionary.give(5, None, "Ada")
    menu.take_over(tmp_path / "names.csv")
    assert dictionary.entry(5).record.naming == Naming(
        "cleft nucleus", ("cleaved",), "nucleus", "", 0.5
    )
    table = (tmp_path / "names.csv").read_text().replace("cleft nucleus", "cleft")
    (tmp_path / "names.csv").write_text(table)
    menu.take_over(tmp_path / "names.csv")
    assert dictionary.name(5) == "cleft"
    menu.take_over(tmp_path / "names.tsv")
    assert "1 of 1" in dock.message.text()
    menu.take_over(tmp_path / "no.csv")
    assert "cannot be read" in dock.message.text()
    menu.save_as(tmp_path / "no folder" / "names.csv")
    assert "no folder" in dock.message.text()
    dock.session.show_atlas(None)
    menu.take_over(tmp_path / "names.csv")
    assert "autoencoder" in dock.message.text()


def test_names_are_kept_where_the_lab_sees_them(
    dock: ConceptsDock, menu: NamesMenu, tmp_path: Path
) -> None:
    session = dock.session
    session.dictionary.give(5, Naming("cleft nucleus"), "Ada")
    lab = tmp_path / "lab"
    lab.mkdir()
    shared = Dictionary(lab / session.dictionary.path.name, session.sae_digest)
    shared.give(9, Naming("granules"), "Ben")
    session.choose_concept(9)
    menu.share(lab)
    assert str(lab) in dock.message.text()
    assert session.dictionary.path == shared.path
    assert listed(dock, NAMED) == [9]
    assert dock.naming.name.text() == "granules"
    shared.refresh()
    session.dictionary.give(11, Naming("smudge"), "Ada")
    assert Dictionary(shared.path).name(11) == "smudge"
    QApplication.processEvents()  # the watch follows the new file
    assert listed(dock, NAMED) == [9, 11]
    menu.share(None)
    assert listed(dock, NAMED) == [5]
    (lab / shared.path.name).write_text("no names")
    menu.share(lab)
    assert listed(dock, NAMED) == [5]
    assert dictionary_of(session.sae_digest).name(5) == "cleft nucleus"


def test_the_lab_edits_its_vocabulary(dock: ConceptsDock, menu: NamesMenu) -> None:
    assert not vocabulary_path().exists()
    menu.edit_vocabulary()
    editor = menu.editor
    assert editor.vocabulary().terms == Vocabulary.shipped().terms
    editor.search.setText("smudge")
    hidden = sum(editor.table.isRowHidden(row) for row in range(editor.table.rowCount()))
    assert 0 < editor.table.rowCount() - hidden < 5
    editor.search.clear()
    editor.table.selectRow(0)
    editor.add_term()
    row = editor.table.currentRow()
    for column, words in enumerate(("nucleus", "coiled nucleus", "spiral; snail", "nose", "")):
        editor.table.item(row, column).setText(words)
    editor.save()
    assert "“nose” is no tissue" in editor.message.text()
    assert not vocabulary_path().exists()
    editor.table.item(row, 3).setText("nucleus")
    last = editor.table.item(editor.table.rowCount() - 1, 1).text()
    editor.table.selectRow(editor.table.rowCount() - 1)
    editor.remove_terms()
    assert editor.restore.text() == "Bring back 1 shipped"
    editor.save()
    assert editor.isHidden(), editor.message.text()
    vocabulary = load_vocabulary()
    assert vocabulary.find("spiral").name == "coiled nucleus"
    assert vocabulary.find(last) is None
    assert "spiral" in dock.naming._terms.stringList()
    again = VocabularyEditor()
    again.bring_back()
    assert set(again.vocabulary()) == {*Vocabulary.shipped(), vocabulary.find("spiral")}
    again.deleteLater()


def test_nobody_overwrites_what_others_changed_in_the_vocabulary(menu: NamesMenu) -> None:
    menu.edit_vocabulary()
    theirs = Vocabulary.shipped().without("round nucleus")
    theirs.write(vocabulary_path())
    menu.editor.save()
    assert "meanwhile" in menu.editor.message.text()
    assert load_vocabulary().terms == theirs.terms
    menu.editor.reject()
    vocabulary_path().write_text("no vocabulary\n")
    menu.edit_vocabulary()
    assert "columns" in menu.editor.message.text()
    menu.editor.save()
    assert vocabulary_path().read_text() == "no vocabulary\n"
    menu.editor.reject()
