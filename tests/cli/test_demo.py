import re

import pandas as pd
import pytest
from PIL import Image

from napari_cytosae.cli.demo import compare
from napari_cytosae.concepts import open_run
from napari_cytosae.models import Bundle, load_bundle


@pytest.fixture(autouse=True)
def small(model, smear, monkeypatch):
    """A random model and a small smear in the place of the starter and the sample."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("napari_cytosae.cli.demo.sample_smear", lambda: smear)
    monkeypatch.setattr(
        "napari_cytosae.cli.demo.load", lambda _: load_bundle(backbone=model[1], sae=model[3])
    )


@pytest.fixture
def opened(monkeypatch):
    """Run folders that were opened in a window."""
    paths = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("napari_cytosae.cli.view.has_screen", lambda: True)
    monkeypatch.setattr("napari_cytosae.cli.view.open_window", paths.append)
    return paths


def test_the_demo_leaves_image_run_tables_and_pictures_and_says_where(tmp_path, smear, invoke):
    done = invoke("demo", "--out", tmp_path, "--no-view")
    assert done.exit_code == 0, done.output
    names = ["overview.png", "concepts.png", "cells.csv", "concepts.csv"]
    files = [tmp_path / "smear.cytosae" / "export" / name for name in names]
    for file in [tmp_path / "sample-smear" / "smear.ome.tif", *files]:
        assert file.is_file()
        assert str(file) in done.stdout
    run = open_run(tmp_path / "smear.cytosae")
    assert run.microns_per_pixel == smear.microns_per_pixel
    truth = compare(run.table, smear)
    words = f"Found {truth.n_found} of the {len(smear.cells)} white cells that were drawn"
    assert words in done.stdout
    for label, kind in truth.kinds.items():
        assert re.search(rf"^ *{label} +{kind} +#\d+ ", done.stdout, re.MULTILINE)


def test_the_demo_again_costs_no_model_time_unless_asked_to_start_anew(
    tmp_path, monkeypatch, invoke
):
    assert invoke("demo", "--out", tmp_path, "--no-view").exit_code == 0
    encoded = []
    tokens = Bundle.tokens

    def count(bundle, pixels):
        encoded.append(len(pixels))
        return tokens(bundle, pixels)

    monkeypatch.setattr(Bundle, "tokens", count)
    assert invoke("demo", "--out", tmp_path, "--no-view").exit_code == 0
    assert not encoded
    assert invoke("demo", "--out", tmp_path, "--no-view", "--overwrite").exit_code == 0
    assert sum(encoded) == len(open_run(tmp_path / "smear.cytosae"))


def test_a_damaged_sample_is_drawn_anew(tmp_path, invoke):
    assert invoke("demo", "--out", tmp_path, "--no-view").exit_code == 0
    (tmp_path / "sample-smear" / "smear.ome.tif").write_bytes(b"II*\0")
    done = invoke("demo", "--out", tmp_path, "--no-view")
    assert done.exit_code == 0, done.output
    assert "written anew" in done.stderr


def test_an_image_of_ones_own_has_no_truth_to_be_compared_with(tmp_path, smear, invoke):
    Image.fromarray(smear.image).save(tmp_path / "mine.png")
    done = invoke("demo", tmp_path / "mine.png", "--out", tmp_path / "out", "--no-view")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "mine.cytosae" / "export" / "overview.png").is_file()
    assert "drawn" not in done.stdout
    assert not (tmp_path / "out" / "sample-smear").exists()


def test_an_image_that_cannot_be_read_ends_the_demo_in_one_line(tmp_path, invoke):
    done = invoke("demo", tmp_path / "nothing.png", "--out", tmp_path, "--no-view")
    assert done.exit_code == 1
    assert "nothing.png does not exist" in done.stderr


def test_napari_opens_where_there_is_a_screen(tmp_path, opened, invoke):
    assert invoke("demo", "--out", tmp_path).exit_code == 0
    assert opened == [tmp_path / "smear.cytosae"]


def test_napari_stays_away_where_it_is_not_wanted(tmp_path, opened, monkeypatch, invoke):
    assert invoke("demo", "--out", tmp_path, "--no-view").exit_code == 0
    monkeypatch.setenv("CI", "true")
    assert invoke("demo", "--out", tmp_path).exit_code == 0
    assert not opened


def test_a_window_that_cannot_open_does_not_spoil_the_demo(tmp_path, opened, monkeypatch, invoke):
    def fail(_):
        raise ImportError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr("napari_cytosae.cli.view.open_window", fail)
    done = invoke("demo", "--out", tmp_path)
    assert done.exit_code == 0
    assert "napari is not opened: libEGL.so.1" in done.stderr


def test_found_cells_are_counted_against_the_drawn_ones(smear):
    drawn = smear.cells[["label", "centroid_y", "centroid_x"]]
    exact = compare(drawn, smear)
    assert (exact.n_found, exact.n_drawn, exact.n_false) == (len(drawn), len(drawn), 0)
    assert exact.kinds == dict(zip(smear.cells["label"], smear.cells["kind"], strict=True))

    twice_and_beside = pd.concat([drawn[:2], drawn[:1], drawn[:1].assign(centroid_y=-3.0)])
    twice_and_beside["label"] = range(1, 5)
    counted = compare(twice_and_beside, smear)
    assert (counted.n_found, counted.n_false) == (2, 2)
    assert set(counted.kinds) <= {1, 2, 3, 4}
