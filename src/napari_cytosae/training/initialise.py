"""The weights with which a training begins."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_cytosae.models.sae import SparseAutoencoder
from napari_cytosae.training.config import DecoderBias, SaeTrainingConfig

# Upstream stops at the first of these.
_MOST_ROUNDS = 100
_SMALLEST_CHANGE = 1e-20
_SMALLEST_DISTANCE = 1e-6


def geometric_median(points: Tensor) -> Tensor:
    """Find the point whose distances to (n, d) points have the smallest sum, by Weiszfeld's steps.

    Starts at the mean, and ends when the mean distance no longer changes, or after 100 rounds.
    """
    centre = points.mean(0)
    before = math.inf
    for _ in range(_MOST_ROUNDS):
        distances = torch.linalg.vector_norm(points - centre, dim=1)
        mean = float(distances.double().mean())
        if abs(before - mean) <= _SMALLEST_CHANGE * mean:
            break
        before = mean
        weights = 1.0 / distances.clamp(min=_SMALLEST_DISTANCE)
        centre = (weights[:, None] * points).sum(0) / weights.sum()
    return centre


def initial_decoder_bias(images: Tensor, how: DecoderBias) -> Tensor:
    """Give the decoder's bias at the start.

    Parameters
    ----------
    images
        (images, tokens, d_model) float32. Plain tokens are images of one token each.
    how
        See `SaeTrainingConfig.b_dec_init`.

    Returns
    -------
    (d_model,) float32.
    """
    tokens = images.reshape(-1, images.shape[-1])
    if how == "geometric_median":
        return geometric_median(images.flatten(1)).reshape(images.shape[1:]).mean(0)
    if how == "token_geometric_median":
        return geometric_median(tokens)
    return tokens.mean(0) if how == "mean" else torch.zeros_like(tokens[0])


def initial_sae(images: Tensor, config: SaeTrainingConfig, block: int) -> SparseAutoencoder:
    """Draw the weights: Kaiming-uniform encoder and decoder, the decoder's rows of length one.

    They depend on the seed alone, and ``b_dec`` on `images`; both are on the processor.
    """
    d_model = images.shape[-1]
    d_sae = config.concepts(d_model)
    generator = torch.Generator().manual_seed(config.seed)
    # kaiming_uniform_ of a (d_in, d_sae) tensor takes d_sae as the fan-in, as upstream does.
    bounds = (math.sqrt(6.0 / d_sae), math.sqrt(6.0 / d_model))
    sae = SparseAutoencoder(d_model, d_sae, block)
    with torch.no_grad():
        # Drawn concept by concept, as the encoder is stored.
        sae.W_enc.t().uniform_(-bounds[0], bounds[0], generator=generator)
        sae.W_dec.uniform_(-bounds[1], bounds[1], generator=generator)
        sae.W_dec.copy_(F.normalize(sae.W_dec, dim=1))
        sae.b_dec.copy_(initial_decoder_bias(images, config.b_dec_init))
    return sae
