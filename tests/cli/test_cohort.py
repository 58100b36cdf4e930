"""The commands ``cohort …``, run as a user runs them."""

import re
from xml.etree import ElementTree

import anndata
import pandas as pd
import pytest
from PIL import Image

from napari_cytosae.slides import sample_smear


@pytest.fixture
def patients(tmp_path):
    """Two diseases of three patients; one smear each, no two alike."""
    root = tmp_path / "clinic"
    for number in range(6):
        disease = ("AML", "healthy")[number % 2]
        folder = root / disease / f"p{number}"
        folder.mkdir(parents=True)
        smear = sample_smear(seed=20 + number, shape=(600, 600))
        Image.fromarray(smear.image).save(folder / "smear.png")
    return root


def extract(invoke, source, out, model, *options):
    return invoke(
        "cohort", "extract", source, "--out", out, *model, "--microns-per-pixel", 0.1, *options
    )


@pytest.fixture
def cohort(patients, tmp_path, model, invoke):
    out = tmp_path / "clinic.cohort"
    done = extract(invoke, patients, out, model)
    assert done.exit_code == 0, done.stderr
    assert "6 patients, 6 images: AML, healthy" in done.stderr
    assert re.search(r"healthy +3 +3 +\d+", done.stdout)
    assert "analysing images: 6 of 6" in done.stderr
    return out


def test_a_cohort_is_extracted_once_and_opens_in_scanpys_format(
    cohort, patients, tmp_path, model, invoke
):
    table = anndata.read_h5ad(cohort / "barcodes.h5ad")
    assert table.shape == (6, 96)
    assert list(table.obs["diagnosis"]) == ["AML"] * 3 + ["healthy"] * 3
    stamps = {path: path.stat().st_mtime_ns for path in (cohort / "runs").rglob("*.npz")}
    again = extract(invoke, patients, cohort, model)
    assert again.exit_code == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    other = extract(invoke, patients, cohort, model, "--crop-um", 20)
    assert other.exit_code == 1
    assert "Traceback" not in other.stderr


def test_groups_are_compared(cohort, tmp_path, invoke):
    out = tmp_path / "all.csv"
    done = invoke(
        "cohort", "compare", cohort, "AML", "healthy", "-k", 5, "--permutations", 50, "--out", out,
        "--figures", tmp_path / "figures",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "AML (3 patients) against healthy (3)" in done.stdout
    assert len(re.findall(r"^#\d+", done.stdout, re.MULTILINE)) == 5
    # 20 ways to deal six patients: nothing can be significant, and that is said.
    assert "no p can be below 0.1" in done.stderr
    table = pd.read_csv(out)
    assert table["p"].is_monotonic_increasing
    assert table["p"].min() >= 0.1 - 1e-9
    drawn = {path.stem: path.read_text("utf-8") for path in (tmp_path / "figures").iterdir()}
    assert set(drawn) == {
        "scatter", "volcano", "heatmap", "correlation", "heatmap_clustered",
        "correlation_clustered",
    }  # fmt: skip
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in drawn.values())
    assert f"#{table['concept_id'][0]}" in drawn["scatter"]
    assert "6 patients" in drawn["heatmap"]
    in_the_way = invoke("cohort", "compare", cohort, "AML", "--figures", out)
    assert in_the_way.exit_code == 1
    assert "Traceback" not in in_the_way.stderr
    rest = invoke("cohort", "compare", cohort, "AML", "--permutations", 0)
    assert rest.exit_code == 0
    unknown = invoke("cohort", "compare", cohort, "ALL")
    assert unknown.exit_code == 1
    assert "AML" in unknown.stderr


def test_what_is_wrong_with_a_cohort_is_named(patients, tmp_path, model, invoke):
    broken = patients / "AML" / "p0" / "smear.png"
    broken.write_bytes(broken.read_bytes()[:200])
    done = extract(invoke, patients, tmp_path / "c", model)
    assert done.exit_code == 1
    assert "smear.png" in done.stderr
    assert "--skip-bad" in done.stderr or "p0" in done.stderr
    done = extract(invoke, patients, tmp_path / "c", model, "--skip-bad")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"AML +2 +2", done.stdout)
    assert "left out: p0" in done.stderr
    for arguments, words in (
        (["compare", tmp_path / "none", "AML"], "no cohort"),
        (["extract", tmp_path / "none", "--out", tmp_path / "d"], "does not exist"),
        (["extract", patients, "--out", tmp_path / "d", "--cells", "green"], "not from green"),
    ):
        done = invoke("cohort", *arguments)
        assert done.exit_code == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
