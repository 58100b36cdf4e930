"""A review's folder, sheets that others write to, and names that are adopted."""

import errno
import json
import shutil

import numpy as np
import pytest

from made_runs import make_run
from napari_cytosae.concepts.atlas import Atlas, ReferencePictures
from napari_cytosae.concepts.naming import Dictionary, Naming, load_vocabulary
from napari_cytosae.concepts.review import (
    Answer,
    Review,
    ReviewPlan,
    ReviewSheet,
    SheetFile,
    adopt,
    agreement_report,
    blind_pictures,
    compare_sheets,
    proposals,
    read_sheet,
    with_pictures,
)
from napari_cytosae.errors import AtlasError, NamesError, RunError
from napari_cytosae.models.registry import STARTER

PLAN = ReviewPlan(2, 2, 3, 1)


@pytest.fixture(scope="module")
def starter():
    return Atlas.open(STARTER / "atlas")


@pytest.fixture
def review(tmp_path):
    return Review(tmp_path / "review", (5, 3, 9), PLAN, "5ae")


@pytest.fixture
def file(review):
    return SheetFile(review.begin(["Ada"])["Ada"])


def test_what_is_drawn_can_be_shown(starter, tmp_path):
    review = Review.draw(starter, tmp_path, PLAN)
    assert len(review.concepts) == 4
    assert review == Review.draw(starter, tmp_path, PLAN)
    shown = with_pictures(starter, 3)
    assert 0 < shown.sum() < starter.d_sae
    with ReferencePictures() as pictures:
        for concept in review.concepts:
            found = list(blind_pictures(starter, concept, 3, pictures))
            assert found
            assert {name for name in dir(found[0]) if name[0] != "_"} == {"crop", "concept_map"}
        (without, *_) = np.flatnonzero(~shown)
        assert list(blind_pictures(starter, int(without), 3, pictures)) == []


def test_runs_whose_images_are_gone_have_no_pictures(tmp_path):
    run = make_run(tmp_path / "a" / "slide.cytosae", 6, 1)
    atlas = Atlas.build(run.path, name="made")
    assert not with_pictures(atlas, 10).any()
    (tmp_path / "a" / "slide-1.png").write_bytes(b"an image")
    assert with_pictures(atlas, 10).any()
    shutil.rmtree(run.path)
    assert not with_pictures(atlas, 10).any()
    with pytest.raises(AtlasError, match="at hand"):
        Review.draw(atlas, tmp_path, PLAN)


def test_a_folder_is_opened_as_it_was_begun_and_joined(review):
    assert [p.name for p in review.begin(["Ada", "Ben B."]).values()] == [
        "review-ada.csv", "review-ben-b.csv",
    ]  # fmt: skip
    again = Review.open(review.folder)
    assert again == review
    again.begin(["Eve"])
    assert [path.name for path in again.sheet_paths] == [
        "review-ada.csv", "review-ben-b.csv", "review-eve.csv",
    ]  # fmt: skip
    (review.folder / "review.json").unlink()  # sheets alone are a review, too
    assert Review.open(review.folder).concepts == review.concepts


def test_other_reviews_and_namesakes_are_refused(review, tmp_path):
    review.begin(["Ada"])
    other = Review(review.folder, (1, 2), PLAN)
    for who in ("Ada", "Ben"):
        with pytest.raises(NamesError, match="other concepts"):
            other.begin([who])
    with pytest.raises(NamesError, match="is Ada's"):
        review.begin(["ada!"])
    for nobody in ("", "  ", "?!"):
        with pytest.raises(NamesError, match="name of their own"):
            review.begin([nobody])
    with pytest.raises(NamesError, match="holds no review"):
        Review.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "other"}', '{"format": "napari-cytosae review", "plan": 3}'],
)
def test_a_damaged_plan_is_said_so(review, content):
    review.begin(["Ada"])
    (review.folder / "review.json").write_text(content)
    with pytest.raises(NamesError, match=r"review\.json"):
        Review.open(review.folder)


def test_a_review_of_another_autoencoder_is_refused(review, starter):
    with pytest.raises(NamesError, match="another autoencoder"):
        review.check_fits(starter)
    Review(review.folder, (5,), PLAN).check_fits(starter)
    for concept in (-1, starter.d_sae):
        with pytest.raises(NamesError, match="another autoencoder"):
            Review(review.folder, (concept,), PLAN).check_fits(starter)


def test_every_answer_is_in_the_file_at_once(file):
    assert file.first_open == 0
    file.answer(5, Answer("clear", "granules", 'a\nb; "c"'))
    file.answer(3, Answer("", "half a"))
    again = SheetFile(file.path)
    assert (again.said(5), again.said(3)) == (file.said(5), file.said(3))
    assert again.first_open == 1
    assert again.sheet.reviewer == "Ada"
    assert [path.name for path in file.path.parent.iterdir() if path.suffix != ".csv"] == [
        "review.json"
    ]


def test_what_another_program_wrote_is_kept(file):
    other = SheetFile(file.path)
    other.answer(9, Answer("partly", "elsewhere"))
    file.answer(5, Answer("clear"))
    assert read_sheet(file.path).ratings() == {5: "clear", 9: "partly"}
    assert file.said(9).name == "elsewhere"
    ReviewSheet((1, 2), "Ada").save(file.path)
    with pytest.raises(NamesError, match="sheet of other concepts"):
        file.answer(3, Answer("clear"))
    assert read_sheet(file.path).concepts == [1, 2]
    assert file.unsaved == {3}


def test_nothing_is_lost_where_the_folder_goes_or_cannot_be_written(file, tmp_path, monkeypatch):
    file.answer(5, Answer("clear"))
    shutil.rmtree(file.path.parent)
    with pytest.raises(RunError, match="cannot be written"):
        file.answer(3, Answer("partly"))
    assert file.unsaved == {3}
    file.path.parent.mkdir()
    file.answer(9, Answer("unclear"))
    assert len(read_sheet(file.path).ratings()) == 3
    assert not file.unsaved

    def no(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("napari_cytosae.concepts.durable._taken", no)
        with pytest.raises(RunError, match="Permission denied"):
            file.answer(9, Answer("clear"))
    file.move_to(tmp_path / "rescued.csv")
    assert read_sheet(tmp_path / "rescued.csv").ratings()[9] == "clear"
    with pytest.raises(NamesError, match="there already"):
        file.move_to(tmp_path / "rescued.csv")


def sheet(who, **names):
    answers = {int(c[1:]): Answer("clear", name) for c, name in names.items()}
    return ReviewSheet((1, 2, 3, 4, 5), who, "5ae", answers)


def test_names_are_adopted_only_where_nobody_contradicts(tmp_path):
    dictionary = Dictionary(tmp_path / "names.jsonl", "5ae")
    dictionary.give(2, Naming("old name"), "Zoe")
    dictionary.give(3, Naming("Granules"), "Zoe")
    dictionary.suggest({1: Naming("white cell")}, "atlas")
    ada = sheet("Ada", c1="nuclear cleft", c2="new name", c3="granules", c4="a", c5="mist")
    ben = sheet("Ben", c1="Nuclear cleft", c4="b")
    ada.answers[5] = Answer("unclear", "mist")
    ben.answers[1] = Answer("partly", "Nuclear cleft", "seen in most")
    found = {p.concept_id: p for p in proposals([ada, ben], dictionary)}
    assert {c: (p.settled, p.conflict, p.choice is not None) for c, p in found.items()} == {
        1: (False, False, True), 2: (False, True, False), 3: (True, False, False),
        4: (False, True, False), 5: (False, False, False),
    }  # fmt: skip
    assert found[1].given[0].reviewers == ("Ada", "Ben")
    chosen = [(found[1], found[1].choice), (found[2], found[2].given[0])]
    assert adopt(chosen, dictionary, load_vocabulary()) == 2
    again = Dictionary(tmp_path / "names.jsonl", "5ae")
    assert (again.name(1), again.name(2), again.name(4)) == ("nuclear cleft", "new name", "")
    assert again.entry(1).standing[0].author == "Ada, Ben"
    assert again.said(1).notes == "seen in most"
    assert [record.name for record in again.history(2)] == ["old name", "new name"]
    with pytest.raises(NamesError, match="named meanwhile"):
        adopt(
            [(found[4], found[4].given[0]), (found[2], found[2].given[0])], again, load_vocabulary()
        )
    assert again.name(4) == ""


def test_a_term_of_the_vocabulary_brings_its_synonyms_and_tissue(tmp_path):
    dictionary = Dictionary(tmp_path / "names.jsonl", "5ae")
    vocabulary = load_vocabulary()
    term = next(t for t in vocabulary if t.synonyms and t.tissue == "nucleus")
    (found,) = proposals([sheet("Ada", c1=term.name)], dictionary)
    adopt([(found, found.choice)], dictionary, vocabulary)
    said = dictionary.said(1)
    assert (said.name, said.synonyms, said.tissue) == (term.name, term.synonyms, "nucleus")


def test_the_report_holds_the_numbers(tmp_path):
    sheets = [sheet("Ada", c1="x", c2="y", c3="z"), sheet("B|en", c1="X", c2="<b>")]
    sheets[0].answers[2] = Answer("unclear", "y")
    found = compare_sheets(sheets)
    text = agreement_report(sheets, found)
    assert f"| Ada and B\\|en (Cohen) | {found.pairs['Ada', 'B|en'].value:.2f} |" in text
    assert "The same name was given in 50%." in text
    assert "| 2 | unclear: y | clear: \\<b\\> |" in text


def test_the_plan_can_be_read_by_people(review):
    review.begin(["Ada"])
    content = json.loads((review.folder / "review.json").read_text())
    assert content["plan"] == {"clusters": 2, "per_cluster": 2, "references": 3, "seed": 1}
    assert content["concepts"] == [5, 3, 9]
