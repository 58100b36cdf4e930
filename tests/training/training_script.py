"""A small training that tests start as a process of its own: OUT, STEPS, and whether to crawl."""

import sys
import time

import torch

from napari_cytosae.training import SaeTrainingConfig, train_sae


def images() -> torch.Tensor:
    """40 images of 6 tokens, each a sum of few of 20 directions."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(20, 16, generator=rng), dim=1)
    active = torch.rand(40, 6, 20, generator=rng) < 0.1
    return (active * torch.rand(40, 6, 20, generator=rng)) @ directions + 0.1


def config(steps: int, **others: object) -> SaeTrainingConfig:
    """Small, and with concepts that fall silent."""
    fields = {
        "d_sae": 64, "batch_images": 4, "warmup_steps": 5, "lr": 3e-3, "dead_feature_window": 3,
        "l1": 1e-2, "precision": "float32", "seed": 3,
    }  # fmt: skip
    return SaeTrainingConfig(steps=steps, **{**fields, **others})


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_sae(
        images(),
        config(int(sys.argv[2])),
        out=sys.argv[1],
        resume=True,
        device="cpu",
        checkpoint_every=5,
        progress=lambda record: time.sleep(float(sys.argv[3])),
    )
