"""Teach the distilled student a few directions: what a patch shows, what the crop is centred on.

The student was distilled without labels. Here its last blocks learn to carry the parts of a blood
smear along fixed directions of the residual stream, strong enough for a sparse autoencoder to give
each a concept of its own, while the rest of the stream stays what it was.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .crops import MIDDLES
from .distil import WIDTH, normalised, turned
from .truth import HARDLY, KINDS, MOSTLY

TAUGHT_BLOCKS = 2
"""The last blocks, which are trained; those before stay as they were distilled."""

STRENGTH = 24.0
"""How far along its direction a patch lies that wholly shows a kind; the stream has about unit
variance in each of its 192 dimensions."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the student is taught.

    Attributes
    ----------
    crops
        (n, 224, 224, 3) uint8.
    coverage
        (n, 256, kinds): share of each patch that shows a kind; NaN where not known.
    middle
        (n,): index into `MIDDLES`, −1 where not known.
    """

    crops: NDArray[np.uint8]
    coverage: NDArray[np.float16]
    middle: NDArray[np.int64]


def taught_directions(seed: int) -> Tensor:
    """Draw (kinds + middles, 192) orthonormal directions; they are never trained."""
    generator = torch.Generator().manual_seed(seed)
    count = len(KINDS) + len(MIDDLES)
    drawn = torch.randn(WIDTH, count, generator=generator)
    return torch.linalg.qr(drawn).Q.T.contiguous()


def vary_stain(pixels: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Vary stain, light and white balance of each crop (B, 224, 224, 3), values 0 to 255.

    Densities against the crop's brightest parts are mixed between colours and scaled; a strength
    (B,) of 1 goes as far as another laboratory's stain.
    """
    n = len(pixels)
    strength = strength.view(n, 1, 1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator) * strength

    glass = (pixels[:, ::8, ::8].flatten(1, 2).quantile(0.95, dim=1) / 255).clamp(min=0.1)
    density = -(pixels / 255).clamp(min=1 / 255).log().flatten(1, 2) + glass.log()[:, None]
    mixed = torch.baddbmm(density, density, 0.15 * noise(3, 3)) * (0.25 * noise(1, 1)).exp()
    light = glass[:, None] * (0.1 * noise(1, 1) + 0.08 * noise(1, 3)).exp()
    return ((-mixed).exp() * light * 255).clamp(0, 255).view_as(pixels)


def shown(coverage: Tensor) -> Tensor:
    """Return how far a patch shows a kind, 0 to 1, by the share of it that the kind covers.

    It saturates where the patch counts as showing it: a patch that is two thirds background is no
    less background, and a concept that stays silent on it would be the poorer.
    """
    return ((coverage - HARDLY) / (MOSTLY - HARDLY)).clamp(0, 1)


class CodeError:
    """How far the stream is from lying along the taught directions as it should.

    Squared error of `stream · direction / STRENGTH` to what is `shown` (or to one for what lies
    in the middle) less its mean, as a share of its variance, mean over what is known. Class tokens
    are to have no part in the patches' directions, nor patches in the class tokens'.
    """

    def __init__(self, lesson: Lesson) -> None:
        coverage = shown(torch.from_numpy(lesson.coverage[::4]).float().flatten(0, 1))
        self.kind_mean = coverage.nanmean(0)
        self.kind_var = (coverage - self.kind_mean).square().nanmean(0)
        known = torch.from_numpy(lesson.middle[lesson.middle >= 0])
        share = torch.bincount(known, minlength=len(MIDDLES)) / len(known)
        self.middle_mean, self.middle_var = share, share * (1 - share)

    def __call__(self, said: Tensor, coverage: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of patches and of class tokens.

        Parameters
        ----------
        said
            (B, 257, kinds + middles): `stream · direction / STRENGTH`.
        coverage, middle
            Of these crops, as in `Lesson`.
        """
        patches, classes = said[:, 1:], said[:, 0]
        kinds = len(KINDS)
        known = ~coverage.isnan()
        wanted = shown(coverage).nan_to_num() - self.kind_mean
        error = (patches[..., :kinds] - wanted).square() / self.kind_var
        of_patches = error[known].mean() + 0.2 * patches[..., kinds:].square().mean()
        wanted = nn.functional.one_hot(middle.clamp(min=0), len(MIDDLES)) - self.middle_mean
        error = (classes[:, kinds:] - wanted).square() / self.middle_var
        of_classes = (error * (middle >= 0)[:, None]).mean()
        return of_patches, of_classes + 0.2 * classes[:, :kinds].square().mean()


@dataclass(frozen=True, slots=True)
class Views:
    """Views of the crops as the last blocks get them, and as they left the distilled student.

    Attributes
    ----------
    before
        (n, 257, 192) float16: the stream that goes into the first taught block.
    wanted
        (n, 257, 192) float16: the distilled student's stream for the same crop, less varied.
    coverage, middle
        Of these views.
    """

    before: NDArray[np.float16]
    wanted: NDArray[np.float16]
    coverage: NDArray[np.float16]
    middle: NDArray[np.int64]


def seen_views(vit: VisionTransformer, lesson: Lesson, seed: int) -> Views:
    """Look at every crop once, turned and tinted anew.

    Of half the crops, drawn at random, the stain is varied as far as another laboratory's; what is
    wanted then is the stream of the same turned crop without that.
    """
    n = len(lesson.crops)
    before, wanted = np.empty((2, n, 257, WIDTH), np.float16)
    coverage = np.empty(lesson.coverage.shape, np.float16)
    early = vit.blocks[: len(vit.blocks) - TAUGHT_BLOCKS]
    late = vit.blocks[len(vit.blocks) - TAUGHT_BLOCKS :]
    start = time.time()
    for first in range(0, n, 16):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
        rows = np.arange(first, min(first + 16, n))
        turn = int(torch.randint(8, (), generator=generator))
        strong = torch.rand(len(rows), generator=generator) < 0.5
        crops = turned(torch.from_numpy(lesson.crops[rows]).float(), turn)
        grid = torch.from_numpy(lesson.coverage[rows]).unflatten(1, (16, 16))
        coverage[rows] = turned(grid, turn).flatten(1, 2).numpy()
        varied = vary_stain(crops, torch.where(strong, 1.0, 0.25), generator)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            x = early(_embedded(vit, normalised(varied)))
            plain = x.clone()
            plain[strong] = early(_embedded(vit, normalised(crops[strong])))
            y = late(plain)
        before[rows], wanted[rows] = x.float().numpy(), y.float().numpy()
        if first % 320 == 0:
            print(f"views {first}/{n} {time.time() - start:.0f} s", flush=True)
    return Views(before, wanted, coverage, lesson.middle)


def _embedded(vit: VisionTransformer, pixels: Tensor) -> Tensor:
    return vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(pixels))))


def teach(
    vit: VisionTransformer,
    views: Views,
    error_of: CodeError,
    code: Tensor,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    checkpoint: Path,
) -> None:
    """Train the last blocks in place.

    What lies across the taught directions is to stay the distilled student's stream (mean squared
    error against its variance); along them, see `CodeError`. A killed training goes on from
    `checkpoint`.
    """
    late = vit.blocks[len(vit.blocks) - TAUGHT_BLOCKS :]
    late.requires_grad_(True)
    matrices = [p for p in late.parameters() if p.ndim == 2]
    others = [p for p in late.parameters() if p.ndim != 2]
    optimisers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            o, lambda t: min(1.0, (t + 1) / 50) * 0.5 * (1 + np.cos(np.pi * t / steps))
        )
        for o in optimisers
    ]
    done = 0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        late.load_state_dict(saved["late"])
        for item, state in zip([*optimisers, *schedules], saved["training"], strict=True):
            item.load_state_dict(state)
        done = int(saved["done"])
    sample = torch.from_numpy(views.wanted[::16]).float().flatten(0, 1)
    sample = sample - sample @ code.T @ code
    scale = sample.var(0).sum()
    start, running = time.time(), torch.zeros(3)
    for step in range(done, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = torch.randint(len(views.before), (batch,), generator=generator).numpy()
        wanted = torch.from_numpy(views.wanted[rows]).float()
        with torch.autocast("cpu", torch.bfloat16):
            stream = late(torch.from_numpy(views.before[rows]).float()).float()
        along = stream @ code.T
        change = stream - wanted
        change = change - change @ code.T @ code
        kept = change.square().sum(-1).mean() / scale
        of_patches, of_classes = error_of(
            along / STRENGTH,
            torch.from_numpy(views.coverage[rows]).float(),
            torch.from_numpy(views.middle[rows]),
        )
        loss = kept + 0.5 * of_patches + 0.2 * of_classes
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(late.parameters(), 1.0)
        for item in [*optimisers, *schedules]:
            item.step()
        now = torch.stack([kept, of_patches, of_classes]).detach()
        running += (now - running) / min(step - done + 1, 50)
        if step % 50 == 49 or step == steps - 1:
            print(
                f"teach step {step + 1}/{steps} changed {running[0]:.4f} "
                f"patches {running[1]:.4f} middle {running[2]:.4f} "
                f"{(step + 1 - done) * batch / (time.time() - start):.1f} crops/s",
                flush=True,
            )
            saved = {
                "late": late.state_dict(),
                "training": [item.state_dict() for item in [*optimisers, *schedules]],
                "done": step + 1,
            }
            torch.save(saved, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    late.requires_grad_(False)
