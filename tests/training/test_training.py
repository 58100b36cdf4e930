"""A training as its user meets it: folder, log, stop, kill, resume, processes."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_script import config, images

from napari_cytosae.errors import Cancelled, RunError, TrainingError
from napari_cytosae.models import load_sae
from napari_cytosae.training import open_training, train_sae

SCRIPT = Path(__file__).with_name("training_script.py")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "sae.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_holds_it_all(tmp_path):
    trained = train_sae(images(), config(12), block=3, out=tmp_path / "t", device="cpu")
    assert [record["step"] for record in trained.history] == list(range(1, 13))
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert sorted(path.name for path in (tmp_path / "t").iterdir() if path.suffix) == [
        "checkpoint.safetensors", "log.jsonl", "run.lock",
        "sae.json", "sae.safetensors", "training.json",
    ]  # fmt: skip
    again = open_training(tmp_path / "t")
    assert again.config == trained.config
    assert again.history == trained.history
    assert again.sae.block == load_sae(tmp_path / "t").block == 3
    assert torch.equal(again.sae.W_enc, trained.sae.W_enc)
    lengths = trained.sae.W_dec.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(64))


def test_unit_rows_do_not_change_the_reconstruction():
    # Before they are brought to length one, rows are those of the last step.
    one = train_sae(images(), config(1, lr=0.3, warmup_steps=0), device="cpu").sae
    x = images().reshape(-1, 16)
    f = one.encode(x)
    assert float(f.max()) > 0
    torch.testing.assert_close(one.decode(f), f @ one.W_dec + one.b_dec)


def test_a_second_training_does_not_overwrite_the_first(tmp_path):
    train_sae(images(), config(3), out=tmp_path, device="cpu")
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="holds a training already"):
        train_sae(images(), config(3), out=tmp_path, device="cpu")
    with pytest.raises(TrainingError, match=r"l1 0\.01 there, 0\.02 now"):
        train_sae(images(), config(3, l1=2e-2), out=tmp_path, resume=True, device="cpu")
    with pytest.raises(TrainingError, match="other tokens"):
        train_sae(images() + 1, config(3), out=tmp_path, resume=True, device="cpu")
    with pytest.raises(TrainingError, match="other tokens"):
        train_sae(images(), config(3), block=5, out=tmp_path, resume=True, device="cpu")
    after = weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_stopped_and_gone_on_with_equals_uninterrupted(tmp_path):
    calls = iter([False] * 7 + [True])
    with pytest.raises(Cancelled, match="after 8 steps"):
        train_sae(
            images(), config(20), out=tmp_path / "a", device="cpu", cancelled=lambda: next(calls)
        )
    with pytest.raises(TrainingError, match="not finished"):
        open_training(tmp_path / "a")
    resumed = train_sae(images(), config(20), out=tmp_path / "a", resume=True, device="cpu")
    whole = train_sae(images(), config(20), out=tmp_path / "b", resume=True, device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")
    assert resumed.history == whole.history
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()


def test_a_finished_training_can_be_made_longer(tmp_path):
    train_sae(images(), config(8), out=tmp_path / "a", device="cpu")
    train_sae(images(), config(20), out=tmp_path / "a", resume=True, device="cpu")
    train_sae(images(), config(20), out=tmp_path / "b", device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_training_cannot_be_made_shorter(tmp_path):
    train_sae(images(), config(6), out=tmp_path, device="cpu")
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="has gone 6 steps already, and 4"):
        train_sae(images(), config(4), out=tmp_path, resume=True, device="cpu")
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("others", [{"activation": "topk", "k": 3, "prefixes": (8, 20)}])
def test_batches_of_the_caller_are_resumed_too(tmp_path, others):
    def batches():
        return [images()[first : first + 8] for first in range(0, 40, 8)]

    made = config(9, **others)
    stop = iter([False] * 3 + [True])
    with pytest.raises(Cancelled):
        train_sae(batches(), made, out=tmp_path / "a", device="cpu", cancelled=lambda: next(stop))
    train_sae(iter(batches() * 2), made, out=tmp_path / "a", resume=True, device="cpu")
    train_sae(batches(), made, out=tmp_path / "b", device="cpu")
    assert same(tmp_path / "a", tmp_path / "b")


def test_batches_that_end_too_early_are_named():
    with pytest.raises(TrainingError, match="ended after 2 batches"):
        train_sae(iter([images(), images()]), config(3), device="cpu")
    with pytest.raises(TrainingError, match="ended after 0 batches"):
        train_sae([], config(3), device="cpu")


def test_tokens_that_are_no_numbers_stop_it(tmp_path):
    broken = images()
    broken[7, 2, 3] = float("nan")
    with pytest.raises(TrainingError, match="no number at step"):
        train_sae(broken, config(20), out=tmp_path, device="cpu")
    with pytest.raises(TrainingError, match="all zeros"):
        train_sae(torch.zeros(40, 6, 16), config(20), device="cpu")


def test_damaged_checkpoints_are_refused(tmp_path):
    train_sae(images(), config(3), out=tmp_path, device="cpu")
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="cannot be read"):
        train_sae(images(), config(6), out=tmp_path, resume=True, device="cpu")
    path.write_bytes(b"")
    with pytest.raises(TrainingError, match="cannot be read"):
        train_sae(images(), config(6), out=tmp_path, resume=True, device="cpu")


def test_a_torn_log_is_mended(tmp_path):
    train_sae(images(), config(6), out=tmp_path, device="cpu", checkpoint_every=2)
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 7, "lo')
    train_sae(images(), config(6), out=tmp_path, resume=True, device="cpu")
    assert log.read_text() == whole


def test_damaged_lines_cost_a_log_no_others(tmp_path):
    train_sae(images(), config(6), out=tmp_path, device="cpu", checkpoint_every=2)
    log = tmp_path / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:2], '{"step": 3, "lo\n', "null\n", *lines[3:]]))
    again = train_sae(images(), config(8), out=tmp_path, resume=True, device="cpu")
    assert [record["step"] for record in again.history] == [1, 2, 4, 5, 6, 7, 8]
    assert open_training(tmp_path).history == again.history


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        train_sae(images(), config(3), out=tmp_path / "file" / "t", device="cpu")


def test_two_trainings_in_one_folder_at_once_are_refused(tmp_path):
    def second(record):
        with pytest.raises(RunError, match="being written by"):
            train_sae(images(), config(3), out=tmp_path, resume=True, device="cpu")

    train_sae(images(), config(2), out=tmp_path, device="cpu", progress=second)


def test_tensorboard_gets_every_step(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_sae(images(), config(4), out=tmp_path, device="cpu", tensorboard=True)
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3, 4]


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def logged(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_random_moments_equals_uninterrupted(tmp_path):
    rng = random.Random(0)
    train_sae(images(), config(40), out=tmp_path / "whole", device="cpu")
    kills = 0
    while True:
        process = start(tmp_path / "killed", 40, 0.02)
        wanted = logged(tmp_path / "killed") + rng.randint(6, 14)
        while process.poll() is None and logged(tmp_path / "killed") < wanted:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        error = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), error
        if process.returncode == 0:
            break
        kills += 1
    assert kills > 1
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert open_training(tmp_path / "killed").history == open_training(tmp_path / "whole").history


@pytest.mark.slow
@pytest.mark.parametrize(
    "others",
    [{"l1": 0.1, "lr": 1e-2, "dead_feature_window": 0}, {"activation": "batchtopk", "k": 3}],
    ids=["relu", "batchtopk"],
)
def test_two_processes_equal_one(tmp_path, others):
    """What torchrun would set is set by hand: no launcher in between, and nothing left running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from training_script import *\n"
        "torch.set_num_threads(1)\n"
        f"train_sae(images(), config(15, **{others!r}), out=sys.argv[2], device='cpu')"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(SCRIPT.parent), str(tmp_path / "two")],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors
    one = train_sae(images(), config(15, **others), out=tmp_path / "one", device="cpu")
    two = open_training(tmp_path / "two")
    assert any(record["dead"] > 0 for record in one.history)
    for first, second in zip(one.history, two.history, strict=True):
        assert second == pytest.approx(first, rel=1e-3), first["step"]
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-3, atol=1e-5)
