"""Autoencoders whose concepts have thresholds: JumpReLU, and gated ones written as such."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import sae_state

from napari_cytosae.models.bundle import digest_of_sae
from napari_cytosae.models.sae_files import load_sae, save_sae

D_MODEL, D_SAE = 448, 512  # wide enough for every screen
TOKENS = torch.randn(90, D_MODEL, generator=torch.Generator().manual_seed(0))


def write_saelens(folder, state, architecture):
    folder.mkdir(parents=True)
    save_file(state, folder / "sae_weights.safetensors")
    config = {"architecture": architecture, "d_in": D_MODEL, "d_sae": D_SAE}
    config["metadata"] = {"hook_name": "blocks.1.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def state():
    return {name: value.contiguous() for name, value in sae_state(D_MODEL, D_SAE).items()}


@pytest.fixture
def jump(state, tmp_path):
    """A JumpReLU autoencoder, and the activations that it should give."""
    pre = (TOKENS - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
    # From below the least activation, where ReLU decides, to above most.
    threshold = torch.linspace(-0.5, float(pre.max()) * 0.9, D_SAE)
    folder = write_saelens(tmp_path / "jump", state | {"threshold": threshold}, "jumprelu")
    expected = torch.where(pre > threshold, pre, 0.0).clamp_min(0.0)
    assert 0.02 < float((expected > 0).float().mean()) < 0.4
    return load_sae(folder), expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_encodings_agree(jump, precision, tau):
    sae, expected = jump
    torch.testing.assert_close(sae.encode(TOKENS), expected)
    sparse = sae.configured(torch.device("cpu"), precision).encode_sparse(TOKENS, tau)
    wanted = torch.where(expected > tau, expected, 0.0).numpy()
    # What is at a threshold to the last bit may fall on either side.
    differing = (sparse.to_dense() > 0) != (wanted > 0)
    assert differing.mean() < 1e-3
    np.testing.assert_allclose(sparse.to_dense()[~differing], wanted[~differing], atol=1e-4)


def test_some_concepts_alone(jump):
    sae, expected = jump
    torch.testing.assert_close(sae.encode_concepts(TOKENS, [7, 300, 2]), expected[:, [7, 300, 2]])
    focused = sae.focused([300, 2, 7])
    torch.testing.assert_close(focused.encode(TOKENS)[:, [2, 7, 300]], expected[:, [2, 7, 300]])
    dense = focused.encode_sparse(TOKENS).to_dense()
    np.testing.assert_allclose(dense[:, 300], expected[:, 300].numpy(), atol=1e-4)
    assert not np.delete(dense, [2, 7, 300], axis=1).any()


@pytest.mark.parametrize("format", ["cytosae", "saelens"])
def test_thresholds_are_kept_on_disk(jump, tmp_path, format):
    sae, expected = jump
    again = load_sae(save_sae(sae, tmp_path / format, format))
    torch.testing.assert_close(again.encode(TOKENS), expected)
    assert digest_of_sae(again) == digest_of_sae(sae)


def test_thresholds_are_part_of_the_digest(jump, state, tmp_path):
    plain = load_sae(write_saelens(tmp_path / "plain", state, "standard"))
    assert plain.threshold is None
    assert digest_of_sae(plain) != digest_of_sae(jump[0])


@pytest.mark.parametrize("with_b_dec", [True, False])
def test_a_gated_one_is_read_as_the_same_function(state, tmp_path, with_b_dec):
    draw = torch.Generator().manual_seed(3)
    gate, magnitude = (torch.randn(D_SAE, generator=draw) for _ in range(2))
    r = 0.3 * torch.randn(D_SAE, generator=draw)
    del state["b_enc"]
    gated = state | {"b_gate": gate, "b_mag": magnitude, "r_mag": r}
    folder = write_saelens(tmp_path / "gated", gated, "gated")
    config = json.loads((folder / "cfg.json").read_text())
    config["apply_b_dec_to_input"] = with_b_dec
    (folder / "cfg.json").write_text(json.dumps(config))

    product = (TOKENS - state["b_dec"] if with_b_dec else TOKENS) @ state["W_enc"]
    expected = (product + gate > 0) * torch.relu(r.exp() * product + magnitude)
    found = load_sae(folder).encode(TOKENS)
    differing = (found > 0) != (expected > 0)
    assert differing.float().mean() < 1e-3
    torch.testing.assert_close(found[~differing], expected[~differing], atol=1e-4, rtol=1e-4)
