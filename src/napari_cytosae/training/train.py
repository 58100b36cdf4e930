"""Train a sparse autoencoder on tokens."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import SparseAutoencoder
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.initialise import initial_sae
from napari_cytosae.training.recipe import losses, normalise_decoder, remove_parallel_gradient
from napari_cytosae.training.trained import Record, TrainedSae


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
    first = next(batches)
    sae = initial_sae(first if first.ndim == 3 else first[:, None], config, block)
    adam = torch.optim.Adam(sae.parameters(), lr=config.lr)
    silent_for = torch.zeros(sae.d_sae, dtype=torch.int64)
    history: list[Record] = []
    batch = first
    for step in range(config.steps):
        if cancelled():
            raise Cancelled("The training was stopped.")
        normalise_decoder(sae.W_dec)
        x = batch.reshape(-1, sae.d_model)
        found = losses(x, sae, silent_for > config.dead_feature_window, config)
        adam.zero_grad(set_to_none=True)
        found.total.backward()  # type: ignore[no-untyped-call]
        assert sae.W_dec.grad is not None
        remove_parallel_gradient(sae.W_dec, sae.W_dec.grad)
        adam.param_groups[0]["lr"] = config.learning_rate(step)
        adam.step()
        silent_for += 1
        silent_for[found.fired] = 0
        record: Record = {
            "step": step + 1,
            **found.numbers(),
            "dead": float((silent_for > config.dead_feature_window).float().mean()),
            "lr": config.learning_rate(step),
        }
        history.append(record)
        if progress is not None:
            progress(record)
        if step + 1 < config.steps:
            batch = next(batches)
    return TrainedSae(_with_unit_rows(sae), config, tuple(history))


@torch.no_grad()
def _with_unit_rows(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Give the decoder's rows length one; their lengths go to the encoder, so x̂ stays the same."""
    lengths = sae.W_dec.norm(dim=1)
    sae.W_dec.div_(lengths[:, None])
    sae.W_enc.mul_(lengths)
    sae.b_enc.mul_(lengths)
    return sae.requires_grad_(False)


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
