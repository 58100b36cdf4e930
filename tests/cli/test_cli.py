import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cytosae.cli.analyze import find_images, run_folders
from napari_cytosae.cli.progress import Display
from napari_cytosae.concepts import open_run
from napari_cytosae.errors import ImageError
from napari_cytosae.export import strongest_on_cell
from napari_cytosae.models import Bundle


def run_command(*arguments, **environment):
    """Run the command in a process of its own."""
    code = "from napari_cytosae.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


# Starting up


@pytest.mark.parametrize(
    "arguments", [["--help"], ["analyze", "--help"], ["bundles", "--help"], ["--version"]]
)
def test_help_loads_neither_models_nor_windows_nor_arrays(arguments):
    code = (
        "import sys\n"
        "from napari_cytosae.cli import app\n"
        f"app({arguments}, standalone_mode=False)\n"
        "heavy = {'torch', 'timm', 'napari', 'qtpy', 'numpy', 'pandas', 'matplotlib', 'anndata'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "napari-cytosae" in done.stdout or "Usage" in done.stdout


def test_the_command_is_installed_and_lists_its_commands():
    done = run_command("--help")
    assert done.returncode == 0
    for command in ("analyze", "view", "demo", "bundles"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


# What an image gets


def test_each_image_gets_a_run_and_a_broken_one_does_not_stop_the_others(
    images, model, tmp_path, invoke
):
    done = invoke("analyze", *images, "--out", tmp_path / "out", *model)
    assert done.exit_code == 1
    assert "b.png" in done.stderr
    assert "1 of 3 images failed: b.png" in done.stderr
    assert "Traceback" not in done.output
    runs = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert runs == ["a.cytosae", "c.cytosae"]
    for name in runs:
        run = open_run(tmp_path / "out" / name)
        assert not run.unfinished
        assert len(run) > 0
        assert {file.name for file in (run.path / "export").iterdir()} == {
            "cells.csv", "concepts.csv", "overview.png", "concepts.png",
        }  # fmt: skip
        assert re.search(rf"^{name[0]}\.png +{len(run)} .*#\d+.* {name}", done.stdout, re.M)


def test_repeating_the_command_reopens_the_runs_without_the_model(
    images, model, tmp_path, monkeypatch, invoke
):
    command = ["analyze", images[0], "--out", tmp_path, "--no-pictures", *model]
    assert invoke(*command).exit_code == 0
    before = (tmp_path / "a.cytosae" / "export" / "cells.csv").read_bytes()

    def fail(*_):
        raise AssertionError("the model ran")

    monkeypatch.setattr(Bundle, "tokens", fail)
    again = invoke(*command)
    assert again.exit_code == 0, again.output
    assert "all encoded before" in again.stderr
    assert (tmp_path / "a.cytosae" / "export" / "cells.csv").read_bytes() == before


def test_another_image_in_the_same_place_is_refused_unless_it_may_be_overwritten(
    images, model, tmp_path, invoke
):
    command = ["analyze", images[0], "--out", tmp_path, *model]
    assert invoke(*command).exit_code == 0
    images[0].write_bytes(images[2].read_bytes())
    refused = invoke(*command)
    assert refused.exit_code == 1
    assert "another image" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert invoke(*command, "--overwrite", "--no-pictures").exit_code == 0
    # No picture of the image that is gone may pass for one of the new image.
    assert not (tmp_path / "a.cytosae" / "export" / "overview.png").exists()


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    images, model, tmp_path, monkeypatch, resumed, invoke
):
    command = ["analyze", images[0], images[2], "--out", tmp_path, "--no-pictures", *model]
    show = Display.show

    def show_and_press(display, step):
        show(display, step)
        if step.stage == "encode" and display._place == 2:
            signal.raise_signal(signal.SIGINT)

    # A process that was started in the background may have inherited that Ctrl-C is ignored.
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Display, "show", show_and_press)
        stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert "Stopped with 1 of 2 images finished" in stopped.stderr
    assert "repeat the command" in stopped.stderr
    assert not open_run(tmp_path / "a.cytosae").unfinished
    assert open_run(tmp_path / "c.cytosae").unfinished
    assert signal.getsignal(signal.SIGINT) is before
    if resumed:
        assert invoke(*command).exit_code == 0
        run = open_run(tmp_path / "c.cytosae")
        whole = tmp_path / "whole"
        assert invoke("analyze", images[2], "--out", whole, "--no-pictures", *model).exit_code == 0
        uninterrupted = open_run(whole / "c.cytosae")
        assert not run.unfinished
        assert (run.adata.X != uninterrupted.adata.X).nnz == 0


@pytest.mark.parametrize("kind", ["labels.tif", "labels.png", "centres.csv"])
def test_cells_come_from_a_file(smear, images, model, tmp_path, kind, invoke):
    path = tmp_path / kind
    if kind == "labels.tif":
        tifffile.imwrite(path, smear.labels)
    elif kind == "labels.png":
        Image.fromarray(smear.labels.astype(np.uint16)).save(path)
    else:
        smear.cells[["centroid_y", "centroid_x"]].to_csv(path, index=False)
    done = invoke("analyze", images[0], "--out", tmp_path, "--cells", path, "--no-pictures", *model)
    assert done.exit_code == 0, done.output
    run = open_run(tmp_path / "a.cytosae")
    assert len(run) == len(smear.cells)
    centres = ["centroid_y", "centroid_x"]
    found = run.table.sort_values(centres)[centres].to_numpy()
    drawn = smear.cells.sort_values(centres)[centres].to_numpy()
    np.testing.assert_allclose(found, drawn, atol=1)


def test_a_whole_image_is_one_cell(images, model, tmp_path, invoke):
    assert (
        invoke(
            "analyze", images[0], "--out", tmp_path, "--cells", "whole", "--no-pictures", *model
        ).exit_code
        == 0
    )
    run = open_run(tmp_path / "a.cytosae")
    assert len(run) == 1
    assert run.manifest.key.whole


def test_options_reach_the_run(images, model, tmp_path, invoke):
    options = ["--microns-per-pixel", 0.125, "--crop-um", 20, "--threshold", 0.5]
    options += ["--precision", "float32", "--device", "cpu", "--no-pictures"]
    assert invoke("analyze", images[0], "--out", tmp_path, *options, *model).exit_code == 0
    run = open_run(tmp_path / "a.cytosae")
    key = run.manifest.key
    assert (key.microns_per_pixel, key.crop_um, key.precision) == (0.125, 20, "float32")
    assert run.manifest.threshold == 0.5
    np.testing.assert_allclose(run.boxes[:, 2] - run.boxes[:, 0], 160)


def test_a_focus_reaches_the_run(images, model, tmp_path, invoke):
    (tmp_path / "focus.csv").write_text("name,concept_id\nnucleus,7\n,3\n")
    options = ["--out", tmp_path / "out", "--focus", tmp_path / "focus.csv", "--no-pictures"]
    assert invoke("analyze", images[0], *options, *model).exit_code == 0
    assert open_run(tmp_path / "out" / "a.cytosae").focus.tolist() == [3, 7]
    (tmp_path / "focus.csv").write_text("1000000\n")
    refused = invoke("analyze", images[0], *options, *model)
    assert refused.exit_code == 1
    assert "no concept 1000000" in refused.output


# Images of all sorts


def test_a_folder_stands_for_its_images(images, model, tmp_path, invoke):
    images[1].unlink()
    (images[0].parent / "notes.txt").write_text("no image")
    (images[0].parent / ".hidden.png").write_bytes(b"")
    done = invoke("analyze", images[0].parent, "--out", tmp_path, "--no-pictures", *model)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.glob("*.cytosae")) == ["a.cytosae", "c.cytosae"]


def test_folders_that_hold_no_images_are_named(tmp_path):
    with pytest.raises(ImageError, match="holds no images"):
        find_images([tmp_path])
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ImageError, match="napari-cytosae view"):
        find_images([tmp_path])


def test_an_image_that_is_named_twice_is_analysed_once(images):
    assert find_images([images[0], images[0].parent]) == [images[0], images[1], images[2]]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.png", "x/b.png"], ["a", "b"]),
        (["x/slide.ome.tif", "x/b.svs"], ["slide", "b"]),
        (["x/a.png", "x/a.jpg"], ["a-png", "a-jpg"]),
        (["x/a.png", "x/A.jpg"], ["a-png", "A-jpg"]),
        (["monday/a.png", "tuesday/a.png"], ["monday-a", "tuesday-a"]),
        (["p/monday/a.png", "q/monday/a.png"], ["a-1", "a-2"]),
        (["x/a.png", "y/a.png", "x/x-a.png"], ["x-a-png", "y-a-png", "x-a"]),
    ],
)
def test_runs_of_images_with_one_name_are_told_apart(paths, names):
    folders = run_folders([Path(path) for path in paths], Path("out"))
    assert folders == [Path("out") / f"{name}.cytosae" for name in names]


def test_it_is_said_which_run_belongs_to_which_image_of_the_same_name(
    images, model, tmp_path, invoke
):
    twin = tmp_path / "tuesday" / "a.png"
    twin.parent.mkdir()
    twin.write_bytes(images[2].read_bytes())
    done = invoke("analyze", images[0], twin, "--out", tmp_path / "out", "--no-pictures", *model)
    assert done.exit_code == 0, done.output
    assert re.search(r"tuesday.a\.png: .*tuesday-a\.cytosae", done.stderr)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_sixteen_bit_images_give_the_cells_of_eight_bit_ones(smear, model, tmp_path, invoke):
    tifffile.imwrite(tmp_path / "deep.tif", smear.image.astype(np.uint16) * 257, photometric="rgb")
    Image.fromarray(smear.image).save(tmp_path / "plain.png")
    out = tmp_path / "out"
    done = invoke("analyze", tmp_path, "--out", out, "--no-pictures", *model)
    assert done.exit_code == 0, done.output
    deep, plain = open_run(out / "deep.cytosae"), open_run(out / "plain.cytosae")
    assert len(deep) == len(plain) > 0
    np.testing.assert_array_equal(deep.boxes, plain.boxes)


def test_an_image_of_five_channels_is_refused_in_words(model, tmp_path, invoke):
    stack = np.zeros((5, 64, 80), np.uint8)
    tifffile.imwrite(
        tmp_path / "five.tif", stack, photometric="minisblack", metadata={"axes": "CYX"}
    )
    done = invoke("analyze", tmp_path / "five.tif", "--out", tmp_path / "out", *model)
    assert done.exit_code == 1
    assert re.search(r"five\.tif.* 5 .*(red|RGB)", done.stderr)
    assert "Traceback" not in done.output


def test_an_image_without_stained_cells_ends_well_and_says_so(model, tmp_path, invoke):
    Image.fromarray(np.full((200, 300), 235, np.uint8)).save(tmp_path / "grey.png")
    done = invoke("analyze", tmp_path / "grey.png", "--out", tmp_path / "out", *model)
    assert done.exit_code == 0, done.output
    assert "No cells were found in grey.png" in done.stderr
    assert len(open_run(tmp_path / "out" / "grey.cytosae")) == 0


# What cannot be meant


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backbone", "b.pth"], "--backbone and --sae go together"),
        (["--sae", "s.pt"], "--backbone and --sae go together"),
        (["--bundle", "starter", "--backbone", "b", "--sae", "s"], "not both"),
        (["--cells", "detekt"], "did you mean detect?"),
        (["--cells", "nowhere.csv"], "there is no such file"),
        (["--crop-um", "0"], "--crop-um"),
        (["--precision", "float8"], "--precision"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_any_work(
    options, words, images, tmp_path, invoke
):
    done = invoke("analyze", images[0], "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_file_of_cells_does_not_go_with_several_images(images, tmp_path, invoke):
    done = invoke("analyze", *images, "--out", tmp_path / "out", "--cells", images[0])
    assert done.exit_code == 2
    assert "give one image with it" in done.stderr


def test_a_misspelt_bundle_is_answered_with_the_right_name(images, tmp_path, invoke):
    done = invoke("analyze", images[0], "--out", tmp_path / "out", "--bundle", "startr")
    assert done.exit_code == 1
    assert "startr" in done.stderr
    assert "starter" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_errors_are_one_plain_line_on_stderr_and_a_traceback_on_request(tmp_path):
    command = ["analyze", "nowhere.png", "--out", tmp_path, "--bundle", "nosuch"]
    plain = run_command(*command)
    assert plain.returncode == 1
    assert len(plain.stderr.strip().splitlines()) == 1
    assert "\x1b" not in plain.stderr + plain.stdout
    assert "Traceback" in run_command("--debug", *command).stderr


# Windows


def test_without_a_display_view_says_so_in_one_line(tmp_path, monkeypatch, invoke):
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a screen")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = invoke("view", tmp_path)
    assert done.exit_code == 1
    assert "DISPLAY" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_qt_binding_view_says_what_to_install(tmp_path, monkeypatch, invoke):
    monkeypatch.setattr("napari_cytosae.cli.view.find_spec", lambda _: None)
    done = invoke("view", tmp_path)
    assert done.exit_code == 1
    assert 'pip install "napari-cytosae[all]"' in done.stderr


def test_view_names_a_path_that_is_not_there(tmp_path, invoke):
    done = invoke("view", tmp_path / "nothing.cytosae")
    assert done.exit_code == 1
    assert "nothing.cytosae does not exist" in done.stderr.replace("\n", "")


def test_the_summary_names_the_concepts_that_are_strongest_on_the_cells(
    images, model, tmp_path, invoke
):
    done = invoke("analyze", images[0], "--out", tmp_path, "--no-pictures", *model)
    run = open_run(tmp_path / "a.cytosae")
    strength = {}
    for label in run.table["label"]:
        for found in strongest_on_cell(run, int(label), 6):
            concept_id = found.concept.concept_id
            strength[concept_id] = strength.get(concept_id, 0) + found.on_cell
    strongest = sorted(strength, key=lambda concept_id: -strength[concept_id])[:3]
    assert ", ".join(f"#{concept_id}" for concept_id in strongest) in done.stdout


def test_a_region_leaves_the_cells_outside_out(images, model, tmp_path, invoke):
    whole = ["analyze", images[0], "--out", tmp_path / "whole", *model, "--no-pictures"]
    assert invoke(*whole).exit_code == 0
    every = open_run(next((tmp_path / "whole").glob("*.cytosae"))).table
    middle = int(every["centroid_x"].median())
    part = ["analyze", images[0], "--out", tmp_path / "part", *model, "--no-pictures"]
    done = invoke(*part, "--region", f"0,0,9999,{middle}")
    assert done.exit_code == 0, done.output
    cells = open_run(next((tmp_path / "part").glob("*.cytosae"))).table
    expected = every["label"][every["centroid_x"] < middle - 0.5]
    assert 0 < len(cells) < len(every)
    assert list(cells["label"]) == list(expected)


def test_a_region_is_checked_before_the_model_is_loaded(images, tmp_path, invoke):
    refused = invoke("analyze", images[0], "--out", tmp_path, "--region", "5,5,1,1")
    assert refused.exit_code == 2
    assert "empty" in refused.output
    refused = invoke("analyze", *images[:2], "--out", tmp_path, "--region", "0,0,9,9")
    assert refused.exit_code == 2
    assert "one image" in refused.output


# What it would take


def test_an_estimate_tells_of_each_image_and_writes_nothing(images, model, tmp_path, invoke):
    out = tmp_path / "out"
    done = invoke("analyze", *images, "--out", out, *model, "--estimate")
    assert done.exit_code == 1
    assert "b.png" in done.stderr
    assert not out.exists()
    for name in ("a.png", "c.png", "all"):
        assert re.search(rf"^{re.escape(name)} +\d+ cells, \d+ s", done.stdout, re.MULTILINE)
    assert "Nothing was written." in done.stdout


def test_an_estimate_fails_where_the_disk_is_too_small(
    images, model, tmp_path, invoke, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("napari_cytosae.concepts.trial.shutil.disk_usage", lambda _: usage)
    done = invoke("analyze", images[0], "--out", tmp_path / "out", *model, "--estimate")
    assert done.exit_code == 1
    assert "Make room, or choose another folder." in done.stderr
