"""Why a patient is predicted so, and a disease's cells, from the command line."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_cytosae.cohorts import SyntheticOptions, make_cohort, read_barcodes, write_barcodes
from napari_cytosae.cohorts.classification import load_model

QUICK = ("--repeats", 1, "--permutations", 0, "--folds", 3, "--no-curve")


@pytest.fixture
def clinic(tmp_path, model, invoke):
    """An extracted and classified cohort of two diseases, four patients with two cells each."""
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = tmp_path / "clinic" / ("AML", "healthy")[number % 2] / f"patient {number}"
        folder.mkdir(parents=True)
        for cell in range(2):
            coarse = rng.integers(60, 200, (8, 8, 3))
            coarse[..., 0] += 55 * (number % 2)
            picture = coarse.clip(0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(picture).save(folder / f"{cell}.png")
    out = tmp_path / "clinic.cohort"
    for words in (
        ("extract", tmp_path / "clinic", "--out", out, *model, "--cells", "whole"),
        ("classify", out, *QUICK),
    ):
        done = invoke("cohort", *words)
        assert done.exit_code == 0, done.stderr
    return out


def test_a_prediction_is_taken_apart(clinic, tmp_path, invoke):
    out = tmp_path / "why"
    done = invoke("cohort", "explain", clinic, "patient 3", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"patient 3: AML \d+%, healthy \d+%", done.stdout)
    assert "has seen this patient" in done.stderr
    assert {path.name for path in out.iterdir()} == {
        "contributions.csv", "what_if.csv", "masking.csv", "cells.csv",
        "contributions.svg", "masking.svg", "cells.png",
    }  # fmt: skip
    barcodes, model = (
        read_barcodes(clinic / "barcodes.h5ad"),
        load_model(clinic / "model.safetensors"),
    )
    row = model.predict(barcodes).loc["patient 3"]
    found = pd.read_csv(out / "what_if.csv")
    np.testing.assert_allclose(found["before"], row[f"p {row['predicted']}"])
    cells = pd.read_csv(out / "cells.csv")
    assert sorted(Path(image).name for image in cells["image"]) == ["0.png", "1.png"]
    with Image.open(out / "cells.png") as picture:
        assert min(picture.size) > 200
    # With the intercept, contributions are the log-odds that the prediction is made of.
    contributions = pd.read_csv(out / "contributions.csv")["contribution"].sum()
    place = model.class_index(row["predicted"])
    own = barcodes.select(barcodes.patients.index == "patient 3")
    logits = model.logits(model.values(own))[0]
    assert contributions + model.intercepts[place] == pytest.approx(logits[place])

    chosen = [int(i) for i in pd.read_csv(out / "contributions.csv")["concept_id"].head(2)]
    two = invoke(
        "cohort", "explain", clinic, "patient 3", "--for", "AML",
        "--without", chosen[0], "--without", chosen[1], "--no-pictures", "--out", tmp_path / "two",
    )  # fmt: skip
    assert two.exit_code == 0, two.stderr
    assert list(pd.read_csv(tmp_path / "two" / "what_if.csv")["concept"])[-1] == "all of these"
    assert not (tmp_path / "two" / "cells.png").exists()

    for words, said in (
        (("nobody",), "no patient nobody"),
        (("patient 3", "--for", "ALL"), "no class “ALL”"),
        (("patient 3", "--without", 96), "no concept 96"),
        (("patient 3", "--model", tmp_path / "none"), "cohort classify"),
    ):
        failed = invoke("cohort", "explain", clinic, *words)
        assert failed.exit_code == 1
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr

    shutil.rmtree(clinic / "runs")
    alone = invoke("cohort", "explain", clinic, "patient 3", "--out", tmp_path / "alone")
    assert alone.exit_code == 0, alone.stderr
    assert "runs of patient 3 are not at hand" in alone.stderr
    assert not (tmp_path / "alone" / "cells.csv").exists()


def test_a_diseases_cells_are_ranked_over_its_patients(clinic, tmp_path, invoke):
    out = tmp_path / "cells"
    loose = ("--q", 1, "--min-delta", 0.2)
    done = invoke("cohort", "cells", clinic, "AML", *loose, "-k", 5, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"concepts.csv", "cells.csv", "cells.png"}
    cells, concepts = (pd.read_csv(out / f"{name}.csv") for name in ("cells", "concepts"))
    assert cells["score"].is_monotonic_decreasing
    assert 0 < len(cells) <= 5
    assert set(cells["patient"]) <= {f"patient {n}" for n in (0, 2, 4, 6)}
    assert set(cells["concept_id"]) <= set(concepts["concept_id"])
    other = invoke("cohort", "cells", clinic, "AML", *loose, "--patient", "patient 1")
    assert other.exit_code == 0, other.stderr
    strict = invoke("cohort", "cells", clinic, "AML", "--q", 0)
    assert strict.exit_code == 1
    assert "No concept is specific to AML" in strict.stderr


def test_barcodes_without_runs_have_no_cells(tmp_path, invoke):
    made = make_cohort(
        SyntheticOptions(patients={"a": 8, "b": 8}, n_concepts=40, n_planted=4, log_odds=2.5,
                         median_cells=40)
    ).barcodes  # fmt: skip
    path = write_barcodes(made, tmp_path / "made.h5ad")
    done = invoke("cohort", "cells", path, "b")
    assert done.exit_code == 1
    assert "not at hand" in done.stderr
