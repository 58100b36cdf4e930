"""Names of concepts wherever the window shows one, and changing as the dictionary does."""

import threading

import pytest
from window_actions import add_smear, analysed, until

from napari_cytosae.concepts.naming import Dictionary, Naming, dictionary_of

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(viewer, smear, open_dock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add_smear(viewer, smear)
    dock = analysed(open_dock())
    dock.session.select(int(dock.session.results.table["label"].iloc[0]))
    return dock


def test_lists_and_layers_carry_names_and_follow_them(viewer, dock):
    results = dock.session.results
    dictionary = dictionary_of(results.sae_digest)
    first, second = (row.concept_id for row in dock.panel.concepts.rows[:2])
    dock.session.toggle_pin(first)
    dock.layers.colour_by(first)
    assert dock.layers.map_layer(first).name == f"#{first}"

    dictionary.give(first, Naming("lobed nucleus"), "A")
    dictionary.suggest({second: Naming("granules")}, "atlas")
    until(lambda: dock.panel.concepts.rows[0].title == "lobed nucleus")
    assert dock.layers.map_layer(first).name == f"#{first} lobed nucleus"
    assert dock.layers.coloured.name == f"cells by #{first} lobed nucleus"
    until(lambda: dock.panel.concepts.rows[1].title == "granules")
    assert dock.panel.concepts.rows[1].suggested
    assert "suggested" in dock.panel.concepts.rows[1].facts
    assert results.title(second) == f"#{second} granules (suggested)"
    titles = dock.layers.cells.features.astype(str).to_numpy().ravel()
    assert f"#{first} lobed nucleus" in titles

    # A layer that the user renamed keeps the user's name.
    dock.layers.map_layer(first).name = "mine"
    dictionary.give(first, None, "A")
    until(lambda: dock.panel.concepts.rows[0].title == f"#{first}")
    assert dock.layers.map_layer(first).name == "mine"


def test_names_that_others_give_arrive_whatever_thread_reads_them(viewer, dock):
    results = dock.session.results
    dictionary = results.dictionary
    first = dock.panel.concepts.rows[0].concept_id
    other = Dictionary(dictionary.path, results.sae_digest)  # as another process has it
    other.give(first, Naming("seen elsewhere"), "B")
    threads = []
    dock.session.names_changed.connect(lambda _: threads.append(threading.current_thread()))
    reader = threading.Thread(target=dictionary.refresh)
    reader.start()
    reader.join()
    until(lambda: dock.panel.concepts.rows[0].title == "seen elsewhere")
    assert threads == [threading.main_thread()]
