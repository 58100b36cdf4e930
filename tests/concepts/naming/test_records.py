import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cytosae.concepts.naming import TISSUES, Naming, Record
from napari_cytosae.errors import NamesError

words = st.text(max_size=12)
namings = st.builds(
    Naming,
    name=words,
    synonyms=st.lists(words, max_size=3).map(tuple),
    tissue=st.sampled_from(["", *TISSUES]),
    notes=words,
    confidence=st.none() | st.floats(0, 1),
)
records = st.builds(
    Record,
    concept_id=st.integers(0, 49_151),
    naming=namings,
    author=words,
    date=words,
    suggested_by=words,
    withdrawn=st.booleans(),
    replaces=st.lists(words, max_size=2).map(tuple),
)


@given(records)
def test_a_record_is_one_line_and_comes_back_from_it(record):
    try:
        line = record.to_line().encode().decode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text that a file can hold
        return
    assert "\n" not in line
    again = Record.from_line(line)
    assert again == record
    assert again.id == record.id


def test_what_is_empty_is_left_out_of_the_line():
    line = Record(24310, Naming("coarse granules"), "A. Meyer", "2026-01-02T03:04:05+00:00")
    assert json.loads(line.to_line()) == {
        "concept": 24310,
        "name": "coarse granules",
        "author": "A. Meyer",
        "date": "2026-01-02T03:04:05+00:00",
        "id": line.id,
    }


def test_words_are_brought_to_one_form():
    naming = Naming("  Pelger–Huët\n cell ", ("b", "", "a  b", "b", "Pelger–Huët cell"))
    assert naming.name == "Pelger–Huët cell"
    assert naming.synonyms == ("b", "a b")


@pytest.mark.parametrize(
    "wrong", [{"tissue": "liver"}, {"confidence": 1.5}, {"confidence": float("nan")}]
)
def test_what_no_naming_can_hold_is_refused(wrong):
    with pytest.raises(NamesError, match=r"liver|confidence"):
        Naming("x", **wrong)


def test_a_line_changed_by_hand_replaces_the_record_that_it_was():
    record = Record(7, Naming("lobed nucleus"), "A", "2026-01-02")
    changed = Record.from_line(record.to_line().replace("lobed", "ring"))
    assert changed.name == "ring nucleus"
    assert changed.replaces == (record.id,)
    # Once written with its own id it is a record like any other.
    assert Record.from_line(changed.to_line()) == changed


def test_keys_of_a_later_version_are_kept():
    line = '{"concept": 3, "name": "x", "seen_at": {"b": 2, "a": [1]}}'
    record = Record.from_line(line)
    assert json.loads(record.to_line())["seen_at"] == {"b": 2, "a": [1]}
    assert Record.from_line(record.to_line()) == record


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        '{"name": "no concept"}',
        '{"concept": -1, "name": "x"}',
        '{"concept": true, "name": "x"}',
        '{"concept": 1.0, "name": "x"}',
        '{"concept": 1, "name": 5}',
        '{"concept": 1, "name": "x", "synonyms": "a, b"}',
        '{"concept": 1, "name": "x", "confidence": "high"}',
        '{"concept": 1, "name": "x", "confidence": 7}',
        '{"concept": 1, "name": "x", "tissue": "liver"}',
    ],
)
def test_what_is_no_record_is_said_so(line):
    with pytest.raises(ValueError, match=r"."):
        Record.from_line(line)
