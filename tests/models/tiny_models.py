"""Small models in every layout in which the real ones are published."""

from collections import OrderedDict
from pathlib import Path

import torch

D_MODEL, DEPTH, D_SAE, GRID = 64, 3, 256, 16


def dinov2_state(
    d: int = D_MODEL, depth: int = DEPTH, gated: bool = False, grid: int = GRID, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random weights of a small DINOv2, under its own names."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.1) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    state = {
        "cls_token": random(1, 1, d),
        "pos_embed": random(1, 1 + grid * grid, d),
        "mask_token": random(1, d),
        "patch_embed.proj.weight": random(d, 3, 14, 14, scale=0.05),
        "patch_embed.proj.bias": random(d),
        "norm.weight": 1 + random(d),
        "norm.bias": random(d),
    }
    hidden = 2 * d if gated else 4 * d
    first, second = ("w12", "w3") if gated else ("fc1", "fc2")
    for block in range(depth):
        state |= {
            f"blocks.{block}.{key}": value
            for key, value in {
                "norm1.weight": 1 + random(d),
                "norm1.bias": random(d),
                "attn.qkv.weight": random(3 * d, d),
                "attn.qkv.bias": random(3 * d),
                "attn.proj.weight": random(d, d),
                "attn.proj.bias": random(d),
                "ls1.gamma": 1 + random(d),
                "norm2.weight": 1 + random(d),
                "norm2.bias": random(d),
                f"mlp.{first}.weight": random(2 * hidden if gated else hidden, d),
                f"mlp.{first}.bias": random(2 * hidden if gated else hidden),
                f"mlp.{second}.weight": random(d, hidden),
                f"mlp.{second}.bias": random(d),
                "ls2.gamma": 1 + random(d),
            }.items()
        }
    return state


def sae_state(d: int = D_MODEL, d_sae: int = D_SAE, seed: int = 1) -> dict[str, torch.Tensor]:
    """Random weights of a small SAE, of which a tenth of the concepts are active."""
    generator = torch.Generator().manual_seed(seed)
    w_enc = torch.randn(d, d_sae, generator=generator) / d**0.5
    return {
        "W_enc": w_enc,
        "b_enc": torch.randn(d_sae, generator=generator) * 0.1 - 1.3,
        "W_dec": w_enc.t().contiguous(),
        "b_dec": torch.randn(d, generator=generator) * 0.1,
    }


def write_zenodo(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """DinoBloom's layout on Zenodo: a teacher with heads, and the student's leftovers."""
    teacher = OrderedDict((f"backbone.{key}", value) for key, value in state.items())
    teacher["dino_head.mlp.0.weight"] = torch.zeros(3, 3)
    teacher["ibot_head.last_layer.weight_g"] = torch.zeros(3, 1)
    torch.save({"teacher": teacher, "iteration": 4000}, path)
    return path
