"""From a folder of patients to the report, with the commands that the page on it shows."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.main import get_command

from napari_cytosae.cli.root import app
from napari_cytosae.cohorts import SyntheticOptions, make_cohort, read_barcodes, write_barcodes
from napari_cytosae.cohorts.classification import load_model
from napari_cytosae.cohorts.explanation import carriers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "classification.md"


def picture(seed, shift):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (8, 8, 3))
    coarse[..., 0] += shift
    return coarse.clip(0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def clinic(tmp_path):
    """Two diseases of three patients with three single-cell images each."""
    for number in range(6):
        folder = tmp_path / "clinic" / ("AML", "healthy")[number % 2] / f"patient {number}"
        folder.mkdir(parents=True)
        for cell in range(3):
            image = picture(10 * number + cell, 60 * (number % 2))
            Image.fromarray(image).save(folder / f"{cell}.png")
    return tmp_path


@pytest.fixture
def made(tmp_path):
    """Barcodes of a made cohort whose site tells the diagnosis, as a file."""
    cohort = make_cohort(
        SyntheticOptions(
            patients={"healthy": 8, "AML": 8}, n_concepts=60, log_odds=2.0, median_cells=40,
            n_sites=2, site_log_odds=2.0, confounding=1.0,
        )
    )  # fmt: skip
    return write_barcodes(cohort.barcodes, tmp_path / "made.h5ad")


QUICK = ("--repeats", 1, "--permutations", 3, "--folds", 3)


@pytest.mark.slow
def test_the_tutorial_goes_from_a_folder_to_the_page(clinic, model, invoke, monkeypatch):
    monkeypatch.chdir(clinic)
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = re.findall(r"^\$ (.*)$", "\n".join(blocks), re.MULTILINE)
    named = [shlex.split(command)[2] for command in commands]
    assert named == ["extract", "compare", "classify", "report", "predict", "explain", "cells"]
    # So few patients find nothing by the usual rate.
    small = {
        "extract": (*model, "--cells", "whole"), "classify": QUICK, "report": QUICK,
        "cells": ("--q", 1, "--min-delta", 0.1),
    }  # fmt: skip
    for name, command in zip(named, commands, strict=True):
        words = shlex.split(command)
        assert words[:2] == ["napari-cytosae", "cohort"]
        if name == "predict":
            shutil.copytree("clinic.cohort", "ward.cohort")
        done = invoke(*words[1:], *small.get(name, ()))
        assert done.exit_code == 0, (command, done.stderr)
    assert (clinic / "figures" / "volcano.svg").is_file()
    assert (clinic / "why" / "cells.png").is_file()
    assert (clinic / "cells" / "cells.csv").is_file()
    page = (clinic / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") > 10
    assert "AML against healthy" in page
    assert "6 patients" in page
    assert (clinic / "tables" / "scores.csv").is_file()
    beside = pd.read_csv(clinic / "tables" / "beside.csv")
    baselines = ["raw tokens", "class tokens", "random frozen decoder"]
    assert list(beside["name"][1:4]) == baselines
    assert all(name in page for name in baselines)
    done = invoke("cohort", "predict", "clinic.cohort/model.safetensors", "clinic.cohort")
    assert done.exit_code == 0, done.stderr
    assert len(re.findall(r"patient \d", done.stdout)) == 6
    # Single-cell images share a run: each cell is listed once, on its own image.
    cells = carriers(
        load_model("clinic.cohort/model.safetensors"),
        read_barcodes("clinic.cohort/barcodes.h5ad"),
        "patient 3",
        folder=Path("clinic.cohort"),
    )
    assert sorted(Path(image).name for image in cells["image"]) == ["0.png", "1.png", "2.png"]


def test_the_worked_examples_commands_are_those_of_today():
    """They need images that are fetched by hand; that their options exist is tested."""
    blocks = re.findall(
        r"```console\n(.*?)```", (PAGE.parent / "chula.md").read_text("utf-8"), re.DOTALL
    )
    commands = re.findall(r"^\$ (.*)$", "\n".join(blocks), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "napari-cytosae"
        group = get_command(app)
        with group.make_context(program, words, resilient_parsing=False) as context:
            name, inner, rest = group.resolve_command(context, words)
            inner_context = inner.make_context(name, rest, parent=context)
            name, leaf, rest = inner.resolve_command(inner_context, rest)
            leaf.make_context(name, list(rest), parent=inner_context)


def test_a_shortcut_is_warned_of_loudly(made, tmp_path, invoke):
    out = tmp_path / "tables"
    done = invoke("cohort", "classify", made, *QUICK, "--no-curve", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "WARNING: site alone predicts the diagnosis" in done.stderr
    assert "16 patients: 8 AML, 8 healthy" in done.stdout
    assert re.search(r"weighted F1 +[01]\.\d{3}", done.stdout)
    assert (tmp_path / "model.safetensors").is_file()
    beside = pd.read_csv(out / "beside.csv")
    assert {"barcodes", "site", "n_cells"} <= set(beside["name"])
    grouped = invoke("cohort", "classify", made, *QUICK, "--groups", "site")
    assert grouped.exit_code == 1
    assert "have one site" in grouped.stderr


def test_baselines_are_read_by_patient(made, tmp_path, invoke):
    patients = list(read_barcodes(made).patients.index)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(16, 4)), pd.Index(patients, name="patient"))
    table.sample(frac=1, random_state=1).to_csv(tmp_path / "raw.csv")
    np.save(tmp_path / "raw.npy", table.to_numpy())
    done = invoke(
        "cohort", "classify", made, *QUICK, "--no-curve",
        "--beside", f"a={tmp_path / 'raw.csv'}", "--beside", f"b={tmp_path / 'raw.npy'}",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    a, b = (re.search(rf"^{name} +(\S+) +(\S+)", done.stdout, re.M).groups() for name in "ab")
    assert a == b
    again = invoke("cohort", "classify", made, *QUICK, "--no-curve", "--beside", f"c={made}")
    assert again.exit_code == 0, again.stderr
    one, other = re.findall(r"^(?:barcodes|c) +(.*)$", again.stdout, re.MULTILINE)
    assert one == other
    assert re.search(r"told as well as by the barcodes .* by c \(", again.stderr, re.DOTALL)
    (tmp_path / "broken.h5ad").write_bytes(made.read_bytes()[:500])
    table.iloc[1:].to_csv(tmp_path / "short.csv")
    for words, said in (
        ("nothing", "NAME=FILE"),
        ("x=nowhere.csv", "does not exist"),
        (f"x={tmp_path / 'short.csv'}", "no row for patient"),
        (f"x={tmp_path / 'broken.h5ad'}", "damaged"),
    ):
        failed = invoke("cohort", "classify", made, *QUICK, "--beside", words)
        assert failed.exit_code == 1
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_cohort_too_small_to_classify_is_still_reported(tmp_path, invoke):
    cohort = make_cohort(
        SyntheticOptions(patients={"a": 2, "b": 5}, n_concepts=30, n_planted=2, median_cells=20)
    )
    path = write_barcodes(cohort.barcodes, tmp_path / "small.h5ad")
    done = invoke("cohort", "report", path, "--out", tmp_path / "r", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    assert "Too few patients of a (2)" in done.stderr
    assert "Too few patients" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


def test_models_and_cohorts_that_do_not_fit_are_refused(made, tmp_path, invoke):
    failed = invoke("cohort", "predict", tmp_path / "none.safetensors", made)
    assert failed.exit_code == 1
    assert "does not exist" in failed.stderr
    failed = invoke("cohort", "classify", made, "--by", "age")
    assert failed.exit_code == 1
    assert "no column “age”" in failed.stderr
