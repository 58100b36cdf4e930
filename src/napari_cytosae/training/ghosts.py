"""The ghost-gradient term and its gradients, by hand."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_cytosae.training.operands import Operands
from napari_cytosae.training.recipe import LARGEST_GHOST
from napari_cytosae.training.reconstruction import Reconstruction
from napari_cytosae.training.weights import SaeWeights


@dataclass(frozen=True, slots=True, eq=False)
class Ghosts:
    """The concepts that are silent.

    Parameters
    ----------
    ids
        (m,) int64, in rising order.
    enc, dec
        (m, d_model + 16): their rows of the operands.
    """

    ids: Tensor
    enc: Tensor
    dec: Tensor

    @classmethod
    def among(cls, dead: Tensor, operands: Operands) -> "Ghosts":
        """Gather the silent concepts of (d_sae,) bool."""
        ids = dead.nonzero().squeeze(1)
        return cls(ids, operands.enc[ids], operands.dec[ids])


def add_ghosts(
    ghosts: Ghosts,
    tokens: Tensor,
    found: Reconstruction,
    operands: Operands,
    gradient: SaeWeights,
    scale: float,
) -> Tensor:
    """Add the gradients of the ghost term of some tokens, and give its sum over elements.

    See `napari_cytosae.training.recipe.losses` for the term. ``b_dec``'s share through the encoder
    is left to the caller, as for all concepts.

    Parameters
    ----------
    ghosts
        The silent concepts.
    tokens
        (n, d_model + 16): centred, as `Operands.tokens` gives them.
    found
        How the tokens were reconstructed.
    operands
        The weights.
    gradient
        Added to.
    scale
        One over all elements of the step.
    """
    d_model = gradient.d_model
    strength = torch.mm(tokens, ghosts.enc.t()).clamp_(max=LARGEST_GHOST).exp_()
    out = torch.mm(strength, ghosts.dec[:, :d_model]).float()
    length = found.residual.norm(dim=1, keepdim=True)
    factor = length / (1e-6 + 2 * out.norm(dim=1, keepdim=True))
    error = out.mul_(factor).sub_(found.residual)
    term = error.square().div_(length)
    rescaled = found.per_element / (term + 1e-6)
    loss = (rescaled * term).sum()
    slope = operands.slopes(error.mul_(rescaled).mul_(2 * scale * factor / length), 0.0)
    inner = torch.mm(slope, ghosts.dec.t()).mul_(strength)
    if float(strength.max()) >= math.exp(LARGEST_GHOST) * 0.99:
        inner.masked_fill_(strength >= math.exp(LARGEST_GHOST) * 0.99, 0.0)
    gradient.dec_rows.index_add_(0, ghosts.ids, torch.mm(strength.t(), slope)[:, :d_model].float())
    encoder = torch.mm(inner.t(), tokens)
    gradient.enc_rows.index_add_(0, ghosts.ids, encoder[:, :d_model].float())
    gradient.b_enc.index_add_(0, ghosts.ids, encoder[:, d_model].float())
    return loss
