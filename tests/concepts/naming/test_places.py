import json

import pytest

from napari_cytosae.concepts.naming import (
    Dictionary,
    Naming,
    dictionary_of,
    names_folder,
    names_path,
    use_shared_names,
)
from napari_cytosae.errors import NamesError

SAE = "cbd9" * 16


def test_names_live_in_the_users_folder_one_file_per_sae(home):
    assert names_path(SAE) == home / "names" / f"{SAE[:16]}.jsonl"
    dictionary_of(SAE).give(1, Naming("one"), "A")
    dictionary_of("ab" * 32).give(1, Naming("another"), "A")
    assert len(list((home / "names").glob("*.jsonl"))) == 2


def test_another_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CYTOSAE_NAMES", str(tmp_path / "lab"))
    assert names_folder() == tmp_path / "lab"
    assert names_path(SAE).parent == tmp_path / "lab"


def test_a_lab_shares_one_file(tmp_path, home):
    own = dictionary_of(SAE)
    own.give(1, Naming("mine"), "A")
    lab = tmp_path / "lab"
    lab.mkdir()
    path = use_shared_names(SAE, lab)
    assert path == names_path(SAE) == lab / f"{SAE[:16]}.jsonl"
    shared = dictionary_of(SAE)
    assert dict(shared.names) == {}
    assert shared.merge(own).added == 1
    assert dict(Dictionary(path).names) == {1: "mine"}
    assert use_shared_names(SAE, None) == own.path
    assert dictionary_of(SAE).name(1) == "mine"


def test_a_shared_file_of_another_sae_is_not_chosen(tmp_path):
    path = tmp_path / "shared.jsonl"
    Dictionary(path, "ab" * 32).give(1, Naming("x"), "A")
    with pytest.raises(NamesError, match="another SAE"):
        use_shared_names(SAE, path)
    assert names_path(SAE) != path


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', '{"files": [1]}'])
def test_a_damaged_choice_is_said_so(home, content):
    (home / "names").mkdir(parents=True)
    (home / "names" / "places.json").write_text(content)
    with pytest.raises(NamesError, match=r"places\.json"):
        names_path(SAE)


def test_choices_for_other_saes_stay(tmp_path, home):
    use_shared_names(SAE, tmp_path / "a.jsonl")
    use_shared_names("ab" * 32, tmp_path / "b.jsonl")
    use_shared_names(SAE, None)
    content = json.loads((home / "names" / "places.json").read_text())
    assert content["files"] == {"ab" * 32: str(tmp_path / "b.jsonl")}
