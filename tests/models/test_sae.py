"""Sparse autoencoders: their arithmetic, their formats, and the sparse encoder."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import D_MODEL, D_SAE, sae_state

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models import SparseAutoencoder, encode_sparse, load_sae, save_sae
from napari_cytosae.models.encode_sparse import Encoder
from napari_cytosae.models.screens import Bfloat16Screen, Int8Screen, has_int8

TOKENS = torch.randn(70, D_MODEL, generator=torch.Generator().manual_seed(3))


def write_upstream(path, state=None, **config):
    """Write what upstream's training writes: a configuration object, and the weights.

    The object's class exists only while it is pickled.
    """
    module = ModuleType("src.sae_training.config")
    fields = {"block_layer": -2, "d_in": D_MODEL, "d_sae": D_SAE, "gated_sae": None}
    fields |= {"module_name": "resid", "dtype": torch.float32, "device": torch.device("cpu")}
    module.ViTSAERunnerConfig = type(
        "ViTSAERunnerConfig", (), {"__module__": "src.sae_training.config"}
    )
    sys.modules["src.sae_training.config"] = module
    try:
        written = module.ViTSAERunnerConfig()
        written.__dict__.update(fields | config)
        torch.save({"cfg": written, "state_dict": state or sae_state()}, path)
    finally:
        del sys.modules["src.sae_training.config"]
    return path


def write_saelens(folder, state=None, **config):
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in (state or sae_state()).items()},
              folder / "sae_weights.safetensors")  # fmt: skip
    fields = {
        "architecture": "standard",
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cuda",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": "blocks.1.hook_resid_post", "hook_head_index": None},
    }
    (folder / "cfg.json").write_text(json.dumps(fields | config))
    return folder


def by_hand(tokens, state, subtract=True):
    """Equation 1 of the paper."""
    centred = tokens - state["b_dec"] if subtract else tokens
    return torch.relu(centred @ state["W_enc"] + state["b_enc"])


def test_encode_and_decode(sae_folder):
    state, sae = sae_state(), load_sae(sae_folder)
    activations = sae.encode(TOKENS.view(2, 35, D_MODEL))
    torch.testing.assert_close(activations.view(70, -1), by_hand(TOKENS, state))
    rebuilt = by_hand(TOKENS, state) @ state["W_dec"] + state["b_dec"]
    torch.testing.assert_close(sae.decode(activations).view(70, -1), rebuilt)


def test_upstreams_checkpoint(tmp_path):
    sae = load_sae(write_upstream(tmp_path / "sae.pt"))
    assert (sae.block, sae.d_model, sae.d_sae) == (-2, D_MODEL, D_SAE)
    torch.testing.assert_close(sae.encode(TOKENS), by_hand(TOKENS, sae_state()))


def test_the_block_can_be_overridden(tmp_path):
    assert load_sae(write_upstream(tmp_path / "sae.pt"), block=5).block == 5


@pytest.mark.parametrize("picked", ["", "cfg.json", "sae_weights.safetensors"])
def test_saelens_folder_or_a_file_in_it(tmp_path, picked):
    sae = load_sae(write_saelens(tmp_path / "lens") / picked)
    assert sae.block == 1
    torch.testing.assert_close(sae.encode(TOKENS), by_hand(TOKENS, sae_state()))


def test_saelens_without_the_decoders_bias_before_the_encoder(tmp_path):
    sae = load_sae(write_saelens(tmp_path / "lens", apply_b_dec_to_input=False))
    state = sae_state()
    expected = by_hand(TOKENS, state, subtract=False)
    torch.testing.assert_close(sae.encode(TOKENS), expected)
    rebuilt = expected @ state["W_dec"] + state["b_dec"]
    torch.testing.assert_close(sae.decode(sae.encode(TOKENS)), rebuilt)


@pytest.mark.parametrize(
    ("config", "block"),
    [
        ({"metadata": {"hook_name": "blocks.7.hook_resid_pre"}}, 6),
        ({"metadata": {"hook_name": "blocks.7.hook_resid_post"}}, 7),
        # before SAELens 6 these stood beside the rest
        ({"metadata": None, "hook_name": "blocks.3.hook_resid_post", "hook_layer": 3}, 3),
        ({"metadata": None, "hook_layer": 9}, 9),
    ],
)
def test_the_block_is_read_from_saelens_hook(tmp_path, config, block):
    assert load_sae(write_saelens(tmp_path / "lens", **config)).block == block


def test_a_block_that_no_file_names_must_be_given(tmp_path):
    folder = write_saelens(tmp_path / "lens", metadata={"hook_name": "somewhere"})
    with pytest.raises(CheckpointError, match="which block"):
        load_sae(folder)
    assert load_sae(folder, block=4).block == 4


@pytest.mark.parametrize("format", ["cytosae", "saelens"])
def test_what_is_written_is_read_back_the_same(tmp_path, sae_folder, format):
    sae = load_sae(sae_folder, block=1)
    again = load_sae(save_sae(sae, tmp_path / "out" / "deep", format))
    assert again.block == 1
    for key, value in sae.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_saelens_finds_what_it_needs_in_what_is_written_for_it(tmp_path, sae_folder):
    folder = save_sae(load_sae(sae_folder, block=1), tmp_path / "lens", "saelens")
    config = json.loads((folder / "cfg.json").read_text())
    assert config["architecture"] == "standard"
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (D_MODEL, D_SAE, "float32")
    assert config["apply_b_dec_to_input"] is True
    assert config["metadata"]["hook_name"] == "blocks.1.hook_resid_post"
    shapes = {k: tuple(v.shape) for k, v in load_file(folder / "sae_weights.safetensors").items()}
    assert shapes == {
        "W_enc": (D_MODEL, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_MODEL), "b_dec": (D_MODEL,)
    }  # fmt: skip


def without(key):
    return {name: value for name, value in sae_state().items() if name != key}


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda p: write_upstream(p / "x.pt", gated_sae=True), "gated"),
        (lambda p: write_upstream(p / "x.pt", module_name="mlp"), "'mlp'"),
        (lambda p: write_upstream(p / "x.pt", d_sae=9), r"d_sae 9.*256"),
        (lambda p: write_upstream(p / "x.pt", state=without("b_dec")), "b_dec missing"),
        (
            lambda p: write_upstream(p / "x.pt", state={**sae_state(), "r_mag": torch.ones(2)}),
            "r_mag",
        ),
        (
            lambda p: write_upstream(p / "x.pt", state={**sae_state(), "b_enc": torch.ones(2)}),
            r"b_enc is \(2,\) instead of \(256,\)",
        ),
        (
            lambda p: write_upstream(
                p / "x.pt", state={**sae_state(), "b_enc": torch.full((D_SAE,), torch.nan)}
            ),
            "b_enc.*not numbers",
        ),
        (lambda p: write_saelens(p / "x", architecture="topk"), "'topk'"),
        (lambda p: write_saelens(p / "x", architecture="jumprelu"), "threshold missing"),
        (lambda p: write_saelens(p / "x", architecture="gated"), "b_gate, b_mag, r_mag missing"),
        (lambda p: write_saelens(p / "x", activation_fn_str="tanh-relu"), "'tanh-relu'"),
        (lambda p: write_saelens(p / "x", normalize_activations="layer_norm"), "'layer_norm'"),
        (lambda p: write_saelens(p / "x", reshape_activations="hook_z"), "'hook_z'"),
    ],
)
def test_other_architectures_and_broken_files_are_refused(tmp_path, write, says):
    with pytest.raises(CheckpointError, match=says) as caught:
        load_sae(write(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "'other'"),
        ({"architecture": "topk"}, "'topk'"),
        ({"hook": "mlp"}, "'mlp'"),
        ({"d_model": 63}, "d_model 63"),
    ],
)
def test_our_own_files_of_another_kind_are_refused(sae_folder, change, says):
    path = sae_folder / "sae.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=says):
        load_sae(sae_folder)


def test_a_folder_without_an_sae_and_a_backbone_in_its_place(tmp_path, backbone_file):
    with pytest.raises(CheckpointError, match=r"sae\.json and sae\.safetensors"):
        load_sae(tmp_path)
    with pytest.raises(CheckpointError, match="backbone's"):
        load_sae(backbone_file)


# 8-bit products overflow on processors that do not have them in hardware.
SCREENS = [Bfloat16Screen, *([Int8Screen] if has_int8() else [])]
WAYS = ["dense", *(f"{kind.__name__}, {how}" for kind in SCREENS for how in ("strict", "likely"))]


def encoders(sae):
    """The dense way, and all ways of screening, whatever this processor would choose."""
    weight = sae.W_enc.detach().t().contiguous()
    b_enc, b_dec = sae.b_enc.detach(), sae.b_dec.detach()
    ways = {"dense": Encoder(weight, b_enc, b_dec)}
    for kind in SCREENS:
        for strict in (True, False):
            screen = kind.build(weight, b_enc, strict=strict)
            ways[f"{kind.__name__}, {'strict' if strict else 'likely'}"] = Encoder(
                weight, b_enc, b_dec, (screen,)
            )
    return ways


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 70, 1000])
def test_sparse_and_dense_encoding_agree(sae_folder, way, threshold, chunk_tokens):
    sae = load_sae(sae_folder)
    dense = sae.encode(TOKENS)
    sparse = encode_sparse.encode_sparse(TOKENS, encoders(sae)[way], threshold, chunk_tokens)
    assert sparse.shape == (70, D_SAE)
    assert (sparse.indptr.dtype, sparse.indices.dtype, sparse.values.dtype) == (
        np.int64, np.int32, np.float32
    )  # fmt: skip
    assert len(sparse.indptr) == 71
    assert (sparse.values > threshold).all()
    for row in range(70):
        assert (np.diff(sparse.indices[sparse.indptr[row] : sparse.indptr[row + 1]]) > 0).all()
    expected = torch.where(dense > threshold, dense, 0.0)
    torch.testing.assert_close(torch.from_numpy(sparse.to_dense()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", SCREENS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.01, 1.0, 100.0]), data=st.data())
def test_a_strict_screen_misses_no_activation(kind, seed, spread, data):
    # Activations are put as near to the threshold as float32 allows, where a coarse product
    # would lose them; tokens have dimensions a hundred times as large as the rest, as DINOv2's.
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(9, 40, generator=generator) * spread
    tokens[:, :3] *= data.draw(st.sampled_from([1.0, 100.0]))
    weight = torch.randn(50, 40, generator=generator)
    threshold = data.draw(st.sampled_from([0.0, 0.2]))
    zero = torch.zeros(40)
    pre = tokens @ weight.t()
    nearly = pre[torch.arange(50) % 9, torch.arange(50)]
    b_enc = threshold - nearly + nearly.abs() * 1e-4
    exact = (tokens.double() @ weight.t().double() + b_enc.double()).float()
    screen = kind.build(weight, b_enc, strict=True)
    sparse = encode_sparse.encode_sparse(tokens, Encoder(weight, b_enc, zero, (screen,)), threshold)
    found = torch.from_numpy(sparse.to_dense())
    slack = 1e-5 * (tokens.norm(dim=1)[:, None] * weight.norm(dim=1))
    assert not ((found == 0) & (exact > threshold + slack)).any()
    assert not ((found > 0) & (exact < threshold - slack)).any()


@pytest.mark.parametrize("kind", SCREENS)
def test_many_active_concepts_do_not_break_the_screen(kind, sae_folder):
    sae = load_sae(sae_folder)
    sae.b_enc.fill_(3.0)  # nearly everything is active
    dense = sae.encode(TOKENS)
    sparse = encode_sparse.encode_sparse(TOKENS, encoders(sae)[f"{kind.__name__}, strict"], 0.0, 16)
    torch.testing.assert_close(torch.from_numpy(sparse.to_dense()), dense, rtol=0, atol=1e-5)


def test_a_screen_that_finds_too_many_makes_way_for_the_next(sae_folder):
    sae = load_sae(sae_folder)
    weight, bias = sae.W_enc.detach().t().contiguous(), sae.b_enc.detach()
    calls = []

    class Finds:
        def __init__(self, name, share):
            self.name, self.share = name, share

        def candidates(self, centred, threshold, scratch):
            calls.append((self.name, len(centred)))
            pre = centred @ weight.t() + bias
            mask = (pre > 0) | (torch.rand(pre.shape) < self.share)
            return torch.nonzero(mask, as_tuple=True)

    few = Encoder(weight, bias - 2.0, sae.b_dec.detach(), (Finds("wide", 1.0), Finds("last", 0.0)))
    bias = few.b_enc
    sparse = encode_sparse.encode_sparse(TOKENS, few, 0.0, 35)
    assert calls == [("wide", 35), ("last", 35), ("last", 35)]
    expected = torch.relu((TOKENS - sae.b_dec) @ weight.t() + bias).detach()
    torch.testing.assert_close(torch.from_numpy(sparse.to_dense()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["dense", "Bfloat16Screen, strict"])
def test_never_more_than_one_chunk_is_dense(sae_folder, monkeypatch, way):
    sizes = []
    real = torch.mm

    def watched(*args, **kwargs):
        result = real(*args, **kwargs)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(torch, "mm", watched)
    encode_sparse.encode_sparse(TOKENS, encoders(load_sae(sae_folder))[way], 0.0, 16)
    assert sizes
    assert max(sizes) <= 16 * D_SAE


def test_no_tokens_and_no_activations(sae_folder):
    sae = load_sae(sae_folder)
    for encoder in encoders(sae).values():
        none = encode_sparse.encode_sparse(TOKENS[:0], encoder)
        assert none.shape == (0, D_SAE)
        assert none.indptr.tolist() == [0]
        silent = encode_sparse.encode_sparse(TOKENS, encoder, threshold=1e9)
        assert len(silent.values) == 0
        assert silent.indptr.tolist() == [0] * 71


def test_wrong_arguments_are_named(sae_folder):
    sae = load_sae(sae_folder)
    with pytest.raises(ValueError, match=r"\(N, 64\)"):
        sae.encode_sparse(TOKENS[:, :60])
    with pytest.raises(ValueError, match="threshold"):
        sae.encode_sparse(TOKENS, threshold=-0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_sparse_encoder_follows_training(sae_folder, precision):
    sae = load_sae(sae_folder).configured(torch.device("cpu"), precision)
    before = sae.encode_sparse(TOKENS)
    with torch.no_grad():
        sae.b_enc.add_(0.5)
        sae.W_enc.mul_(1.5)
    after = sae.encode_sparse(TOKENS)
    assert len(after.values) > len(before.values)
    dense = sae.encode(TOKENS).detach()
    torch.testing.assert_close(torch.from_numpy(after.to_dense()), dense, rtol=0, atol=1e-5)


def test_a_new_sae_can_be_trained():
    sae = SparseAutoencoder(8, 20, block=0)
    with torch.no_grad():
        sae.W_enc.normal_()
        sae.W_dec.normal_()
    optimiser = torch.optim.Adam(sae.parameters(), lr=0.01)
    tokens = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(50):
        loss = (sae.decode(sae.encode(tokens)) - tokens).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_moving_an_sae_leaves_the_original_where_it_was(sae_folder):
    sae = load_sae(sae_folder)
    sae.encode_sparse(TOKENS)
    moved = sae.configured(torch.device("meta"), "bfloat16")
    assert moved.device.type == "meta"
    assert {parameter.device.type for parameter in sae.parameters()} == {"cpu"}
    assert len(sae.encode_sparse(TOKENS).values) > 0
