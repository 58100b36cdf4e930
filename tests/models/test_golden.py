"""The reference implementations' numbers, reproduced from their own checkpoint files."""

from pathlib import Path

import numpy as np
import pytest
import torch

import napari_cytosae as nc

BACKBONE = "dinobloom_tiny.pth"
SAE = "final_sparse_autoencoder_dinov2_vitb14_-2_resid_1024.pt"


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.mark.parametrize("block", range(4))
def test_tokens_after_every_block(golden, block):
    reference = np.load(golden / "backbone.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE, block=block)
    tokens = bundle.tokens(torch.from_numpy(reference["input"]))
    assert tokens.dtype == torch.float32
    np.testing.assert_allclose(tokens.numpy(), reference[f"block_{block}"], rtol=0, atol=1e-4)


def test_the_sae_names_its_block_and_sizes(golden):
    bundle = nc.load_bundle(backbone=str(golden / BACKBONE), sae=str(golden / SAE))
    assert (bundle.block, bundle.backbone.depth) == (2, 4)  # −2 of four
    assert (bundle.d_model, bundle.d_sae, bundle.backbone.shape.heads) == (128, 1024, 2)
    assert len(bundle.backbone.blocks) == 3


def test_activations_and_reconstruction(golden):
    reference = np.load(golden / "sae.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE)
    activations = bundle.sae.encode(torch.from_numpy(reference["tokens"]))
    rebuilt = bundle.sae.decode(activations)
    np.testing.assert_allclose(activations.numpy(), reference["hidden_post"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(rebuilt.numpy(), reference["sae_out"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sparse_activations(golden, precision):
    reference = np.load(golden / "sae.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE).to("cpu", precision)
    sparse = bundle.sae.encode_sparse(torch.from_numpy(reference["tokens"]).reshape(-1, 128))
    expected = reference["hidden_post"].reshape(-1, 1024)
    np.testing.assert_allclose(sparse.to_dense(), expected, rtol=0, atol=1e-4)


def test_bfloat16_tokens_stay_near(golden):
    reference = np.load(golden / "backbone.npz")
    bundle = nc.load_bundle(backbone=golden / BACKBONE, sae=golden / SAE, block=3)
    tokens = bundle.to("cpu", "bfloat16").tokens(torch.from_numpy(reference["input"]))
    error = np.linalg.norm(tokens.numpy() - reference["block_3"])
    assert tokens.dtype == torch.float32
    assert error < 0.01 * np.linalg.norm(reference["block_3"])
