"""A blinded review from the command line."""

import csv

import pytest

from napari_cytosae.models.registry import STARTER


@pytest.fixture
def atlas():
    return STARTER / "atlas"


def fill(path, ratings):
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    for row, rating in zip(rows, ratings, strict=False):
        row["rating"], row["name"] = rating, f"thing {row['concept']}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_review_is_blind_and_ends_in_kappas(atlas, tmp_path, invoke):
    out = tmp_path / "review"
    begin = ["atlas", "review", atlas, "--out", out, "--reviewer", "Ada", "--reviewer", "Ben B.",
             "--clusters", 3, "--per-cluster", 2, "-k", 2]  # fmt: skip
    done = invoke(*begin)
    assert done.exit_code == 0, done.stderr
    page = (out / "review.html").read_text(encoding="utf-8")
    assert page.count("<h2") == 6
    assert "data:image/jpeg" in page
    for word in ("neutrophil", "BCCD", "white cell", ".jpg", "nucleus"):
        assert word not in page
    fill(out / "review-ada.csv", ["clear", "clear", "partly", "unclear", "clear", "partly"])
    fill(out / "review-ben-b.csv", ["clear", "partly", "partly", "unclear", "clear"])
    again = invoke(*begin)
    assert again.exit_code == 0
    assert "is kept" in again.stderr
    report = tmp_path / "report.md"
    told = invoke(
        "atlas", "agreement", out / "review-ada.csv", out / "review-ben-b.csv", "--out", report
    )
    assert told.exit_code == 0, told.stderr
    assert "Ada and Ben B. (Cohen)" in told.stdout
    assert "Fleiss" in told.stdout
    assert "Ben B. has rated 5 of 6" in told.stderr
    assert "| Ada and Ben B. (Cohen) | 0." in report.read_text(encoding="utf-8")
    other = invoke(*begin[:-6], "--clusters", 4)
    assert (other.exit_code, "other concepts" in other.stderr) == (1, True)


def test_what_cannot_be_is_told(atlas, tmp_path, invoke):
    twice = invoke(
        "atlas", "review", atlas, "--out", tmp_path, "--reviewer", "A", "--reviewer", "a"
    )
    assert (twice.exit_code, "name of their own" in twice.stderr) == (1, True)
    alone = tmp_path / "one.csv"
    alone.write_text("concept,rating\n1,clear\n")
    done = invoke("atlas", "agreement", alone)
    assert (done.exit_code, "two reviewers" in done.stderr) == (1, True)


def test_peoples_words_are_shown_as_they_are(tmp_path, invoke):
    for who, rating in (("[red]Ada", "clear"), ("Ben|x", "partly")):
        lines = ["concept,rating,name,reviewer", f"1,{rating},<b>a|b</b>,{who}", f"2,clear,,{who}"]
        (tmp_path / f"{who[-1]}.csv").write_text("\n".join(lines) + "\n")
    report = tmp_path / "report.md"
    done = invoke("atlas", "agreement", tmp_path / "a.csv", tmp_path / "x.csv", "--out", report)
    assert done.exit_code == 0, done.stderr
    assert "[red]Ada and Ben|x (Cohen)" in done.stdout
    text = report.read_text(encoding="utf-8")
    assert r"| concept | \[red\]Ada | Ben\|x |" in text
    assert r"| 1 | clear: \<b\>a\|b\</b\> |" in text


def test_only_concepts_with_pictures_are_drawn(atlas, tmp_path, invoke):
    done = invoke("atlas", "review", atlas, "--out", tmp_path / "r", "--reviewer", "A", "-k", 1)
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "r" / "review.html").read_text(encoding="utf-8")
    assert page.count("<h2") == 50
    assert "No image is at hand" not in page
