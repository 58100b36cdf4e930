"""What the Train dock does beside the window: estimate, extract, train."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cytosae.errors import TrainingError
from napari_cytosae.training import SaeTrainingConfig, TrainedSae, save_as_bundle, train_sae
from napari_cytosae.training.estimate import TrainingEstimate, estimate_training
from napari_cytosae.training.folder import ABOUT, read_about
from napari_cytosae.training.tokens import (
    CropOptions,
    ExtractionProgress,
    TokenModel,
    extract_tokens,
    gather_images,
)
from napari_cytosae.viewer.jobs import told

TOKENS, SAE = "tokens", "sae"


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """Everything the form said when Train was pressed.

    Parameters
    ----------
    images
        A folder, a table or an image.
    model
        A bundle's name or folder.
    options
        How crops are cut.
    config
        The recipe.
    out
        Folder that gets ``tokens`` and ``sae``.
    device
        As in `train_sae`.
    """

    images: Path
    model: str
    options: CropOptions
    config: SaeTrainingConfig
    out: Path
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class TrainStep:
    """A step of the training, as the log has it."""

    record: dict[str, float | int]


@dataclass(frozen=True, slots=True)
class TrainDone:
    """All is done: the bundle's folder, and the training."""

    bundle: Path
    trained: TrainedSae


def can_resume(out: Path, config: SaeTrainingConfig) -> bool:
    """Whether the folder holds a training by this recipe that is not finished."""
    where = out / SAE
    if not (where / ABOUT).is_file() or (where / "sae.safetensors").is_file():
        return False
    try:
        return read_about(where)[0] == config
    except TrainingError:
        return False


def estimate_job(
    request: TrainRequest, cancelled: Callable[[], bool]
) -> Generator[TrainingEstimate, None, None]:
    """Say what it would cost."""
    yield estimate_training(
        gather_images([request.images]),
        TokenModel.of(request.model),
        request.config,
        request.options,
        device=request.device,
        cancelled=cancelled,
    )


def train_job(
    request: TrainRequest, cancelled: Callable[[], bool]
) -> Generator[ExtractionProgress | TrainStep | TrainDone, None, None]:
    """Extract tokens, train on them, and make a bundle; what is there already is gone on with."""
    resume = (request.out / SAE / ABOUT).exists()

    def work(tell: Callable[[Any], None]) -> TrainDone:
        store = extract_tokens(
            [request.images],
            TokenModel.of(request.model),
            request.out / TOKENS,
            options=request.options,
            class_token_only=request.config.class_token_only,
            device=request.device,
            progress=tell,
            cancelled=cancelled,
        )
        trained = train_sae(
            store,
            request.config,
            out=request.out / SAE,
            resume=resume,
            device=request.device,
            progress=lambda record: tell(TrainStep(dict(record))),
            cancelled=cancelled,
        )
        bundle = save_as_bundle(trained, store, request.out / SAE, request.out.name)
        return TrainDone(bundle, trained)

    yield from told(work)
