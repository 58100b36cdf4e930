"""Train a sparse autoencoder on tokens."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.initialise import initial_sae
from napari_cytosae.training.processes import ALONE
from napari_cytosae.training.state import Stepper, TrainingState
from napari_cytosae.training.trained import Record, TrainedSae
from napari_cytosae.training.weights import SaeWeights


def train_sae(
    tokens: Tensor | Iterable[Tensor],
    config: SaeTrainingConfig | None = None,
    *,
    block: int = -2,
    progress: Callable[[Record], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainedSae:
    """Train a sparse autoencoder by the CytoSAE recipe, or a variation of it.

    Parameters
    ----------
    tokens
        (n, d_model) tokens, (n, tokens, d_model) images, or an iterable of batches of either.
    config
        The recipe; the paper's where None.
    block
        The backbone's block after which the tokens were read.
    progress
        Called with a record of each step.
    cancelled
        Asked before each step.

    Raises
    ------
    TrainingError
        The tokens are none, or do not go with the recipe.
    Cancelled
        When `cancelled` says so.
    """
    config = config or SaeTrainingConfig()
    batches = _batches(tokens, config)
    batch = next(batches)
    sae = initial_sae(batch if batch.ndim == 3 else batch[:, None], config, block)
    state = TrainingState.begin(SaeWeights.of(sae))
    stepper = Stepper(state, config, ALONE)
    history: list[Record] = []
    while True:
        if cancelled():
            raise Cancelled("The training was stopped.")
        record, _ = stepper.take(batch.reshape(-1, sae.d_model))
        history.append(record)
        if progress is not None:
            progress(record)
        if state.step == config.steps:
            return TrainedSae(state.weights.to_sae(block), config, tuple(history))
        batch = next(batches)


def _batches(tokens: Tensor | Iterable[Tensor], config: SaeTrainingConfig) -> Iterator[Tensor]:
    if not isinstance(tokens, Tensor):
        count = 0
        while True:
            for batch in tokens:
                count += 1
                yield batch.float()
            if count == 0 or iter(tokens) is tokens:
                raise TrainingError(
                    f"The tokens ended after {count} batches, but {config.steps} steps were asked "
                    "for. Give an iterable that can be gone through again, or fewer steps."
                )
    if tokens.ndim == 2 and config.batch_tokens is None:
        raise TrainingError(
            "Plain tokens have no images: give batch_tokens instead of batch_images."
        )
    rows = tokens if config.batch_tokens is None else tokens.reshape(-1, tokens.shape[-1])
    size = config.batch_tokens or config.batch_images or 0
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
        yield rows[order[:size]].float()
        order = order[size:]
