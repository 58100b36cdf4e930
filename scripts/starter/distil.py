"""Distil a small ViT, written from scratch, from the tokens of DINOv2 ViT-S/14."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .crops import IMAGE_SIZE

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
WIDTH = 192
DEPTH = 6
TEACHER_BLOCKS = (10, 11)
"""Block −2, which CytoSAE reads, and the last."""

CLASS_TOKEN_WEIGHT = 8.0
"""The class token counts as much as this many of the 256 patches."""


def normalised(crops: NDArray[np.uint8] | Tensor) -> Tensor:
    """Turn (B, 224, 224, 3) uint8 into (B, 3, 224, 224) float32 with ImageNet statistics."""
    pixels = torch.as_tensor(crops).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def load_teacher(path: Path) -> VisionTransformer:
    """Build DINOv2 ViT-S/14 at 224 px and load its weights."""
    teacher = timm.create_model("vit_small_patch14_dinov2", img_size=IMAGE_SIZE, pretrained=False)
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {key: value.float() for key, value in state.items() if key != "mask_token"}
    teacher.load_state_dict(state)
    return teacher.eval().requires_grad_(False)


def teacher_tokens(teacher: VisionTransformer, crops: NDArray[np.uint8]) -> Tensor:
    """Return (B, 257, 2 · 384): residual streams after the two blocks, class token first."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        streams = teacher.forward_intermediates(
            normalised(crops),
            indices=list(TEACHER_BLOCKS),
            return_prefix_tokens=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
    return torch.cat([torch.cat([prefix, patch], 1).float() for patch, prefix in streams], -1)


class TokenScale:
    """Standardise teacher tokens per dimension; the class token has its own statistics.

    DINOv2 has a few dimensions many times larger than the rest; unscaled they would be all that
    the student learns.
    """

    def __init__(self, tokens: Tensor) -> None:
        patch = tokens[:, 1:].flatten(0, 1)
        self.mean = torch.stack([tokens[:, 0].mean(0), *[patch.mean(0)] * 256])
        self.std = torch.stack([tokens[:, 0].std(0), *[patch.std(0)] * 256])

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return tokens with zero mean and unit variance."""
        return (tokens - self.mean) / self.std


class Student(nn.Module):
    """The small ViT and a linear head that reads the teacher's tokens off its residual stream.

    The head is linear and without a norm so that what it reads lies linearly in the stream, where
    the sparse autoencoder will look for it. Only the ViT is shipped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vit = VisionTransformer(
            img_size=IMAGE_SIZE,
            patch_size=14,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=WIDTH // 64,
            init_values=0.3,
            num_classes=0,
            global_pool="",
        )
        self.vit.norm = nn.Identity()
        self.head = nn.Linear(WIDTH, 384 * len(TEACHER_BLOCKS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual stream (B, 257, 192) and the predicted teacher tokens."""
        stream = self.vit.forward_features(pixels)
        return stream, self.head(stream)

    @torch.no_grad()
    def start_from_patches(self, crops: NDArray[np.uint8]) -> None:
        """Start the patch embedding at the principal components of the patches, flattened.

        A random projection of 588 strongly correlated pixels sees little but brightness, and
        a short training cannot undo that. Positions start at two-dimensional sines.
        """
        pixels = normalised(crops)
        patches = nn.functional.unfold(pixels, 14, stride=14).transpose(1, 2).flatten(0, 1)
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
        values, vectors = values.flip(0)[:WIDTH], vectors.flip(1)[:, :WIDTH]
        # A square-root flattening keeps weak components from being all noise.
        weight = (vectors * (values + 1e-3).pow(-0.375)).T
        proj = self.vit.patch_embed.proj
        proj.weight.copy_(weight.view(WIDTH, 3, 14, 14))
        proj.bias.copy_(-(weight @ mean))
        grid = torch.arange(16) / 16
        angles = 2 * torch.pi * grid[:, None] * torch.linspace(0.25, 4, WIDTH // 4)
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        rows, columns = waves[:, None].expand(16, 16, -1), waves[None].expand(16, 16, -1)
        self.vit.pos_embed[:, 1:] = 0.2 * torch.cat([rows, columns], -1).reshape(1, 256, WIDTH)


def turned(grid: Tensor, turn: int) -> Tensor:
    """Apply one of the eight turns and mirrors of a square to the first two axes after batch."""
    if turn >= 4:
        grid = grid.flip(2)
    return torch.rot90(grid, turn % 4, dims=(1, 2))


def turned_tokens(tokens: Tensor, turn: int) -> Tensor:
    """Move patch tokens (B, 257, d) as :func:`turned` moves pixels; the class token stays."""
    patches = turned(tokens[:, 1:].unflatten(1, (16, 16)), turn).flatten(1, 2)
    return torch.cat([tokens[:, :1], patches], 1)


def distil(
    student: Student,
    crops: NDArray[np.uint8],
    tokens: NDArray[np.float16],
    scale: TokenScale,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    checkpoint: Path,
) -> None:
    """Train the student in place: mean squared error to the standardised teacher tokens.

    The student sees turned, mirrored and slightly tinted crops, and has to give the (turned)
    tokens that the teacher gave for the plain ones. A mild penalty holds every dimension of the
    residual stream near unit variance, so that no giant dimension swallows the autoencoder.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = [p for n, p in student.vit.blocks.named_parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in student.parameters() if id(p) not in chosen]
    # Muon gets further than AdamW in a couple of thousand steps.
    optimisers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            o, lambda t: min(1.0, (t + 1) / 100) * 0.5 * (1 + np.cos(np.pi * t / steps))
        )
        for o in optimisers
    ]
    weight = torch.ones(257)
    weight[0] = CLASS_TOKEN_WEIGHT
    weight = (weight / weight.sum()).view(1, -1, 1)
    start, running = time.time(), 0.0
    student.train()
    for step, rows in zip(range(steps), _shuffled(len(crops), batch, generator), strict=False):
        turn = int(torch.randint(8, (), generator=generator))
        picked = torch.from_numpy(crops[rows]).float()
        light = torch.exp(0.06 * torch.randn(batch, 1, 1, 3, generator=generator))
        light = light * torch.exp(0.06 * torch.randn(batch, 1, 1, 1, generator=generator))
        pixels = normalised(turned(picked * light, turn).clamp(0, 255))
        target = turned_tokens(scale(torch.from_numpy(tokens[rows]).float()), turn)
        with torch.autocast("cpu", torch.bfloat16):
            stream, predicted = student(pixels)
        error = ((predicted.float() - target).square().mean(-1, keepdim=True) * weight).sum(1)
        variance = stream.float().flatten(0, 1).var(0)
        loss = error.mean() + 0.01 * variance.log().square().mean()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        running += (float(error.mean()) - running) / min(step + 1, 50)
        if step % 50 == 49:
            print(
                f"distil step {step + 1}/{steps} error {running:.4f} "
                f"variance {float(variance.min()):.2f}..{float(variance.max()):.2f} "
                f"{(step + 1) * batch / (time.time() - start):.1f} crops/s",
                flush=True,
            )
            torch.save(student.state_dict(), checkpoint)
    torch.save(student.state_dict(), checkpoint)
    student.eval()


def _shuffled(n: int, batch: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of row numbers for ever, each pass in a new order."""
    while True:
        order = torch.randperm(n, generator=generator).numpy()
        for first in range(0, n - batch + 1, batch):
            yield order[first : first + batch]
