"""The commands ``atlas …``, run as a user runs them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from feature_data import write_feature_data
from made_runs import make_run, measure_made_run


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / "runs" / f"slide-{n}.cytosae", 6 + n, n) for n in (1, 2)]


@pytest.fixture
def atlas(runs, tmp_path, invoke):
    folder = tmp_path / "atlas"
    done = invoke("atlas", "build", tmp_path / "runs", "--out", folder, "--labels", "kind")
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def published(tmp_path):
    """Feature data of 60 images of three classes, of which concept 1 likes one."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 10, 10])
    order = np.random.default_rng(1).permutation(60)
    labels = labels[order]
    scores = rng.gamma(1, 0.1, (60, 30)) * (rng.random((60, 30)) < 0.4)
    scores[:, 1] = np.where(labels == 1, 1 + rng.random(60), 0)
    scores[1:, 2] = 0  # the number of images shows in what is rare
    scores[0, 2] = 0.1
    classes = ("blast", "eosinophil", "monocyte")
    return write_feature_data(tmp_path / "set", scores=scores, labels=labels, classes=classes)


def test_build_says_what_was_counted_and_goes_on(runs, atlas, tmp_path, invoke):
    done = invoke("atlas", "show", atlas)
    assert done.exit_code == 0
    assert "runs" in done.stdout
    assert "15" in done.stdout
    make_run(tmp_path / "runs" / "slide-3.cytosae", 4, 3)
    again = invoke("atlas", "build", tmp_path / "runs", "--out", atlas, "--labels", "kind")
    assert again.exit_code == 0
    assert "19" in again.stdout
    assert "counting cells: 19 of 19" in again.stderr
    other = invoke("atlas", "build", tmp_path / "runs", "--out", atlas)
    assert other.exit_code == 1
    assert "--overwrite" in other.stderr
    assert "Traceback" not in other.stderr


def test_a_concept_is_shown_with_its_references(runs, atlas, invoke):
    done = invoke("atlas", "show", atlas, "7", "-k", "3")
    assert done.exit_code == 0
    assert "slide-" in done.stdout
    assert "strong in the same cells" in done.stdout
    nothing = invoke("atlas", "show", atlas, "99")
    assert nothing.exit_code == 1
    assert "go from 0 to 39" in nothing.stderr


def test_feature_data_is_imported(published, tmp_path, invoke):
    folder = tmp_path / "published"
    # The folder, or the one that it lies in.
    for given in (published, published.parent):
        done = invoke("atlas", "import", given, "--out", folder, "--overwrite")
        assert done.exit_code == 0, done.stderr
        assert "set" in done.stdout
    found = invoke("atlas", "search", folder, "eosinophil")
    assert "#1" in found.stdout
    assert "eosinophil 10/10 set" in found.stdout
    assert invoke("atlas", "search", folder, "nothing like it").exit_code == 1
    assert "is no feature-data folder" in invoke("atlas", "import", tmp_path / "runs", "-o",
                                                 tmp_path / "x").stderr  # fmt: skip


def test_images_are_linked_to_published_indices(published, tmp_path, invoke):
    images = tmp_path / "original"
    for name, n in (("blast", 40), ("eosinophil", 10), ("monocyte", 10)):
        (images / name).mkdir(parents=True)
        for number in range(n):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(images / name / f"{number:03d}.png")
    folder = tmp_path / "published"
    invoke("atlas", "import", published, "--out", folder)
    assert invoke("atlas", "link", folder, "set", images).exit_code == 0
    shown = invoke("atlas", "show", folder, "1").stdout
    assert shown.count(f"{images / 'eosinophil'}") == 10
    (images / "monocyte" / "000.png").unlink()
    done = invoke("atlas", "link", folder, "set", images)
    assert done.exit_code == 1
    assert "59 images" in done.stderr


def test_focus_draws_and_lists(published, tmp_path, invoke):
    folder = tmp_path / "published"
    invoke("atlas", "import", published, "--out", folder)
    picture, ids = tmp_path / "focus.png", tmp_path / "ids.csv"
    done = invoke(
        "atlas", "focus", folder, "--threshold", "0.5", "--picture", picture, "--ids", ids
    )
    assert done.exit_code == 0, done.stderr
    assert "1 of 30 concepts" in done.stdout
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 1000
    assert list(pd.read_csv(ids)["concept_id"]) == [1]
    unknown = invoke("atlas", "focus", folder, "--data-set", "x")
    assert "it has set" in unknown.stderr


def test_tables_open_anywhere(atlas, tmp_path, invoke):
    done = invoke("atlas", "tables", atlas, "--out", tmp_path / "tables")
    assert done.exit_code == 0, done.stderr
    concepts = pd.read_csv(tmp_path / "tables" / "concepts.csv")
    references = pd.read_csv(tmp_path / "tables" / "references.csv")
    assert len(concepts) == 40
    assert len(references) == concepts["references"].sum()
    assert set(references["data_set"]) == {"runs"}
    never = concepts["images"] == 0
    assert concepts.loc[never, "entropy"].isna().all()
    assert (concepts.loc[never, "mean_activation"] == 0).all()


def test_atlases_are_merged(runs, atlas, tmp_path, invoke):
    halves = []
    for run in runs:
        halves.append(tmp_path / f"half-{run.path.stem}")
        invoke(
            "atlas", "build", run.path, "--out", halves[-1], "--name", "runs", "--labels", "kind"
        )
    done = invoke("atlas", "merge", *halves, "--out", tmp_path / "merged")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == invoke("atlas", "show", atlas).stdout.partition("concept  ")[0]
    assert invoke("atlas", "merge", halves[0], "--out", tmp_path / "m").exit_code == 2
    twice = invoke("atlas", "merge", halves[0], halves[0], "--out", tmp_path / "m")
    assert "count twice" in twice.stderr


def test_what_is_no_atlas_is_named(tmp_path, invoke):
    for command in ("show", "focus"):
        done = invoke("atlas", command, tmp_path)
        assert done.exit_code == 1
        assert "is no atlas" in done.stderr
    assert invoke("atlas", "show", tmp_path, "--html", "x.html").exit_code == 2


def test_evidence_is_shown_written_and_switched_off(tmp_path, invoke):
    run = make_run(tmp_path / "slide.cytosae", 60, 1, distinct=40)
    measure_made_run(run)
    folder = tmp_path / "atlas"
    assert invoke("atlas", "build", run.path, "--out", folder).exit_code == 0
    shown = invoke("atlas", "show", folder, "5").stdout
    assert "#5 high cell area (suggested)" in shown
    assert "measured cells suggest: cell area ρ" in shown
    assert "nucleus" in shown
    assert "#5" in invoke("atlas", "search", folder, "cell area").stdout
    assert invoke("atlas", "tables", folder, "--out", tmp_path / "csv").exit_code == 0
    pairs = pd.read_csv(tmp_path / "csv" / "correlations.csv")
    assert pairs.loc[pairs["concept_id"] == 5, "measure"].tolist() == ["area_um2"]
    where = pd.read_csv(tmp_path / "csv" / "compartments.csv")
    assert where[where["concept_id"] == 5]["share"].sum() == pytest.approx(1)
    without = tmp_path / "without"
    assert invoke("atlas", "build", run.path, "--out", without, "--no-evidence").exit_code == 0
    assert "measured cells" not in invoke("atlas", "show", without, "5").stdout
