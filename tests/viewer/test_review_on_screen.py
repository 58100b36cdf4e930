"""A blinded review in the Concepts dock: begun, filled in, left, gone on with, compared, adopted."""

import shutil
from pathlib import Path

import napari
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel
from window_actions import until

from made_runs import make_run
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.naming import dictionary_of
from napari_cytosae.concepts.review import Answer, Review, ReviewPlan, SheetFile, read_sheet
from napari_cytosae.models.registry import STARTER
from napari_cytosae.viewer.concepts_dock import ConceptsDock
from napari_cytosae.viewer.review_page import ReviewPage

pytestmark = pytest.mark.gui
PLAN = ReviewPlan(2, 2, 3, 0)


@pytest.fixture
def dock(viewer: napari.Viewer, home: Path) -> ConceptsDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
    dock.session.show_atlas(Atlas.open(STARTER / "atlas"))
    QApplication.processEvents()
    return dock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "review"


def settled(page: ReviewPage) -> ReviewPage:
    until(lambda: all(not jobs.busy and jobs.idle for jobs in (page.jobs, page.card.jobs)))
    return page


def begun(dock: ConceptsDock, folder: Path, reviewer: str = "Ada") -> ReviewPage:
    dock.begin_review()
    page = dock.review
    start = page.start
    start.folder.setText(str(folder))
    start.reviewer.setText(reviewer)
    for box, value in (
        (start.clusters, PLAN.clusters), (start.per_cluster, PLAN.per_cluster),
        (start.references, PLAN.references), (start.seed, PLAN.seed),
    ):  # fmt: skip
        box.setValue(value)
    start.look()
    start.begin.click()
    settled(page)
    assert page.currentWidget() is not start, start.message.text()
    return page


def rate_all(page: ReviewPage, names: str, ratings: str) -> None:
    """Answer by the keyboard alone: the name, Enter, the number of the rating, Enter."""
    for name, rating in zip(names.split("|"), ratings, strict=True):
        answers = page.card.answers
        QTest.keyClicks(answers.name, name)
        QTest.keyClick(answers.name, Qt.Key.Key_Escape)  # what the vocabulary offers
        QTest.keyClick(answers.name, Qt.Key.Key_Return)
        button = answers.ratings.button(int(rating) - 1)
        QTest.keyClick(button, rating)
        QTest.keyClick(button, Qt.Key.Key_Return)
        settled(page)


def test_concepts_are_drawn_shown_without_labels_and_saved_at_once(
    dock: ConceptsDock, folder: Path
) -> None:
    dock.session.choose_concept(5)
    page = begun(dock, folder)
    drawn = Review.open(folder)
    assert drawn.concepts == Review.draw(dock.session.atlas, folder, PLAN).concepts
    assert drawn.plan == PLAN
    card = page.card
    assert card.concept == drawn.concepts[0]
    assert 0 < len(card.strip.tiles) <= PLAN.references * len(dock.session.atlas)
    assert all(tile.picture is not None for tile in card.strip.tiles)
    assert {(tile.caption, tile.note, tile.what) for tile in card.strip.tiles} == {("", "", None)}
    # Nothing on show tells the concept's number or name, and the rest of the desk says nothing.
    words = " ".join(label.text() for label in page.findChildren(QLabel) if label.isVisible())
    assert str(card.concept) not in words + card.progress.text()
    assert not dock.table.isVisible()
    assert dock.session.concept == 5
    card.answers.ratings.button(2).click()
    card.answers.name.setText("dense granules")
    until(lambda: read_sheet(folder / "review-ada.csv").answers[card.concept].name != "")
    assert read_sheet(folder / "review-ada.csv").answers[card.concept] == Answer(
        "clear", "dense granules"
    )


def test_a_review_is_left_and_gone_on_with_where_it_was(dock: ConceptsDock, folder: Path) -> None:
    page = begun(dock, folder)
    rate_all(page, "dark nuclei|pale rims", "31")
    page.card.answers.notes.setPlainText("not sure yet")
    page.card.leave.click()  # before the pause after the last letter is over
    assert dock.table.isVisible()
    sheet = read_sheet(folder / "review-ada.csv")
    assert [sheet.answers[c].rating for c in sheet.concepts] == ["clear", "unclear", "", ""]
    assert sheet.answers[sheet.concepts[2]].notes == "not sure yet"
    dock.begin_review()
    assert page.currentWidget() is page.card
    page.card.leave.click()
    page.at = None  # as after the window was closed
    page = begun(dock, folder, "ada")
    assert page.at.file.sheet.reviewer == "Ada"
    assert page.card.place == 2
    assert page.card.answers.read() == Answer("", "", "not sure yet")
    QTest.keyClick(page.card.answers.name, Qt.Key.Key_PageUp)
    assert page.card.answers.read() == Answer("unclear", "pale rims")
    page.card.answers.ratings.button(0).click()  # once more takes it back
    assert read_sheet(folder / "review-ada.csv").done == 1


def test_nobody_sees_what_others_said_before_the_end(dock: ConceptsDock, folder: Path) -> None:
    atlas = dock.session.atlas
    review = Review.draw(atlas, folder, PLAN)
    ben = SheetFile(review.begin(["Ben"])["Ben"])
    for concept, rating in zip(
        review.concepts, ("clear", "clear", "unclear", "partly"), strict=True
    ):
        ben.answer(concept, Answer(rating, "dark nuclei"))
    page = begun(dock, folder)
    page.card.step("next")  # without a rating
    assert page.card.place == 0
    assert "how clear" in page.card.status.text()
    page.card.step("skip")
    rate_all(page, "dark nuclei|pale rims|", "313")
    assert page.currentWidget() is page.end
    assert "3 of 4" in page.end.message.text()
    assert not page.end.names.isVisible()
    assert page.end.table.rowCount() == 0
    page.end.back.click()
    settled(page)
    assert page.card.place == 0
    page.card.answers.ratings.button(2).click()
    for _ in range(4):
        page.card.step("next")
    settled(page)
    end = page.end
    assert "Ben: 4 of 4" in end.message.text()
    rows = [end.table.item(row, 0).text() for row in range(end.table.rowCount())]
    assert rows == ["Ada and Ben (Cohen)", "all (Fleiss)"]
    assert "same name" in end.shares.text()
    page.save_report(folder / "agreement.md")
    assert "Ada, Ben" in (folder / "agreement.md").read_text()
    page.save_report(folder / "no folder" / "agreement.md")
    assert "no folder" in end.shares.text()


def test_names_are_adopted_where_a_person_chose(dock: ConceptsDock, folder: Path) -> None:
    atlas = dock.session.atlas
    review = Review.draw(atlas, folder, PLAN)
    ben = SheetFile(review.begin(["Ben"])["Ben"])
    ben.answer(review.concepts[0], Answer("clear", "Dark nuclei"))
    ben.answer(review.concepts[1], Answer("clear", "red rims"))
    page = begun(dock, folder)
    rate_all(page, "dark nuclei|pale rims|something|", "3311")
    names = page.end.names
    first, second, third, _ = review.concepts
    assert [each.concept_id for each in names.proposals] == [second, first, third]
    assert "1 of them" in names.message.text()
    assert [each.concept_id for each, _ in names.chosen] == [first]  # neither disputed nor unclear
    names.choices[0].setCurrentIndex(2)
    names.adopt_button.click()
    dictionary = dictionary_of(atlas.sae_digest)
    assert dictionary.name(first) == "dark nuclei"
    assert dictionary.history(first)[-1].author == "Ada, Ben"
    assert dictionary.name(second) == "red rims"
    assert dictionary.name(third) == ""
    QApplication.processEvents()
    assert dock.listing.column("name")[second] == "red rims"
    assert [each.concept_id for each in names.proposals] == [second, third]
    page.end.leave.click()
    assert dock.table.isVisible()


def test_masks_are_computed_for_a_review_when_asked(dock: ConceptsDock, folder: Path) -> None:
    page = begun(dock, folder)
    card = page.card
    card.answers.name.setText("dark nuclei")
    assert [tile.concept_map for tile in card.strip.tiles] == [None] * len(card.strip.tiles)
    card.controls.compute.click()
    settled(page)
    assert all(tile.concept_map.max() > 0 for tile in card.strip.tiles)
    assert card.controls.mask.isEnabled()
    assert card.answers.name.text() == "dark nuclei"
    QTest.keyClick(card.answers.name, Qt.Key.Key_PageDown, Qt.KeyboardModifier.ShiftModifier)
    settled(page)
    assert card.place == 1
    assert all(tile.concept_map is not None for tile in card.strip.tiles)


def test_what_cannot_be_saved_stays_and_goes_elsewhere(dock: ConceptsDock, folder: Path) -> None:
    page = begun(dock, folder)
    shutil.rmtree(folder)
    page.card.answers.name.setText("dark nuclei")
    page.card.answers.ratings.button(2).click()
    assert "Not saved" in page.card.status.text()
    assert page.card.move_button.isVisible()
    page.card.leave.click()
    assert page.isVisible()  # nothing is left behind
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    page.move_sheet(elsewhere)
    sheet = read_sheet(elsewhere / "review-ada.csv")
    assert sheet.answers[page.card.concept] == Answer("clear", "dark nuclei")
    assert not page.card.move_button.isVisible()
    page.card.leave.click()
    assert dock.table.isVisible()


def test_a_folder_that_does_not_fit_is_said_so(dock: ConceptsDock, folder: Path) -> None:
    dock.begin_review()
    start = dock.review.start
    assert not start.begin.isEnabled()
    assert "Choose a folder" in start.message.text()
    other = Review(folder, (1, 2), PLAN, "another autoencoder")
    other.begin(["Eve"])
    start.folder.setText(str(folder))
    start.reviewer.setText("Ada")
    start.look()
    assert "Eve has rated 0 of 2" in start.message.text()
    assert start.begin.text() == "Join it"
    start.begin.click()
    settled(dock.review)
    assert "another autoencoder" in start.message.text()
    assert dock.review.currentWidget() is start
    (folder / "review.json").write_text("{")
    start.look()
    assert "cannot be read" in start.message.text()
    assert not start.begin.isEnabled()


def test_an_atlas_without_pictures_says_so(dock: ConceptsDock, tmp_path: Path) -> None:
    run = make_run(tmp_path / "slide.cytosae", 6, 1)
    dock.session.show_atlas(Atlas.build(run.path, name="made"))
    dock.begin_review()
    start = dock.review.start
    start.folder.setText(str(tmp_path / "review"))
    start.look()
    start.begin.click()
    settled(dock.review)
    assert "No reference cell's image is at hand" in start.message.text()
    assert not (tmp_path / "review").exists()
    dock.review._leave()
    dock.session.show_atlas(None)
    dock.begin_review()
    assert dock.table.isVisible()
    assert "atlas" in dock.message.text()
