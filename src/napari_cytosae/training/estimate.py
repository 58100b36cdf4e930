"""How long a training would take here, and how much disk: measured on a few images, not guessed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import torch

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.training.config import TOKENS_PER_IMAGE, SaeTrainingConfig
from napari_cytosae.training.tokens.crops import CropOptions, CropReader, plan_crops
from napari_cytosae.training.tokens.extract import nothing_to_use
from napari_cytosae.training.tokens.images import LabelledImage
from napari_cytosae.training.tokens.model import TokenModel
from napari_cytosae.training.train import train_sae

_IMAGES: Final = 4  # that are looked through
_CROPS: Final = 12  # that go through the backbone
_STEPS: Final = 3
_MOST_STEP_TOKENS: Final = 4112  # 16 images: a larger step is extrapolated


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What a training would cost.

    Parameters
    ----------
    images
        How many there are.
    crops
        About how many crops they give.
    token_bytes, training_bytes
        Disk that the tokens and the training's folder take.
    extract_seconds, train_seconds
        About how long both take on this machine. Steps become faster when fewer concepts are
        active, so the second is rather too long.
    """

    images: int
    crops: int
    token_bytes: int
    training_bytes: int
    extract_seconds: float
    train_seconds: float


def estimate_training(
    images: Sequence[LabelledImage],
    model: TokenModel,
    config: SaeTrainingConfig,
    options: CropOptions | None = None,
    *,
    device: str = "auto",
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainingEstimate:
    """Try a few images and a few steps, and extrapolate.

    Parameters
    ----------
    images
        See `gather_images`.
    model
        The backbone.
    config
        The recipe.
    options
        How crops are cut.
    device
        As in `train_sae`.
    cancelled
        Asked between the parts.

    Raises
    ------
    TrainingError
        None of the images that were tried can be used.
    Cancelled
        When `cancelled` says so.
    """
    if not images:
        raise TrainingError("There are no images: give image files, folders, tables or runs.")
    options = options or CropOptions()
    some = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, _IMAGES).astype(int))]
    start = time.perf_counter()
    plan = plan_crops(some, options, cancelled=cancelled)
    look_seconds = (time.perf_counter() - start) / len(some)
    if not plan.crops:
        raise TrainingError(nothing_to_use(plan.skipped))
    crops = round(len(plan.crops) / len(some) * len(images))
    made = model.to(device)
    _, pixels, _ = CropReader(plan.states).read_all(plan.crops[:_CROPS])
    if not pixels:
        raise TrainingError("None of the images that were tried can be read again.")
    _stop_if(cancelled)
    made.tokens(pixels[:1])  # what is done once does not count
    start = time.perf_counter()
    tokens = made.tokens(pixels)
    crop_seconds = (time.perf_counter() - start) / len(pixels)
    _stop_if(cancelled)
    step_seconds = _step_seconds(tokens, config, device)
    d_sae = config.concepts(model.d_model)
    numbers = 2 * model.d_model * d_sae + d_sae + model.d_model
    per_image = 1 if config.class_token_only else TOKENS_PER_IMAGE
    return TrainingEstimate(
        images=len(images),
        crops=crops,
        token_bytes=crops * per_image * model.d_model * 2,
        # The checkpoint holds weights and two moments, and the old one goes when the new is whole;
        # then the autoencoder, twice: on its own and in the bundle.
        training_bytes=4 * numbers * (3 * 2 + 2),
        extract_seconds=len(images) * look_seconds + crops * crop_seconds,
        train_seconds=config.steps * step_seconds,
    )


def _step_seconds(tokens: torch.Tensor, config: SaeTrainingConfig, device: str) -> float:
    """Time a few steps on some tokens over and over; a large step is extrapolated."""
    wanted = config.batch_tokens or (config.batch_images or 1) * (
        1 if config.class_token_only else TOKENS_PER_IMAGE
    )
    tried = min(wanted, _MOST_STEP_TOKENS)
    flat = tokens.float().reshape(-1, tokens.shape[-1])
    batch = flat[torch.arange(tried) % len(flat)]
    short = replace(config, steps=_STEPS, b_dec_init="mean", batch_images=None, batch_tokens=tried)
    stamps = [0.0]
    train_sae(
        iter([batch] * (_STEPS + 1)),
        short,
        device=device,
        progress=lambda _: stamps.append(time.perf_counter()),
    )
    # The first step also sets everything up.
    return min(b - a for a, b in pairwise(stamps[1:])) * wanted / tried


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The estimate was stopped.")
