"""The commands ``train …``, run as a user runs them."""

import json
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_cytosae as nc
from napari_cytosae.slides import sample_smear
from napari_cytosae.training import PRESETS, SaeTrainingConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
SHORT = ["--expansion", 2, "--steps", 6, "--batch-images", 2, "--seed", 1]


@pytest.fixture
def cells(tmp_path):
    """Two classes with four small images each, one of them broken."""
    rng = np.random.default_rng(0)
    for name in ("blast", "monocyte"):
        folder = tmp_path / "cells" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "cells" / "blast" / "broken.png").write_bytes(b"no image")
    return tmp_path / "cells"


@pytest.fixture
def store(cells, model, tmp_path, invoke):
    out = tmp_path / "tokens"
    done = invoke("train", "tokens", cells, "--out", out, "--backbone", model[1], "--block", 0)
    assert done.exit_code == 0, done.stderr
    assert "8 crops × 257 tokens × 64" in done.stdout
    assert re.search(r"blast +4", done.stdout)
    assert "1 could not be read" in done.stderr
    assert "broken.png" in done.stderr
    return out


def train(invoke, store, out, *options):
    return invoke("train", "sae", store, "--out", out, *options)


def test_a_training_becomes_a_bundle_that_analyze_takes(store, tmp_path, images, invoke):
    out = tmp_path / "mine"
    done = train(invoke, store, out, *SHORT)
    assert done.exit_code == 0, done.stderr
    assert "explained variance" in done.stdout
    assert f"--bundle {out / 'bundle'}" in done.stderr
    bundle = nc.load_bundle(out / "bundle")
    assert (bundle.name, bundle.d_sae, bundle.block) == ("mine", 128, 0)
    assert json.loads((out / "training.json").read_text())["store"] == str(store)
    runs = tmp_path / "runs"
    done = invoke("analyze", images[0], "--out", runs, "--bundle", out / "bundle")
    assert done.exit_code == 0, done.stderr
    assert len(list(runs.glob("*.cytosae"))) == 1


def test_a_training_is_gone_on_with_and_made_longer(store, tmp_path, invoke):
    out = tmp_path / "mine"
    assert train(invoke, store, out, *SHORT).exit_code == 0
    first = nc.load_bundle(out / "bundle").digest
    again = train(invoke, store, out, *SHORT)
    assert again.exit_code == 1
    assert "--resume" in again.stderr
    longer = train(invoke, store, out, "--resume", "--steps", 9)
    assert longer.exit_code == 0, longer.stderr
    assert len((out / "log.jsonl").read_text().splitlines()) == 9
    assert nc.load_bundle(out / "bundle").digest != first
    other = train(invoke, store, out, "--resume", "--steps", 9, "--l1", 0.5)
    assert other.exit_code == 1
    assert "l1" in other.stderr


def test_settings_come_from_a_file_a_preset_or_options(store, tmp_path, invoke, monkeypatch):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"d_sae": 40, "steps": 3, "batch_images": 2}))
    assert train(invoke, store, tmp_path / "a", "--config", file).exit_code == 0
    assert nc.load_bundle(tmp_path / "a" / "bundle").d_sae == 40
    assert train(invoke, store, tmp_path / "b", "--config", file, "--expansion", 1).exit_code == 0
    assert nc.load_bundle(tmp_path / "b" / "bundle").d_sae == 64
    small = SaeTrainingConfig(d_sae=24, steps=2, batch_images=2)
    monkeypatch.setitem(PRESETS, "quick", small)
    assert train(invoke, store, tmp_path / "c", "--preset", "quick").exit_code == 0
    assert nc.load_bundle(tmp_path / "c" / "bundle").d_sae == 24
    topk = train(
        invoke, store, tmp_path / "d", "--preset", "quick", "--activation", "topk", "--k", 3
    )
    assert topk.exit_code == 0, topk.stderr
    assert "3 concepts per token on average" in topk.stderr.replace("\n", " ")
    recipe = json.loads((tmp_path / "d" / "training.json").read_text())["config"]
    assert recipe["ghost_gradients"] is False
    both = train(invoke, store, tmp_path / "e", "--preset", "quick", "--config", file)
    assert (both.exit_code, "not both" in both.stderr) == (1, True)
    file.write_text('{"l2": 1}')
    wrong = train(invoke, store, tmp_path / "f", "--config", file)
    assert (wrong.exit_code, "l2 unknown" in wrong.stderr) == (1, True)


def test_the_report_shows_figures_and_crops(store, tmp_path, invoke):
    out = tmp_path / "mine"
    unfinished = invoke("train", "report", out)
    assert unfinished.exit_code == 1
    assert train(invoke, store, out, *SHORT).exit_code == 0
    done = invoke("train", "report", out, "--permutations", 3)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"raw tokens +1", done.stdout)
    page = (out / "report.html").read_text()
    assert "data:image/" in page
    assert "may be those that it was trained on" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is fetched
    store.rename(tmp_path / "moved")
    gone = invoke("train", "report", out)
    assert (gone.exit_code, "--tokens" in gone.stderr) == (1, True)
    found = invoke(
        "train", "report", out, "--tokens", tmp_path / "moved", "--images", 4,
        "--permutations", 0, "--out", tmp_path / "page.html",
    )  # fmt: skip
    assert found.exit_code == 0, found.stderr
    assert (tmp_path / "page.html").is_file()


def test_a_sweep_prints_and_draws_its_points(store, tmp_path, invoke):
    file = tmp_path / "base.json"
    file.write_text(json.dumps({"d_sae": 32, "steps": 3, "batch_images": 2}))
    arguments = ["train", "sweep", store, "--out", tmp_path / "s", "--config", file]
    nothing = invoke(*arguments)
    assert (nothing.exit_code, "--axis" in nothing.stderr) == (1, True)
    done = invoke(*arguments, "--axis", "l1=1e-3,1e-2", "--held-out", 0.25)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1 + 3
    with Image.open(tmp_path / "s" / "sweep.png") as figure:
        assert figure.size[0] > 300
    paper = invoke(*arguments, "--axis", "block=0,7", "--held-out", 0.25)
    assert (paper.exit_code, "no tokens of block 7" in paper.stderr) == (1, True)


def test_what_cannot_be_is_told_in_one_line(tmp_path, cells, invoke):
    for arguments, words in (
        (["tokens", tmp_path / "none", "--out", tmp_path / "t"], "none"),
        (["tokens", cells, "--out", tmp_path / "t", "--cells", "leaves"], "choose from"),
        (["sae", tmp_path / "none", "--out", tmp_path / "s"], "holds no tokens"),
        (["report", tmp_path / "none"], "holds no training"),
    ):
        done = invoke("train", *arguments)
        assert done.exit_code == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_tutorial_on_a_small_copy(tmp_path, invoke, monkeypatch):
    """Every command of the page, with drawn smears in place of the data set."""
    monkeypatch.chdir(tmp_path)
    for folder, seeds in (("train", (11, 12)), ("held-out", (13,))):
        (tmp_path / "BCCD" / folder).mkdir(parents=True)
        for seed in seeds:
            smear = sample_smear(seed=seed, shape=(480, 640))
            Image.fromarray(smear.image).save(
                tmp_path / "BCCD" / folder / f"BloodImage_{seed:05d}.png"
            )
    small = SaeTrainingConfig(d_sae=64, steps=4, batch_images=4)
    monkeypatch.setitem(PRESETS, "quick", small)
    commands = re.findall(r"^\$ napari-cytosae (.+(?:\\\n.+)*)", PAGE.read_text(), re.MULTILINE)
    ran = set()
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        if words[0] == "view":  # a window; tested elsewhere
            continue
        words = [re.sub(r"BloodImage_\d+\.jpg", "BloodImage_00013.png", word) for word in words]
        # A drawn smear's pixels are larger.
        words = ["0.1" if word == "0.075" else word for word in words]
        done = invoke(*words)
        assert done.exit_code == 0, f"{command}\n{done.stderr}"
        ran.add(" ".join(words[:2]) if words[0] == "train" else words[0])
    assert ran >= {"train tokens", "train sae", "train report", "train sweep", "analyze"}


def test_saelens_trains_what_it_is_told(store, tmp_path, invoke):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("sae_lens", reason="SAELens is not installed")
    out, words = tmp_path / "jump", ("--saelens", "jumprelu", "--set", "l0_coefficient=2.5")
    spelt = ("--set", "jumprelu_sparsity_loss_mode=tanh")
    done = train(invoke, store, out, *words, *spelt, "--expansion", 1, "--steps", 2)
    assert done.exit_code == 0, done.stderr
    recipe = json.loads((out / "training.json").read_text())["config"]["saelens"]
    assert recipe == {
        "architecture": "jumprelu",
        "l0_coefficient": 2.5,
        "jumprelu_sparsity_loss_mode": "tanh",
    }
    assert nc.load_bundle(out / "bundle").sae.threshold is not None
    for more, says in (
        (("--saelens", "gated", "--set", "l1"), "NAME=VALUE"),
        (("--set", "l1=3"), "choose its architecture"),
    ):
        refused = train(invoke, store, tmp_path / "none", *more)
        assert (refused.exit_code, says in " ".join(refused.stderr.split())) == (1, True)
