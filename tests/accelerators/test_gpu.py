"""What a GPU computes, against the processor; skipped where PyTorch sees none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_cytosae as nc
from napari_cytosae.cells import CropGeometry, cells_from_boxes, iter_crops
from napari_cytosae.concepts import EncodeOptions, analyze, encode_crops
from napari_cytosae.models import load_sae
from napari_cytosae.slides import Slide, sample_smear
from napari_cytosae.training import SaeTrainingConfig, train_sae

GPU = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else ""
pytestmark = pytest.mark.skipif(not GPU, reason="PyTorch sees no GPU here")

BACKBONE = "dinobloom_tiny.pth"
SAE = "final_sparse_autoencoder_dinov2_vitb14_-2_resid_1024.pt"


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="module")
def smear():
    return sample_smear()


def crops_of(smear, n_cells=12):
    slide = Slide.from_array(smear.image, microns_per_pixel=smear.microns_per_pixel)
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 300, (n_cells, 2))
    table = cells_from_boxes(np.hstack([corner, corner + 60]), smear.image.shape[:2]).table
    return list(iter_crops(slide, table, CropGeometry(), batch_cells=4))


def encoded(batches, bundle, device, precision):
    options = EncodeOptions(device=device, precision=precision)
    return [batch.activations for batch in encode_crops(batches, bundle, options)]


@pytest.mark.parametrize("block", range(4))
def test_float32_tokens_are_the_references(golden, block):
    # TensorFloat-32, which cuDNN takes for convolutions by itself, would miss this by far.
    reference = np.load(golden / "backbone.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE, block=block)
    tokens = bundle.to(GPU, "float32").tokens(torch.from_numpy(reference["input"]))
    np.testing.assert_allclose(tokens.cpu().numpy(), reference[f"block_{block}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sparse_activations_are_the_references(golden, precision):
    reference = np.load(golden / "sae.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE).to(GPU, precision)
    tokens = torch.from_numpy(reference["tokens"]).reshape(-1, 128).to(GPU)
    sparse = bundle.sae.encode_sparse(tokens)
    expected = reference["hidden_post"].reshape(-1, 1024)
    np.testing.assert_allclose(sparse.to_dense(), expected, rtol=0, atol=1e-4)


def test_crops_give_what_they_give_on_the_processor(smear):
    bundle, batches = nc.load_bundle("starter"), crops_of(smear)
    there = encoded(batches, bundle, GPU, "float32")
    here = encoded(batches, bundle, "cpu", "float32")
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one.toarray(), other.toarray(), rtol=0, atol=2e-3)


def test_bfloat16_keeps_the_concepts_of_a_cell(smear):
    bundle, batches = nc.load_bundle("starter"), crops_of(smear)
    assert EncodeOptions(device=GPU).resolved().precision in ("bfloat16", "float32")
    agreed = wanted = 0
    pairs = zip(
        encoded(batches, bundle, GPU, "auto"), encoded(batches, bundle, "cpu", "float32"),
        strict=True,
    )  # fmt: skip
    for one, other in pairs:
        profiles = [m.toarray().reshape(-1, 257, m.shape[1]).mean(1) for m in (one, other)]
        top = [np.argsort(-profile, axis=1, kind="stable")[:, :10] for profile in profiles]
        agreed += sum(len(np.intersect1d(a, b)) for a, b in zip(*top, strict=True))
        wanted += top[0].size
    assert agreed >= 0.95 * wanted


def test_the_same_batches_give_the_same_bits(smear):
    bundle, batches = nc.load_bundle("starter"), crops_of(smear)
    first, second = (encoded(batches, bundle, GPU, "auto") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one != other).nnz == 0


def test_a_whole_analysis(smear, tmp_path):
    slide = Slide.from_array(smear.image, microns_per_pixel=smear.microns_per_pixel)
    there = analyze(slide, out=tmp_path / "gpu.cytosae", device=GPU, precision="float32")
    here = analyze(slide, out=tmp_path / "cpu.cytosae", device="cpu", precision="float32")
    assert list(there.table["label"]) == list(here.table["label"])
    for label in here.table["label"]:
        mine, theirs = (
            {active.concept_id for active in run.active_concepts(label, k=5)}
            for run in (there, here)
        )
        assert len(mine & theirs) >= 4


@pytest.mark.skipif(GPU != "cuda", reason="only CUDA lets a process be given less memory")
def test_a_batch_that_does_not_fit_is_halved(smear, tmp_path):
    # In a process of its own: what the allocator keeps of other tests must not count.
    script = """
import sys, numpy as np, torch
import napari_cytosae as nc
from napari_cytosae.cells import CropBatch
from napari_cytosae.concepts import EncodeOptions, encode_crops

rng = np.random.default_rng(0)
n = 256
crops = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(n)]
boxes = np.tile([0.0, 0.0, 64.0, 64.0], (n, 1))
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(600 * 2**20 / total)
options = EncodeOptions(device="cuda", precision="float32", batch_cells=n)
batch = CropBatch(np.arange(1, n + 1), boxes, crops)
sizes = [len(b) for b in encode_crops([batch], nc.load_bundle("starter"), options)]
print(sizes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout)
    assert sum(sizes) == 256
    assert max(sizes) < 256


def images() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(40, 64, generator=rng), dim=1)
    active = torch.rand(120, 9, 40, generator=rng) < 0.1
    return (active * torch.rand(120, 9, 40, generator=rng)) @ directions + 0.1


def config(steps: int, **others: object) -> SaeTrainingConfig:
    fields = {
        "d_sae": 256, "batch_images": 16, "warmup_steps": 5, "lr": 3e-3, "dead_feature_window": 3,
        "l1": 1e-2, "precision": "float32", "seed": 3,
    }  # fmt: skip
    return SaeTrainingConfig(steps=steps, **{**fields, **others})


VARIATIONS = [{}, {"activation": "topk", "k": 4}, {"activation": "batchtopk", "k": 4}]


@pytest.mark.parametrize("others", VARIATIONS, ids=str)
def test_training_follows_the_processors(others):
    there = train_sae(images(), config(40, **others), device=GPU)
    here = train_sae(images(), config(40, **others), device="cpu")
    losses = [[record["loss"] for record in trained.history] for trained in (there, here)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)
    assert there.sae.W_enc.device.type == "cpu"


def test_bfloat16_training_learns_as_well():
    there = train_sae(images(), config(60, precision="auto"), device=GPU)
    here = train_sae(images(), config(60), device="cpu")
    assert there.history[-1]["loss"] == pytest.approx(here.history[-1]["loss"], rel=0.05)


def test_training_goes_on_where_it_stopped(tmp_path):
    train_sae(images(), config(10), out=tmp_path / "a", device=GPU)
    resumed = train_sae(images(), config(20), out=tmp_path / "a", resume=True, device=GPU)
    whole = train_sae(images(), config(20), out=tmp_path / "b", device=GPU)
    torch.testing.assert_close(resumed.sae.W_enc, whole.sae.W_enc, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(GPU != "cuda", reason="nccl is CUDA's")
def test_torchrun_trains_over_nccl(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch, torch.distributed as dist\n"
        "from test_gpu import config, images\n"
        "from napari_cytosae.training import train_sae\n"
        "dist.init_process_group('nccl')\n"
        f"train_sae(images(), config(10), out={str(tmp_path / 'two')!r}, device='cuda')\n"
        "dist.destroy_process_group()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = train_sae(images(), config(10), device="cuda")
    trained = load_sae(tmp_path / "two")
    torch.testing.assert_close(trained.W_enc, alone.sae.W_enc, rtol=1e-3, atol=1e-4)
