"""The threshold with which an autoencoder of TopK or BatchTopK is used."""

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_cytosae.errors import TrainingError
from napari_cytosae.models.sae import SparseAutoencoder
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.processes import Processes

_TOKENS = 16_384


@torch.no_grad()
def threshold_for(sae: SparseAutoencoder, tokens: Tensor, k: int) -> float:
    """Find the activation above which `k` concepts of a token are active on average.

    In a training with BatchTopK, which concepts of a token count depends on the batch's other
    tokens, and with TopK on its other concepts. One threshold makes them independent of both, and
    lets an encoder skip what is below (Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", eq. 5; the
    mean over batches there, one large batch here).

    Parameters
    ----------
    sae
        Without a threshold, on the processor.
    tokens
        (n, d_model) float32.
    k
        Active concepts per token, on average.

    Returns
    -------
    Never negative; 0 where fewer than `k` are active anyway.
    """
    wanted = k * len(tokens) + 1
    best = torch.empty(0)
    # So many tokens that one product stays at some 50 MB.
    for rows in torch.split(tokens, max(2**24 // sae.d_sae, 32)):
        least = float(best.min()) if len(best) == wanted else 0.0
        found = torch.from_numpy(sae.encode_sparse(rows, least).values)
        best = torch.cat([best, found])
        best = best.topk(min(wanted, len(best))).values
    # The one after the k · n largest is the largest that is not to be active.
    return float(best[-1]) if len(best) == wanted else 0.0


def set_threshold(
    sae: SparseAutoencoder,
    config: SaeTrainingConfig,
    batches: Iterator[Tensor],
    most_batches: int,
    last: Tensor | None,
    processes: Processes,
    device: torch.device,
) -> None:
    """Give an autoencoder the threshold that goes with its `k`; none for ReLU.

    Parameters
    ----------
    sae
        On the processor; the same in all processes.
    config
        How it was trained.
    batches
        The batches after the training's last.
    most_batches
        How many of them may be taken; 16,384 tokens are enough in any case.
    last
        The training's last batch, for where there are no others.
    processes
        The first one computes for all.
    device
        Where they exchange tensors.
    """
    if config.k is None:
        return
    value = torch.zeros(1)
    if processes.first:
        tokens = _take(batches, most_batches, last, sae.d_model)
        value.fill_(threshold_for(sae, tokens, config.k))
    value = value.to(device)
    processes.take_from_first(value)
    sae.threshold = torch.full((sae.d_sae,), float(value))


def _take(batches: Iterator[Tensor], most: int, last: Tensor | None, d_model: int) -> Tensor:
    taken: list[Tensor] = []
    try:
        while sum(map(len, taken)) < _TOKENS and len(taken) < most:
            taken.append(next(batches).reshape(-1, d_model).float().cpu())
    except (StopIteration, TrainingError):
        # Batches that can be gone through once have ended, which is no fault.
        if not taken:
            if last is None:
                raise TrainingError(
                    "No tokens are left to find the threshold of a TopK training with. Give an "
                    "iterable that can be gone through again."
                ) from None
            taken.append(last.reshape(-1, d_model).float().cpu())
    return torch.cat(taken)[:_TOKENS]
