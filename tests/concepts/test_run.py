import json
import subprocess
import sys

import pytest
from made_images import make_cells, make_image

from napari_cytosae.concepts import analyze, open_run
from napari_cytosae.errors import RunError


@pytest.fixture
def folder(bundle, tmp_path):
    return analyze(
        make_image(), bundle, make_cells(3), tmp_path / "x.cytosae",
        precision="float32", device="cpu",
    ).path  # fmt: skip


def test_a_folder_that_is_no_run_is_said_so(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.cytosae"):
        with pytest.raises(RunError, match="is no run"):
            open_run(path)


def test_a_later_format_is_not_guessed_at(folder):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(RunError, match=r"format version 99.*reads versions up to 2"):
        open_run(folder)


def test_a_run_of_an_earlier_version_is_read_and_learns_its_sae_when_it_is_analysed_again(
    folder, bundle
):
    path = folder / "run.json"
    content = json.loads(path.read_text())
    assert content.pop("sae_digest") == bundle.sae_digest
    path.write_text(json.dumps(content))
    assert open_run(folder).sae_digest is None
    again = analyze(make_image(), bundle, make_cells(3), folder, precision="float32", device="cpu")
    assert again.sae_digest == open_run(folder).sae_digest == bundle.sae_digest


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 1}'])
def test_a_damaged_manifest_is_an_error_that_names_it(folder, content):
    (folder / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json"):
        open_run(folder)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("cells.csv", lambda run: run.table),
        ("labels.tif", lambda run: run.labels),
        ("cells.h5ad", lambda run: run.adata),
        ("cells.h5ad", lambda run: run.concepts),
        ("tokens/shard-000000.safetensors", lambda run: run.cell(5)),
        ("tokens/shard-000000.safetensors", lambda run: run.concept_maps(1)),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(folder, name, ask):
    (folder / name).write_bytes(b"not what it was")
    with pytest.raises(RunError, match=name.rpartition("/")[2]):
        ask(open_run(folder))


def test_a_run_without_its_slide_says_that_it_has_none(folder):
    assert open_run(folder).slide_path is None


def test_a_run_is_read_without_torch(folder):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['napari'] = sys.modules['qtpy'] = None\n"
        "from napari_cytosae.concepts import open_run\n"
        "run = open_run(sys.argv[1])\n"
        "print(len(run.active_concepts(5)), run.concept_map(5, 3).shape, run.adata.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("(16, 16) (3, 96)\n")
