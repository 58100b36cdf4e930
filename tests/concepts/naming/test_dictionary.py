import errno
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from napari_cytosae.concepts.naming import Dictionary, EditStack, Naming, Record, read_names
from napari_cytosae.errors import NamesError

SAE = "cbd9" * 16
GRANULES = Naming("coarse granules", ("eosinophil granules",), "cytoplasm", "large", 0.9)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


# -- looking up and giving names -----------------------------------------------------------


def test_a_name_is_found_again_by_a_new_process(dictionary):
    dictionary.give(24310, GRANULES, "A. Meyer")
    again = Dictionary(dictionary.path)
    assert again.sae_digest == SAE
    assert dict(again.names) == {24310: "coarse granules"}
    entry = again.entry(24310)
    assert (entry.naming, entry.record.author) == (GRANULES, "A. Meyer")
    assert not entry.suggested
    assert not entry.conflict
    assert again.name(5) == again.entry(5).name == ""


def test_the_file_is_a_header_and_one_record_a_line_by_concept(dictionary):
    for concept_id in (300, 7, 40):
        dictionary.give(concept_id, Naming(f"n{concept_id}"), "A")
    header, *records = map(json.loads, lines(dictionary.path))
    assert header["format"] == "napari-cytosae names"
    assert header["version"] == 1
    assert header["sae"] == SAE
    assert [record["concept"] for record in records] == [7, 40, 300]


def test_one_change_changes_one_line(dictionary):
    for concept_id in range(20):
        dictionary.give(concept_id, Naming(f"n{concept_id}"), "A")
    before = lines(dictionary.path)
    dictionary.give(11, Naming("another"), "B")
    after = lines(dictionary.path)
    assert [line for line in after if line in before] == before
    assert len(after) == len(before) + 1


def test_history_is_kept_in_the_order_of_events(dictionary):
    for name in ("first", "second", "third", "second"):
        dictionary.give(3, Naming(name), "A")  # all in one second
    again = Dictionary(dictionary.path)
    assert [r.name for r in again.history(3)] == ["first", "second", "third", "second"]
    assert again.name(3) == "second"


def test_saying_the_same_again_writes_nothing(dictionary):
    dictionary.give(3, GRANULES, "A")
    before = dictionary.path.read_bytes()
    assert not dictionary.give(3, GRANULES, "B")
    assert not dictionary.give(4, None, "B")
    assert dictionary.path.read_bytes() == before


def test_search_finds_words_synonyms_and_numbers(dictionary):
    dictionary.give(24310, GRANULES, "A")
    dictionary.give(12, Naming("ring form", notes="parasite"), "A")
    assert dictionary.search("GRAN eosin") == [24310]
    assert dictionary.search("parasite") == [12]
    assert dictionary.search("#12") == [12]
    assert dictionary.search("cytoplasm") == [24310]
    assert dictionary.search("  ") == []
    dictionary.give(12, None, "A")
    assert dictionary.search("parasite") == []


# -- undoing -------------------------------------------------------------------------------


def test_an_edit_is_undone_and_done_again(dictionary):
    stack = EditStack(dictionary, "A")
    stack.give(3, Naming("first"))
    stack.give(3, Naming("second"))
    assert (stack.can_undo, stack.can_redo) == (True, False)
    stack.undo()
    assert dictionary.name(3) == "first"
    stack.undo()
    assert dictionary.said(3) is None
    assert stack.undo() is None
    stack.redo()
    stack.redo()
    assert dictionary.name(3) == "second"
    assert stack.redo() is None
    names = [record.name for record in Dictionary(dictionary.path).history(3)]
    assert names == ["first", "second", "first", "", "first", "second"]


def test_several_names_are_one_step(dictionary):
    stack = EditStack(dictionary, "A")
    dictionary.give(2, Naming("two"), "A")
    stack.push(dictionary.give_many({1: Naming("one"), 2: None, 3: Naming("three")}, "A"))
    assert dict(dictionary.names) == {1: "one", 3: "three"}
    stack.undo()
    assert dict(dictionary.names) == {2: "two"}


def test_undo_does_not_overwrite_what_somebody_else_said_since(dictionary):
    stack = EditStack(dictionary, "A")
    stack.give(3, Naming("mine"))
    dictionary.give(3, Naming("theirs"), "B")
    with pytest.raises(NamesError, match="“theirs”"):
        stack.undo()
    assert dictionary.name(3) == "theirs"


# -- suggestions ---------------------------------------------------------------------------


def test_a_suggestion_gives_way_to_a_person_and_comes_back_with_the_persons_leave(dictionary):
    dictionary.suggest({3: Naming("eosinophil 10/10", confidence=0.8)}, "atlas")
    assert dictionary.entry(3).suggested
    assert dictionary.name(3) == "eosinophil 10/10"
    edit = dictionary.give(3, GRANULES, "A")
    assert not dictionary.entry(3).suggested
    assert dictionary.suggest({3: Naming("basophil 9/10", confidence=1.0)}, "atlas") == 1
    assert dictionary.name(3) == "coarse granules"
    dictionary.apply(edit.inverse, "A")
    assert dictionary.name(3) == "basophil 9/10"
    dictionary.give(3, Naming("", notes="shows nothing in common"), "A")
    assert dictionary.name(3) == ""
    assert not dictionary.entry(3).suggested


def test_suggestions_leave_no_history_and_do_not_pile_up(dictionary):
    for round_ in range(5):
        dictionary.suggest({i: Naming(f"s{i} {round_}") for i in range(30)}, "atlas")
    dictionary.suggest({3: Naming("nucleus", confidence=0.9)}, "evidence")
    assert dictionary.suggest({i: Naming(f"s{i} 4") for i in range(30)}, "atlas") == 0
    again = Dictionary(dictionary.path)
    assert len(lines(dictionary.path)) == 1 + 31
    assert again.name(4) == "s4 4"
    assert [r.suggested_by for r in again.entry(3).suggestions] == ["evidence", "atlas"]
    dictionary.suggest({3: Naming()}, "evidence")
    assert Dictionary(dictionary.path).name(3) == "s3 4"
    dictionary.suggest({3: Naming("nucleus")}, "evidence")
    found = Dictionary(dictionary.path).entry(3).suggestions
    assert {record.name for record in found} == {"nucleus", "s3 4"}


def test_an_older_suggestion_that_a_merge_brings_back_stays_void(dictionary, tmp_path):
    dictionary.suggest({3: Naming("old")}, "atlas")
    old = read_names(dictionary.path)
    dictionary.suggest({3: Naming("new")}, "atlas")
    assert dictionary.merge(old).added == 0
    assert dictionary.name(3) == "new"
    assert len(lines(dictionary.path)) == 2


# -- merging -------------------------------------------------------------------------------


@pytest.fixture
def two(dictionary, tmp_path):
    """Two copies of one file, edited apart."""
    dictionary.give(1, Naming("common"), "A")
    dictionary.give(2, Naming("as it was"), "A")
    other = Dictionary(tmp_path / "other.jsonl", SAE)
    other.merge(dictionary)
    dictionary.give(2, Naming("mine"), "A")
    dictionary.give(3, Naming("only mine"), "A")
    other.give(2, Naming("theirs"), "B")
    other.give(4, Naming("only theirs"), "B")
    return dictionary, other


def test_a_merge_takes_all_and_shows_conflicts_side_by_side(two):
    mine, theirs = two
    merged = mine.merge(theirs)
    assert merged.added == 2
    assert merged.concepts == {2, 4}
    assert [entry.concept_id for entry in merged.conflicts] == [2]
    assert {(r.name, r.author) for r in merged.conflicts[0].standing} == {
        ("mine", "A"),
        ("theirs", "B"),
    }
    assert mine.name(4) == "only theirs"
    assert Dictionary(mine.path).conflicts == mine.conflicts


def test_merging_is_the_same_in_both_directions_and_as_often_as_one_likes(two):
    mine, theirs = two
    mine.merge(theirs.path)
    theirs.merge(mine)
    assert lines(mine.path) == lines(theirs.path)
    before = mine.path.read_bytes()
    assert mine.merge(theirs).added == 0
    assert mine.path.read_bytes() == before


def test_a_conflict_is_settled_by_a_name_for_both(two):
    mine, theirs = two
    mine.merge(theirs)
    newest = mine.said(2)
    mine.give(2, newest, "A")  # to keep the newer of the two is a decision as well
    assert mine.conflicts == ()
    theirs.merge(mine)
    assert theirs.conflicts == ()
    assert theirs.said(2) == newest


def test_the_same_name_given_twice_is_no_conflict(dictionary, tmp_path):
    other = Dictionary(tmp_path / "other.jsonl", SAE)
    dictionary.give(2, Naming("Auer rod", ("faggot", "rod"), confidence=0.3), "A")
    other.give(2, Naming("auer rod", ("rod", "faggot"), confidence=0.9), "B")
    assert dictionary.merge(other).conflicts == ()
    assert len(dictionary.entry(2).standing) == 2


def test_names_of_another_sae_are_refused(dictionary, tmp_path):
    other = Dictionary(tmp_path / "other.jsonl", "ab" * 32)
    other.give(1, Naming("x"), "B")
    with pytest.raises(NamesError, match="another SAE"):
        dictionary.merge(other.path)
    with pytest.raises(NamesError, match="another SAE"):
        Dictionary(other.path, SAE)
    assert len(dictionary.names) == 0


def test_gits_union_and_even_its_conflict_marks_are_read_as_both_sides(two, tmp_path):
    mine, theirs = two
    expected = Dictionary(tmp_path / "expected.jsonl", SAE)
    expected.merge(mine)
    expected.merge(theirs)
    union = tmp_path / "union.jsonl"
    union.write_bytes(theirs.path.read_bytes() + mine.path.read_bytes())
    marked = tmp_path / "marked.jsonl"
    marked.write_text(
        "<<<<<<< HEAD\r\n" + "\r\n".join(lines(mine.path)) + "\r\n=======\r\n"
        + "\r\n".join(lines(theirs.path)) + "\r\n>>>>>>> theirs\r\n"
    )  # fmt: skip
    for path in (union, marked):
        found = Dictionary(path)
        assert found.conflicts == expected.conflicts
        assert dict(found.names) == dict(expected.names)
        found.give(9, Naming("more"), "A")
        assert "<<<<" not in path.read_text()


@pytest.mark.skipif(os.name == "nt", reason="needs git's own merge on the path")
def test_git_merges_two_branches_of_the_file(two, tmp_path):
    mine, theirs = two
    repository = tmp_path / "repository"
    repository.mkdir()
    file = repository / "names.jsonl"
    environment = {
        **os.environ, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t", "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip

    def git(*arguments):
        subprocess.run(
            ["git", *arguments], cwd=repository, check=True, capture_output=True, env=environment
        )

    def commit(content):
        file.write_text("\n".join(content) + "\n", encoding="utf-8")
        git("add", ".")
        git("commit", "-m", "names")

    try:
        git("init", "-b", "main")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    (repository / ".gitattributes").write_text("*.jsonl merge=union\n")
    commit([line for line in lines(mine.path) if line in lines(theirs.path)])
    git("switch", "-c", "theirs")
    commit(lines(theirs.path))
    git("switch", "main")
    commit(lines(mine.path))
    git("merge", "theirs")
    mine.merge(theirs)
    assert Dictionary(file).conflicts == mine.conflicts
    assert set(lines(file)) == set(lines(mine.path))


# -- nothing is lost -----------------------------------------------------------------------


def test_a_damaged_line_hides_no_other_and_is_kept(dictionary):
    dictionary.give(1, Naming("one"), "A")
    torn = '{"concept": 2, "name": "tw'
    with dictionary.path.open("a") as file:
        file.write(torn)
    found = Dictionary(dictionary.path)
    assert dict(found.names) == {1: "one"}
    assert [line for line, _ in found.unreadable] == [torn]
    found.give(3, Naming("three"), "A")
    assert torn in lines(dictionary.path)
    assert dict(Dictionary(dictionary.path).names) == {1: "one", 3: "three"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00broken", "UTF-8"),
        (b"PK\x03\x04 a zip file", "no file of names"),
        (b'{"format": "napari-cytosae names", "version": 2, "sae": "x"}', "version 2"),
        (b'{"format": "napari-cytosae names", "version": 1}', "which SAE"),
        (b"", "which SAE"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_left_alone(tmp_path, content, says):
    path = tmp_path / "names.jsonl"
    path.write_bytes(content)
    with pytest.raises(NamesError, match=says):
        Dictionary(path)
    assert path.read_bytes() == content


def test_a_full_disk_loses_no_edit(dictionary, monkeypatch):
    dictionary.give(1, Naming("one"), "A")
    before = dictionary.path.read_bytes()
    stack = EditStack(dictionary, "A")
    heard = []
    dictionary.listen(heard.append)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NamesError, match=r"No space left.*save again"):
            stack.give(2, Naming("two"))
    assert dictionary.path.read_bytes() == before
    assert heard == [{2}]
    assert dictionary.unsaved == 1
    assert dictionary.name(2) == "two"
    assert stack.can_undo
    dictionary.give(3, Naming("three"), "A")
    assert dictionary.unsaved == 0
    assert dict(Dictionary(dictionary.path).names) == {1: "one", 2: "two", 3: "three"}


def test_a_file_that_was_deleted_meanwhile_is_written_whole_again(dictionary):
    dictionary.give(1, Naming("one"), "A")
    dictionary.path.unlink()
    dictionary.give(2, Naming("two"), "A")
    assert dict(Dictionary(dictionary.path).names) == {1: "one", 2: "two"}


def test_another_version_of_the_file_is_followed(dictionary):
    dictionary.give(1, Naming("one"), "A")
    earlier = dictionary.path.read_bytes()
    dictionary.give(1, Naming("uno"), "A")
    dictionary.give(2, Naming("two"), "A")
    dictionary.path.write_bytes(earlier)
    assert dictionary.refresh()
    assert dict(dictionary.names) == {1: "one"}
    assert not dictionary.refresh()


@pytest.mark.skipif(os.name == "nt", reason="modes and links are those of POSIX")
def test_a_shared_file_keeps_its_mode_and_its_place_behind_a_link(tmp_path):
    shared = tmp_path / "shared.jsonl"
    Dictionary(shared, SAE).give(1, Naming("one"), "A")
    shared.chmod(0o664)
    link = tmp_path / "link.jsonl"
    link.symlink_to(shared)
    Dictionary(link).give(2, Naming("two"), "A")
    assert link.is_symlink()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o664
    assert dict(Dictionary(shared).names) == {1: "one", 2: "two"}


def test_a_folder_that_may_not_be_written_still_shows_its_names(dictionary, monkeypatch):
    dictionary.give(1, Naming("one"), "A")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    again = Dictionary(dictionary.path)
    assert again.name(1) == "one"
    with pytest.raises(NamesError, match=r"could not be saved.*Permission denied"):
        again.give(2, Naming("two"), "A")


# -- several at once -----------------------------------------------------------------------

WRITE = """
import sys
from napari_cytosae.concepts.naming import Dictionary, Naming
dictionary = Dictionary(sys.argv[1])
who = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[3])):
    dictionary.give(100 * who + n, Naming(f"{who}-{n}"), f"writer {who}")
"""


def start_writers(path, count, n_names):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), str(who), str(n_names)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for who in range(count)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return writers


def test_processes_that_write_at_once_lose_nothing(dictionary):
    dictionary.give(9999, Naming("seed"), "A")
    for writer in start_writers(dictionary.path, 3, 15):
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    dictionary.refresh()
    assert dict(dictionary.names) == {
        9999: "seed",
        **{100 * who + n: f"{who}-{n}" for who in range(3) for n in range(15)},
    }


def test_killed_at_any_moment_the_file_holds_all_that_was_said_to_be_saved(dictionary):
    dictionary.give(9999, Naming("seed"), "A")
    for wait_s in (0.01, 0.05, 0.13):
        (writer,) = start_writers(dictionary.path, 1, 100)
        threading.Event().wait(wait_s)
        writer.kill()
        writer.communicate()
        found = read_names(dictionary.path)
        assert not found.unreadable
        numbers = sorted(record.concept_id for record in found.records)
        assert numbers == [*range(len(numbers) - 1), 9999]
    # What the killed process left behind is in nobody's way.
    dictionary.give(500, Naming("after"), "A")
    assert Dictionary(dictionary.path).name(500) == "after"


def test_a_change_is_heard_of_until_one_stops_listening(dictionary):
    heard = []
    stop = dictionary.listen(heard.append)
    dictionary.give(1, Naming("one"), "A")
    Dictionary(dictionary.path).give(2, Naming("two"), "B")
    assert dictionary.refresh()
    dictionary.give(1, Naming("one"), "A")  # no change
    stop()
    stop()
    dictionary.give(3, Naming("three"), "A")
    assert heard == [{1}, {2}]
    assert dictionary.revision > 0


def test_shipped_names_are_shown_but_not_written_and_can_be_replaced(tmp_path):
    shipped = [
        Record(1, Naming("shipped one"), "its authors", "2025-01-01"),
        Record(2, Naming("suggested two"), "", "2025-01-01", suggested_by="starter"),
    ]
    dictionary = Dictionary(tmp_path / "names.jsonl", SAE, shipped=shipped)
    assert dict(dictionary.names) == {1: "shipped one", 2: "suggested two"}
    dictionary.give(1, Naming("mine"), "A")
    assert len(lines(dictionary.path)) == 2
    again = Dictionary(dictionary.path, SAE, shipped=shipped)
    assert again.name(1) == "mine"
    assert again.conflicts == ()
    assert [record.name for record in again.history(1)] == ["shipped one", "mine"]
