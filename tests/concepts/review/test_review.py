"""Concepts are drawn from everywhere, sheets lose nothing, and agreement is what it is said to be."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from napari_cytosae.concepts.review import (
    Answer,
    ReviewSheet,
    cohen_kappa,
    compare_sheets,
    fleiss_kappa,
    read_sheet,
    sample_concepts,
)
from napari_cytosae.errors import AtlasError, NamesError

# Fleiss 1971: ten subjects, fourteen raters, five categories; κ = 0.210.
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
)  # fmt: skip


def test_concepts_come_from_every_region_and_never_from_the_silent():
    rng = np.random.default_rng(0)
    centres = rng.uniform(-4, 0, (10, 2)) * 3
    points = np.concatenate([centre + 0.05 * rng.normal(size=(40, 2)) for centre in centres])
    mean, often = np.exp(points).T
    often = np.minimum(often, 1)
    mean[::7], often[1::7], mean[2] = 0, 0, np.nan
    drawn = sample_concepts(mean, often, seed=3)
    assert len(set(drawn)) == len(drawn) == 50
    assert (mean[drawn] > 0).all()
    assert (often[drawn] > 0).all()
    assert {int(d) // 40 for d in drawn} == set(range(10))
    np.testing.assert_array_equal(drawn, sample_concepts(mean, often, seed=3))
    assert set(drawn) != set(sample_concepts(mean, often, seed=4))
    assert sorted(sample_concepts(np.array([0.1, 0, 0.2]), np.array([0.5, 1, 0.5]))) == [0, 2]
    with pytest.raises(AtlasError, match="nothing to review"):
        sample_concepts(np.zeros(5), np.ones(5))


def test_cohens_kappa_is_scikit_learns():
    rng = np.random.default_rng(1)
    first = rng.choice(["clear", "partly", "unclear"], 60)
    second = np.where(rng.random(60) < 0.6, first, rng.choice(["clear", "unclear"], 60))
    found = cohen_kappa(first.tolist(), second.tolist())
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.low < found.value < found.high
    assert found.concepts == 60
    with pytest.raises(NamesError, match="at least one"):
        cohen_kappa([], [])
    hand = cohen_kappa(
        ["yes"] * 25 + ["no"] * 25, ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    )
    assert hand.value == pytest.approx(0.4)  # p_o = 35/50, p_e = 0.5 · 0.6 + 0.5 · 0.4
    assert np.isnan(cohen_kappa(["clear"] * 4, ["clear"] * 4).value)
    assert cohen_kappa(["clear", "partly"] * 5, ["clear", "partly"] * 5).value == 1


def test_fleiss_kappa_is_the_published_one():
    found = fleiss_kappa(FLEISS)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.low < found.value < found.high
    with pytest.raises(NamesError, match="as many ratings"):
        fleiss_kappa(np.array([[1, 1], [2, 1]]))


def sheet(reviewer: str, *ratings: str) -> ReviewSheet:
    answers = {
        7 + n: Answer(rating, f"Name {n}" if rating else "") for n, rating in enumerate(ratings)
    }
    return ReviewSheet(list(answers), reviewer, "abc", answers)


def test_a_sheet_is_read_as_it_was_written(tmp_path):
    written = sheet("Ada", "clear", "", "partly")
    written.answers[7] = Answer(" CLEAR ", "  nuclear   cleft ", 'with, commas and "quotes"')
    read = read_sheet(written.save(tmp_path / "ada.csv"))
    assert (read.concepts, read.reviewer, read.sae_digest) == ([7, 8, 9], "Ada", "abc")
    assert read.answers == written.answers
    assert read.answers[7].name == "nuclear cleft"
    assert read.done == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "no sheet"), ("concept,rating\n1,good\n", "row 2"), ("concept,rating\nx,\n", "row 2"),
     ("concept,rating\n1,\n1,\n", "twice")],
)  # fmt: skip
def test_a_sheet_that_is_none_is_named(tmp_path, content, words):
    path = tmp_path / "sheet.csv"
    path.write_text(content)
    with pytest.raises(NamesError, match=words):
        read_sheet(path)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_spreadsheets_make_of_a_sheet_is_read(tmp_path, mark):
    path = sheet("Ada", "clear", "", "partly").save(tmp_path / "ada.csv")
    path.write_text("\ufeff" + path.read_text().replace(",", mark) + mark * 6 + "\n", "utf-8")
    read = read_sheet(path)
    assert (read.reviewer, read.ratings()) == ("Ada", {7: "clear", 9: "partly"})


def test_reviewers_are_compared_on_what_they_share():
    ada = sheet("Ada", "clear", "clear", "partly", "unclear", "")
    ben = sheet("Ben", "clear", "partly", "partly", "unclear", "clear")
    eve = sheet("Eve", "clear", "clear", "partly", "clear", "clear")
    ben.answers[8] = Answer("partly", "something else")
    found = compare_sheets([ada, ben, eve])
    expected = cohen_kappa_score(
        ["clear", "clear", "partly", "unclear"], ["clear", "partly", "partly", "unclear"]
    )
    assert found.pairs["Ada", "Ben"].value == pytest.approx(expected)
    assert found.pairs["Ben", "Eve"].concepts == 5
    assert found.fleiss is not None
    assert found.fleiss.concepts == 4
    assert sum(found.shares.values()) == pytest.approx(1)
    assert 0 < found.same_name < 1
    with pytest.raises(NamesError, match="two reviewers"):
        compare_sheets([ada])
    with pytest.raises(NamesError, match="one reviewer"):
        compare_sheets([ada, sheet("Ada", "clear")])
    with pytest.raises(NamesError, match="different concepts"):
        compare_sheets([ada, sheet("Kim", "clear")])
    other = sheet("Kim", "clear")
    other.sae_digest = "xyz"
    with pytest.raises(NamesError, match="different autoencoders"):
        compare_sheets([ada, other])
