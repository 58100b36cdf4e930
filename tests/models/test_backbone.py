"""Backbones: their layouts, their arithmetic, and what is said when a file is wrong."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from tiny_models import D_MODEL, DEPTH, dinov2_state, write_zenodo

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models import load_backbone

PIXELS = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))


def chunked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Group the blocks by two, as DINOv2 does for sharded training."""
    return {
        re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", key): value
        for key, value in state.items()
    }


def timm_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename as timm does; it has no mask token."""
    return {
        key.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): value
        for key, value in state.items()
        if key != "mask_token"
    }


def write(path: Path, layout: str, state: dict[str, torch.Tensor]) -> Path:
    match layout:
        case "zenodo":
            write_zenodo(path, state)
        case "zenodo, chunked":
            write_zenodo(path, chunked(state))
        case "plain":
            torch.save(state, path)
        case "plain, before PyTorch 1.6":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "float16":
            torch.save({key: value.half() for key, value in state.items()}, path)
        case "wrapped":
            torch.save(
                {"model": {f"module.{k}": torch.nn.Parameter(v) for k, v in state.items()}}, path
            )
        case "timm safetensors":
            save_file(timm_names(state), path)
        case "timm bin":
            torch.save(timm_names(state), path)
    return path


def by_hand(
    state: dict[str, torch.Tensor], pixels: torch.Tensor, block: int, gated: bool = False
) -> torch.Tensor:
    """DINOv2's forward pass, written out."""
    d = state["cls_token"].shape[-1]
    x = F.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 14)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    for index in range(block + 1):
        w = {
            key.removeprefix(f"blocks.{index}."): value
            for key, value in state.items()
            if key.startswith(f"blocks.{index}.")
        }
        h = F.layer_norm(x, (d,), w["norm1.weight"], w["norm1.bias"], 1e-6)
        q, k, v = (
            part.unflatten(-1, (d // 64, 64)).transpose(1, 2)
            for part in F.linear(h, w["attn.qkv.weight"], w["attn.qkv.bias"]).chunk(3, -1)
        )
        h = ((q @ k.transpose(-2, -1)) / 8).softmax(-1) @ v
        h = F.linear(h.transpose(1, 2).flatten(2), w["attn.proj.weight"], w["attn.proj.bias"])
        x = x + w["ls1.gamma"] * h
        h = F.layer_norm(x, (d,), w["norm2.weight"], w["norm2.bias"], 1e-6)
        if gated:
            gate, h = F.linear(h, w["mlp.w12.weight"], w["mlp.w12.bias"]).chunk(2, -1)
            h = F.linear(F.silu(gate) * h, w["mlp.w3.weight"], w["mlp.w3.bias"])
        else:
            h = F.gelu(F.linear(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
            h = F.linear(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
        x = x + w["ls2.gamma"] * h
    return x


LAYOUTS = [
    "zenodo",
    "zenodo, chunked",
    "plain",
    "plain, before PyTorch 1.6",
    "wrapped",
    "timm safetensors",
    "timm bin",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_tokens(tmp_path, layout):
    state = dinov2_state()
    backbone = load_backbone(write(tmp_path / "weights", layout, state), 1)
    tokens = backbone(PIXELS)
    assert tokens.shape == (2, 257, D_MODEL)
    torch.testing.assert_close(tokens, by_hand(state, PIXELS, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_giants_gated_mlp_in_every_layout(tmp_path, layout):
    state = dinov2_state(gated=True)
    backbone = load_backbone(write(tmp_path / "weights", layout, state), 2)
    assert backbone.shape.gated
    expected = by_hand(state, PIXELS, 2, gated=True)
    torch.testing.assert_close(backbone(PIXELS), expected, rtol=0, atol=1e-4)


def test_agrees_with_timms_own_dinov2(tmp_path):
    state = dinov2_state(d=128)
    whole = VisionTransformer(
        img_size=224, patch_size=14, embed_dim=128, depth=DEPTH, num_heads=2, init_values=1e-5,
        num_classes=0, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    whole.load_state_dict({k: v for k, v in state.items() if k != "mask_token"})
    expected = whole.eval().forward_intermediates(
        PIXELS, indices=[1], return_prefix_tokens=True, norm=False, output_fmt="NLC",
        intermediates_only=True,
    )[0]  # fmt: skip
    tokens = load_backbone(write(tmp_path / "w", "plain", state), 1)(PIXELS)
    torch.testing.assert_close(tokens[:, :1], expected[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(tokens[:, 1:], expected[0], rtol=0, atol=1e-4)


def test_float16_files_are_computed_in_float32(tmp_path):
    state = dinov2_state()
    tokens = load_backbone(write(tmp_path / "w", "float16", state), 2)(PIXELS)
    rounded = {key: value.half().float() for key, value in state.items()}
    torch.testing.assert_close(tokens, by_hand(rounded, PIXELS, 2), rtol=0, atol=1e-4)


def test_later_blocks_are_not_built(backbone_file):
    backbone = load_backbone(backbone_file, 0)
    assert [name for name, _ in backbone.named_children()] == ["patch_embed", "blocks"]
    assert len(backbone.blocks) == 1
    assert backbone.depth == DEPTH


@pytest.mark.parametrize(("block", "index"), [(-1, 2), (-2, 1), (-3, 0), (2, 2)])
def test_negative_blocks_count_from_the_checkpoints_end(backbone_file, block, index):
    assert load_backbone(backbone_file, block).block == index


@pytest.mark.parametrize("block", [3, -4, 11])
def test_a_block_that_is_not_there(backbone_file, block):
    with pytest.raises(CheckpointError, match=rf"3 blocks; there is no block {block}"):
        load_backbone(backbone_file, block)


@pytest.mark.parametrize("gated", [False, True])
def test_bfloat16_is_near_and_leaves_the_original_alone(tmp_path, gated):
    backbone = load_backbone(write(tmp_path / "w", "plain", dinov2_state(gated=gated)), 2)
    before = backbone(PIXELS)
    rounded = backbone.configured(torch.device("cpu"), "bfloat16")
    tokens = rounded(PIXELS)
    assert tokens.dtype == torch.float32
    assert 0 < (tokens - before).norm() < 0.01 * before.norm()
    assert torch.equal(backbone(PIXELS), before)
    assert rounded.d_model == backbone.d_model
    with pytest.raises(ValueError, match="rounded"):
        rounded.configured(torch.device("cpu"), "float32")
    with pytest.raises(ValueError, match="rounded"):
        rounded.dinov2_state()


def test_packed_weights_follow_the_weights(backbone_file):
    backbone = load_backbone(backbone_file, 1)
    backbone(PIXELS)
    with torch.no_grad():
        backbone.blocks[1].mlp.fc2.weight.mul_(2.0)
    state = backbone.dinov2_state()
    torch.testing.assert_close(backbone(PIXELS), by_hand(state, PIXELS, 1), rtol=0, atol=1e-4)


def test_gradients_reach_the_pixels(backbone_file):
    backbone = load_backbone(backbone_file, 1)
    pixels = PIXELS.clone().requires_grad_()
    tokens = backbone(pixels)
    tokens[:, 0].sum().backward()
    assert pixels.grad.abs().sum() > 0
    torch.testing.assert_close(tokens.detach(), backbone(PIXELS), rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_moving_a_backbone_leaves_the_original_where_it_was(backbone_file, precision):
    # "meta" stands for any other device: it exists on every machine.
    backbone = load_backbone(backbone_file, 2)
    moved = backbone.configured(torch.device("meta"), precision)
    assert moved.device.type == "meta"
    everything = [*backbone.parameters(), *backbone.buffers()]
    assert {tensor.device.type for tensor in everything} == {"cpu"}
    everything = [*moved.parameters(), *moved.buffers()]
    assert {tensor.device.type for tensor in everything} == {"meta"}


def test_position_embedding_of_a_larger_image_is_resampled(tmp_path):
    # DINOv2 itself was trained at 518 px: 37 × 37 patches. A smooth embedding stays what it was.
    state = dinov2_state(grid=37)
    ramp = torch.linspace(-1, 1, 37)[:, None, None].expand(37, 37, D_MODEL)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], ramp.reshape(1, -1, D_MODEL)], 1)
    backbone = load_backbone(write(tmp_path / "w", "plain", state), 0)
    assert backbone.pos_embed.shape == (1, 257, D_MODEL)
    assert torch.equal(backbone.pos_embed[:, 0], state["pos_embed"][:, 0])
    rows = backbone.pos_embed[0, 1:].reshape(16, 16, D_MODEL)
    torch.testing.assert_close(rows, rows[:, :1, :1].expand_as(rows), rtol=0, atol=1e-5)
    centres = (np.arange(16) + 0.5) * 37 / 16 - 0.5
    np.testing.assert_allclose(rows[1:-1, 0, 0], centres[1:-1] / 18 - 1, atol=5e-3)


def broken(change: str) -> dict[str, torch.Tensor]:
    state = dinov2_state()
    match change:
        case "missing":
            del state["blocks.1.attn.qkv.bias"]
        case "missing from a block that is not needed":
            del state["blocks.2.ls2.gamma"]
        case "extra":
            state["blocks.0.attn.q_norm.weight"] = torch.zeros(64)
        case "misshapen":
            state["blocks.0.mlp.fc1.weight"] = torch.zeros(256, 32)
        case "no LayerScale":
            state = {key: value for key, value in state.items() if ".ls" not in key}
        case "registers":
            state["register_tokens"] = torch.zeros(1, 4, 64)
        case "not square":
            state["pos_embed"] = torch.zeros(1, 250, 64)
        case "no class token":
            del state["cls_token"]
        case "NaN":
            state["blocks.0.norm1.bias"][3] = torch.nan
        case "infinite":
            state["blocks.0.attn.proj.weight"][3, 5] = torch.inf
        case "integers":
            state["blocks.0.norm1.bias"] = torch.zeros(64, dtype=torch.int64)
    return state


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"1 missing \(blocks\.1\.attn\.qkv\.bias\)"),
        ("missing from a block that is not needed", r"1 missing \(blocks\.2\.ls2\.gamma\)"),
        ("extra", r"1 unknown \(blocks\.0\.attn\.q_norm\.weight\)"),
        ("misshapen", r"blocks\.0\.mlp\.fc1\.weight \(256, 32\) instead of \(256, 64\)"),
        ("no LayerScale", r"6 missing \(blocks\.0\.ls1\.gamma"),
        ("registers", "register tokens"),
        ("not square", r"pos_embed \(1, 250, 64\) instead of \(1, 257, 64\)"),
        ("no class token", "cls_token"),
        ("NaN", r"blocks\.0\.norm1\.bias.*not numbers"),
        ("infinite", r"blocks\.0\.attn\.proj\.weight.*not numbers"),
        ("integers", r"blocks\.0\.norm1\.bias.*int64"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_named(tmp_path, change, says):
    path = write(tmp_path / "broken.pth", "zenodo", broken(change))
    with pytest.raises(CheckpointError, match=says) as caught:
        load_backbone(path, 0)
    assert "broken.pth" in str(caught.value)


def test_many_missing_keys_are_counted_and_the_first_eight_named(tmp_path):
    state = {k: v for k, v in dinov2_state().items() if not k.startswith("blocks.1.")}
    with pytest.raises(CheckpointError, match=r"14 missing \((blocks\.1\.[\w.]+, ){8}…\)"):
        load_backbone(write(tmp_path / "w", "plain", state), 0)


def test_other_networks_are_told_apart(tmp_path):
    torch.save({"W_enc": torch.zeros(4, 4)}, tmp_path / "sae.pt")
    with pytest.raises(CheckpointError, match="the SAE's"):
        load_backbone(tmp_path / "sae.pt", 0)
    path = write(tmp_path / "w", "plain", dinov2_state(d=96))
    with pytest.raises(CheckpointError, match="96 wide"):
        load_backbone(path, 0)


def test_pixels_of_another_size_are_refused(backbone_file):
    with pytest.raises(ValueError, match="224"):
        load_backbone(backbone_file, 0)(torch.zeros(1, 3, 112, 112))
