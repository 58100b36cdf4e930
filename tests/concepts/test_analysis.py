import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_images import make_cells, make_image
from PIL import Image

from napari_cytosae.cells import Cells
from napari_cytosae.concepts import (
    AnalysisJob,
    CellsFound,
    EncodedBatch,
    Progress,
    Run,
    analysis,
    analyze,
    analyze_steps,
    default_folder,
    durable,
    open_run,
)
from napari_cytosae.concepts import job as job_module
from napari_cytosae.errors import Cancelled, CellsError, OtherRunError, RunError
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide

N_CELLS = 21
SHARD_CELLS = 8


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(analysis, "SHARD_CELLS", SHARD_CELLS)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "smear.png"
    Image.fromarray(make_image()).save(path)
    return path


@pytest.fixture
def job(image, bundle, tmp_path):
    """Keyword arguments of an analysis of 21 cells in three shards."""
    return {
        "image": image,
        "bundle": bundle,
        "cells": make_cells(N_CELLS),
        "out": tmp_path / "x.cytosae",
        "precision": "float32",
        "device": "cpu",
        "batch_cells": 4,
    }


@pytest.fixture
def no_model(monkeypatch):
    """Make any use of the model an error."""

    def forbidden(*_):
        raise AssertionError

    def forbid():
        monkeypatch.setattr(Bundle, "tokens", forbidden)

    return forbid


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("tokens/*"))}


def assert_same_run(one: Run, other: Run) -> None:
    assert shard_bytes(one.path) == shard_bytes(other.path)
    for layer in (None, "max", "count"):
        mine, theirs = (
            run.adata.X if layer is None else run.adata.layers[layer] for run in (one, other)
        )
        np.testing.assert_array_equal(mine.data, theirs.data)
        np.testing.assert_array_equal(mine.indices, theirs.indices)
        np.testing.assert_array_equal(mine.indptr, theirs.indptr)
    pd.testing.assert_frame_equal(one.adata.obs, other.adata.obs)
    pd.testing.assert_frame_equal(one.adata.var, other.adata.var)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_a_run_holds_every_cell_and_nothing_unfinished(job):
    run = analyze(**job)
    assert not run.unfinished
    assert len(run) == N_CELLS
    assert run.encoded.all()
    assert run.note == ""
    assert run.adata.shape == (N_CELLS, 96)
    np.testing.assert_array_equal(run.labels, job["cells"].labels)
    np.testing.assert_array_equal(run.table["label"], job["cells"].table["label"])
    assert sorted(path.name for path in run.path.iterdir()) == [
        "by_concept.h5", "cells.csv", "cells.h5ad", "labels.tif", "measures", "run.json",
        "run.lock", "tokens",
    ]  # fmt: skip


def test_profiles_maps_and_lists_all_come_from_the_stored_activations(job, bundle):
    run = analyze(**job)
    for row, label in enumerate(run.table["label"]):
        cell = run.cell(label)
        dense = np.zeros((257, 96))
        tokens = np.repeat(np.arange(257), np.diff(cell.indptr))
        dense[tokens, cell.concept_ids] = cell.values
        np.testing.assert_allclose(run.adata.X[row].toarray()[0], dense.mean(axis=0), rtol=1e-6)
        ranked = run.active_concepts(label)
        order = np.argsort(-dense.mean(axis=0))[: len(ranked)]
        assert [concept.concept_id for concept in ranked] == list(order)
    frequency = (run.adata.X.toarray() > 0).mean(axis=0)
    for concept in ranked:
        assert concept.run_frequency == pytest.approx(frequency[concept.concept_id])


def test_progress_counts_cells_up_to_all_of_them(job):
    seen: list[Progress] = []
    analyze(**job, progress=seen.append)
    assert list(dict.fromkeys(step.stage for step in seen)) == [
        "open", "detect", "encode", "measure", "write",
    ]  # fmt: skip
    encode = [step for step in seen if step.stage == "encode"]
    assert [step.done for step in encode] == [0, 4, 8, 12, 16, 20, 21]
    assert {step.total for step in encode} == {N_CELLS}


def test_steps_give_cells_first_then_batches_then_the_run(job):
    steps = [s for s in analyze_steps(AnalysisJob(**job)) if not isinstance(s, Progress)]
    assert isinstance(steps[0], CellsFound)
    np.testing.assert_array_equal(steps[0].labels, job["cells"].labels)
    batches = steps[1:-1]
    assert all(isinstance(step, EncodedBatch) for step in batches)
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in batches]), job["cells"].table["label"]
    )
    assert isinstance(steps[-1], Run)


# -- reopening ------------------------------------------------------------------------------


def test_the_same_analysis_again_reopens_the_run_without_the_model(job, no_model):
    first = analyze(**job)
    before = {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.name != "run.lock"}
    no_model()
    assert_same_run(analyze(**job), first)
    after = {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.name != "run.lock"}
    assert after == before


def test_a_copied_image_under_another_name_is_the_same_image(job, image, no_model):
    analyze(**job)
    no_model()
    analyze(**{**job, "image": image.rename(image.with_name("renamed.png"))})


def test_auto_precision_goes_on_with_what_the_run_has(job, no_model):
    analyze(**{**job, "precision": "bfloat16"})
    no_model()
    assert analyze(**{**job, "precision": "auto"}).manifest.key.precision == "bfloat16"


def other_bundle(bundle):
    return Bundle("other", bundle.backbone, bundle.sae, digest="f" * 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": make_image(seed=1)}, "another image"),
        ({"cells": make_cells(N_CELLS - 1)}, "other cells"),
        ({"cells": make_cells(N_CELLS).labels}, "other cells"),
        ({"cells": "whole"}, "other cells"),
        ({"crop_um": 20.0}, "another crop size"),
        ({"microns_per_pixel": 0.5}, "another pixel size"),
        ({"bundle": None}, "another bundle"),
        ({"precision": "bfloat16"}, r"another precision \(float32 there, bfloat16 now\)"),
        ({"focus": [1, 2]}, r"another focus \(all concepts there, \w{8}… now\)"),
    ],
)
def test_other_inputs_never_touch_a_run_that_is_there(job, bundle, change, words):
    run = analyze(**job)
    before = shard_bytes(run.path)
    if "bundle" in change:
        change = {"bundle": other_bundle(bundle)}
    with pytest.raises(OtherRunError, match=rf"(?s){words}.*overwrite=True"):
        analyze(**{**job, **change})
    assert shard_bytes(run.path) == before
    assert not open_run(run.path).unfinished


def test_a_focused_run_holds_those_concepts_only_and_is_another_run(job, bundle, tmp_path):
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"})
    active = np.flatnonzero(whole.concepts["frequency"].to_numpy() > 0.5)[:6]
    assert len(active) == 6
    ids = active[::-1].tolist()
    run = analyze(**job, focus=ids)
    np.testing.assert_array_equal(run.focus, active)
    assert (whole.focus, run.d_sae) == (None, whole.d_sae)
    for name in (None, "max", "count"):
        ours, theirs = (
            (r.adata.X if name is None else r.adata.layers[name]).toarray() for r in (run, whole)
        )
        expected = np.zeros_like(theirs)
        expected[:, active] = theirs[:, active]
        np.testing.assert_allclose(ours, expected, atol=1e-3)
    assert run.concepts["encoded"].to_numpy().nonzero()[0].tolist() == active.tolist()
    assert whole.concepts["encoded"].all()
    with pytest.raises(OtherRunError, match=r"another focus \(\w{8}… there, all concepts now\)"):
        analyze(**job)
    with pytest.raises(OtherRunError, match="another focus"):
        analyze(**job, focus=ids[1:])
    (tmp_path / "focus.txt").write_text("\n".join(map(str, ids)))
    assert_same_run(analyze(**job, focus=tmp_path / "focus.txt"), run)
    assert_same_run(analyze(**{**job, "bundle": bundle.focused(ids)}), run)


def test_a_focused_run_goes_on_after_a_stop_and_knows_a_changed_list(job, tmp_path):
    ids = range(0, 96, 2)
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"}, focus=ids)
    with pytest.raises(Cancelled):
        analyze(**job, focus=ids, cancelled=iter([False] * 3 + [True] * 99).__next__)
    stopped = open_run(job["out"])
    assert stopped.unfinished
    np.testing.assert_array_equal(stopped.focus, ids)
    assert not stopped.concepts["encoded"].all()
    assert_same_run(analyze(**job, focus=ids), whole)
    (job["out"] / "focus.csv").write_text("concept_id\n3\n")
    with pytest.raises(RunError, match=r"focus\.csv is not the list"):
        _ = open_run(job["out"]).focus


def test_runs_of_versions_without_focus_are_read_and_gone_on_with(job, no_model):
    run = analyze(**job)
    content = json.loads((run.path / "run.json").read_text())
    del content["key"]["focus"]
    (run.path / "run.json").write_text(json.dumps(content))
    no_model()
    assert analyze(**job).focus is None


def test_overwriting_replaces_the_run_and_only_its_own_files(job):
    run = analyze(**job)
    (run.path / "notes.txt").write_text("mine")
    again = analyze(**{**job, "cells": make_cells(3)}, overwrite=True)
    assert len(again) == 3
    assert len(shard_bytes(again.path)) == 1
    assert (run.path / "notes.txt").read_text() == "mine"


def test_another_threshold_counts_anew_without_the_model(job, no_model):
    low = analyze(**job, threshold=0.2).adata.layers["count"].toarray()
    no_model()
    run = analyze(**job, threshold=2.0)
    assert (run.adata.layers["count"].toarray() <= low).all()
    assert run.adata.layers["count"].sum() < low.sum()
    assert open_run(run.path).manifest.threshold == 2.0


def test_a_folder_with_other_files_is_refused_and_left_alone(job):
    job["out"].mkdir()
    (job["out"] / "thesis.docx").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"thesis\.docx"):
            analyze(**job, overwrite=overwrite)
    assert [path.name for path in job["out"].iterdir()] == ["thesis.docx"]


def test_a_second_analysis_leaves_the_folder_of_a_first_one_alone(job, monkeypatch):
    folder, refused = job["out"], []

    def detect(*_, **__):
        # The first analysis is still looking for cells: there is nothing but its lock.
        before = sorted(path.name for path in folder.rglob("*"))
        with pytest.raises(RunError, match="is being written by process"):
            analyze(**job)
        assert sorted(path.name for path in folder.rglob("*")) == before
        refused.append(True)
        return make_cells(3)

    monkeypatch.setattr(job_module, "read_cells", detect)
    assert len(analyze(**{**job, "cells": "detect"})) == 3
    assert refused


def test_a_file_in_the_folders_place_is_refused(job):
    job["out"].write_text("a file")
    with pytest.raises(RunError, match="is a file"):
        analyze(**job)


def test_a_failure_before_there_is_anything_to_keep_leaves_no_folder(job):
    with pytest.raises(CellsError):
        analyze(**{**job, "cells": "no-such-file.csv"})
    assert not job["out"].exists()


# -- going on after a stop --------------------------------------------------------------------


@pytest.mark.parametrize("n_batches", [0, 1, 2, 3, 5])
def test_a_cancelled_run_goes_on_and_ends_with_the_same_bits(job, tmp_path, n_batches):
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"})
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        analyze(
            **job,
            progress=seen.append,
            cancelled=lambda: sum(step.stage == "encode" for step in seen) > n_batches,
        )
    half = open_run(job["out"])
    assert half.unfinished
    assert half.encoded.sum() == n_batches * 4 // SHARD_CELLS * SHARD_CELLS
    kept = shard_bytes(half.path)
    finished = analyze(**{**job, "batch_cells": 16})  # the run keeps to its own batches
    assert {
        name: content for name, content in shard_bytes(half.path).items() if name in kept
    } == kept
    assert_same_run(finished, whole)


def test_a_consumer_that_leaves_keeps_what_is_written_and_frees_the_folder(job):
    steps = analyze_steps(AnalysisJob(**job))
    for step in steps:
        if isinstance(step, Progress) and step.stage == "encode" and step.done == 12:
            break
    steps.close()
    assert open_run(job["out"]).encoded.sum() == 8
    assert not analyze(**job).unfinished


def test_an_unfinished_run_answers_for_the_cells_it_has(job):
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        analyze(**job, progress=seen.append, cancelled=lambda: len(seen) > 5)
    half = open_run(job["out"])
    done, missing = half.table["label"][half.encoded], half.table["label"][~half.encoded]
    assert len(done) == 8
    assert half.adata.n_obs == 8
    assert half.active_concepts(done.iloc[0])
    assert half.concept_maps(3).shape == (N_CELLS, 16, 16)
    assert half.strengths(3).shape == (N_CELLS,)
    with pytest.raises(RunError, match="not encoded yet"):
        half.cell(missing.iloc[0])


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "other cells"])
def test_a_damaged_shard_is_named_and_computed_anew(job, tmp_path, damage, caplog):
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"})
    run = analyze(**job)
    path = run.path / "tokens" / "shard-000001.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "delete":
        path.unlink()
    else:
        path.write_bytes((run.path / "tokens" / "shard-000000.safetensors").read_bytes())
    messages: list[str] = []
    repaired = analyze(**job, progress=lambda step: messages.append(step.message))
    assert_same_run(repaired, whole)
    if damage != "delete":
        assert any("shard-000001.safetensors" in message for message in messages)
        assert "shard-000001.safetensors" in caplog.text


def test_lost_profiles_are_written_anew_without_the_model(job, tmp_path, no_model):
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"})
    run = analyze(**job)
    (run.path / "cells.h5ad").unlink()
    no_model()
    assert_same_run(analyze(**job), whole)


def test_a_full_disk_says_what_is_needed_and_the_run_goes_on_later(job, tmp_path, monkeypatch):
    whole = analyze(**{**job, "out": tmp_path / "whole.cytosae"})
    fsync = durable.os.fsync
    written: list[int] = []

    def full_disk(descriptor):
        written.append(descriptor)
        if len(written) > 8:  # cells, labels, the manifest and one shard fit
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full_disk)
        with pytest.raises(RunError, match=r"disk is full.*MiB are needed.*start the same"):
            analyze(**job)
    assert open_run(job["out"]).encoded.sum() == SHARD_CELLS
    assert not list(job["out"].rglob("*.part"))
    assert_same_run(analyze(**job), whole)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from made_images import make_cells
from napari_cytosae.concepts import analysis, durable
from napari_cytosae.models import load_bundle
analysis.SHARD_CELLS = 4
backbone, sae, image, folder = sys.argv[2:6]
bundle = load_bundle(backbone=backbone, sae=sae)
calls, deadly = 0, 0

def counted(real):
    def call(*arguments):
        global calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

# Each file costs three calls: its flush, its rename, its folder's flush.
durable.os.fsync = counted(os.fsync)
Path.replace = counted(Path.replace)

# Importing torch anew for each attempt would take longer than all of them.
for line in sys.stdin:
    name, deadly = json.loads(line)
    child = os.fork()
    if not child:
        analysis.analyze(
            image, bundle, make_cells(21), Path(folder, name),
            precision="float32", device="cpu", batch_cells=2,
        )
        print(calls, flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print(status, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded torch")
def test_killed_at_any_write_a_run_ends_with_the_same_bits(bundle_files, image, tmp_path):
    arguments = [Path(__file__).parent, *bundle_files, image, tmp_path]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip

        def attempt(name: str, deadly: int) -> int:
            """Analyse, and be killed at that call; give the number of calls, or the signal below 0."""
            process.stdin.write(json.dumps([name, deadly]) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        n_calls = attempt("whole.cytosae", 0)
        assert n_calls >= 30  # 6 shards, 3 manifests, the table, the labels, the profiles
        rng = np.random.default_rng(0)
        kills = 0
        for number in range(10):
            # Later attempts on a run have fewer calls left; a kill that comes too late is a
            # finished run.
            name = f"killed-{number // 5}.cytosae"
            outcome = attempt(name, int(rng.integers(1, n_calls // 2)))
            assert outcome > 0 or outcome == -signal.SIGKILL
            kills += outcome < 0
        assert kills >= 6
        whole = open_run(tmp_path / "whole.cytosae")
        for name in ("killed-0.cytosae", "killed-1.cytosae"):
            assert attempt(name, 0) >= 0  # writes, none where a kill came too late
            assert not list((tmp_path / name).rglob("*.part"))
            assert_same_run(open_run(tmp_path / name), whole)
        process.stdin.close()


# -- what comes in ----------------------------------------------------------------------------


def test_an_image_without_cells_is_a_finished_empty_run(job, no_model):
    nothing = make_cells(0)
    messages: list[str] = []
    run = analyze(**{**job, "cells": nothing}, progress=lambda step: messages.append(step.message))
    assert not run.unfinished
    assert len(run) == 0
    assert "No cells were found in smear.png" in run.note
    assert run.note in messages
    assert run.adata.shape == (0, 96)
    assert run.boxes.shape == (0, 4)
    assert run.concept_maps(0).shape == (0, 16, 16)
    assert run.strengths(0).shape == (0,)
    with pytest.raises(RunError, match="no cells"):
        run.active_concepts(1)
    no_model()
    assert len(analyze(**{**job, "cells": nothing})) == 0


def test_detected_cells_are_not_looked_for_twice(job, monkeypatch):
    found = make_cells(3)
    monkeypatch.setattr(job_module, "read_cells", lambda *_, **__: found)
    analyze(**{**job, "cells": "detect"})
    monkeypatch.delattr(job_module, "read_cells")
    assert len(analyze(**{**job, "cells": "detect"})) == 3


def test_the_whole_image_can_be_the_one_crop(job):
    run = analyze(**{**job, "cells": "whole"})
    assert len(run) == 1
    np.testing.assert_array_equal(run.boxes, [[-40, 0, 200, 240]])  # 160 × 240, made square
    assert run.active_concepts(1)


def test_cells_of_another_image_are_refused(job):
    with pytest.raises(CellsError, match=r"smear\.png"):
        analyze(**{**job, "cells": make_cells(3, shape=(80, 80))})


def test_columns_that_a_user_added_reach_the_profiles(job):
    cells = make_cells(4)
    table = cells.table.assign(
        **{
            "stain/batch": ["a", None, "b", "a"],
            "score": [1.5, np.nan, 2.0, 3.0],
            "_x": [1, 2, 3, 4],
        }
    )
    run = analyze(**{**job, "cells": Cells(cells.labels, None, table)})
    assert list(run.adata.obs["stain_batch"]) == ["a", "", "b", "a"]
    assert run.adata.obs["score"].isna().sum() == 1
    assert list(run.adata.obs["x"]) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("smear.png", "smear.cytosae"), ("a.b.tif", "a.b.cytosae"), ("s.ome.tif", "s.cytosae")],
)
def test_the_folder_lies_beside_the_image(tmp_path, name, folder):
    assert default_folder(tmp_path / name) == tmp_path / folder


def test_an_array_has_no_folder_beside_it(job):
    with pytest.raises(RunError, match="out="):
        analyze(**{**job, "image": make_image(), "out": None})


def test_a_run_knows_where_its_slide_lies_even_when_both_move(job, image, tmp_path):
    analyze(**job)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (job["out"], image):
        path.rename(moved / path.name)
    assert open_run(moved / "x.cytosae").slide_path == moved / "smear.png"


def test_the_manifest_names_what_the_run_was_made_from(job, bundle, image):
    run = analyze(**job, microns_per_pixel=0.25)
    content = json.loads((run.path / "run.json").read_text())
    assert content["format_version"] == 1
    assert content["key"]["bundle"] == bundle.digest
    assert content["key"]["image"] == Slide.open(image).digest
    assert content["key"]["microns_per_pixel"] == 0.25
    assert content["slide_path"] == "../smear.png"
    assert content["state"] == "finished"
    assert content["created"] <= content["finished"]
    np.testing.assert_array_equal(run.boxes[:, 2] - run.boxes[:, 0], 100)  # 25 µm
    assert run.adata.uns["cytosae"]["key"]["bundle"] == bundle.digest
