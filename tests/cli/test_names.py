"""The command ``atlas names``, run as a user runs it."""

import csv
import re

import pytest

from made_runs import make_run
from napari_cytosae.concepts.atlas import Atlas


@pytest.fixture
def atlas(tmp_path, invoke):
    make_run(tmp_path / "runs" / "slide.cytosae", 6, 1)
    folder = tmp_path / "atlas"
    done = invoke("atlas", "build", tmp_path / "runs", "--out", folder)
    assert done.exit_code == 0, done.stderr
    return folder


def name(invoke, atlas, *arguments):
    return invoke("atlas", "names", atlas, *arguments)


def test_a_name_is_given_listed_and_taken_away(atlas, tmp_path, invoke):
    done = name(
        invoke, atlas, "set", 7, "nuclear", "cleft", "--author", "Ada", "--tissue", "nucleus",
        "--confidence", 0.8,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for place in (atlas, tmp_path / "runs" / "slide.cytosae"):
        listed = name(invoke, place)
        assert listed.exit_code == 0, listed.stderr
        assert re.search(r"#7 +nuclear cleft +nucleus +80 % +Ada", listed.stdout)
    assert "nuclear cleft" in name(invoke, atlas, "list", "cleft").stdout
    assert "nuclear cleft" not in name(invoke, atlas, "list", "granules").stdout
    assert Atlas.open(atlas).names[7] == "nuclear cleft"
    assert name(invoke, atlas, "unset", "#7", "--author", "Ada").exit_code == 0
    assert "nuclear cleft" not in name(invoke, atlas).stdout


def test_two_peoples_names_are_merged_and_conflicts_shown(atlas, tmp_path, invoke, monkeypatch):
    name(invoke, atlas, "set", 7, "cleft", "--author", "Ada")
    file = tmp_path / "ada.names"
    assert name(invoke, atlas, "export", file).exit_code == 0
    monkeypatch.setenv("NAPARI_CYTOSAE_NAMES", str(tmp_path / "other"))
    name(invoke, atlas, "set", 7, "fold", "--author", "Ben")
    name(invoke, atlas, "set", 3, "granules", "--author", "Ben")
    done = name(invoke, atlas, "merge", file)
    assert done.exit_code == 0, done.stderr
    assert "1 new records on 1 concepts" in done.stderr
    assert "people disagree" in done.stderr
    assert "cleft" in done.stdout
    assert "fold" in done.stdout
    again = name(invoke, atlas, "merge", file)
    assert "0 new records" in again.stderr
    name(invoke, atlas, "set", 7, "cleft", "--author", "Ben")
    assert "people disagree" not in name(invoke, atlas).stderr


def test_names_go_out_and_come_back_as_a_table(atlas, tmp_path, invoke):
    name(
        invoke, atlas, "set", 7, "cleft", "--author", "Ada", "--synonym", "fold", "--notes", "a, b"
    )
    table = tmp_path / "names.csv"
    assert name(invoke, atlas, "export", table).exit_code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["cleft"]
    assert rows[0]["synonyms"] == "fold"
    table.write_text("concept,name,tissue\n#7,cleft of the nucleus,nucleus\n9,smudge,\n")
    done = name(invoke, atlas, "import", table, "--author", "Ben")
    assert "2 of 2 concepts are named anew" in done.stderr
    assert "smudge" in name(invoke, atlas).stdout
    again = name(invoke, atlas, "import", table, "--author", "Ben")
    assert "0 of 2" in again.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "columns concept and name"),
        ("concept,name\nx,y\n", "row 2"),
        ("concept,name,tissue\n1,y,liver\n", "no tissue"),
        ("concept,name\n-1,y\n", "counted from 0"),
    ],
)
def test_a_table_that_is_none_changes_nothing(atlas, tmp_path, invoke, content, words):
    table = tmp_path / "names.csv"
    table.write_text(content)
    done = name(invoke, atlas, "import", table, "--author", "Ben")
    assert done.exit_code == 1
    assert words in done.stderr
    assert "0 names" in name(invoke, atlas).stderr


def test_what_cannot_be_is_told_in_one_line(atlas, tmp_path, invoke):
    assert name(invoke, atlas, "set", 7).exit_code == 2
    assert name(invoke, atlas, "set", "seven", "x", "--author", "A").exit_code == 2
    for place in (tmp_path / "none", tmp_path):
        done = name(invoke, place)
        assert done.exit_code == 1
        assert "no atlas, run, bundle or file of names" in done.stderr
    other = tmp_path / "other.names"
    other.write_text("nonsense")
    assert name(invoke, atlas, "merge", other).exit_code == 1
