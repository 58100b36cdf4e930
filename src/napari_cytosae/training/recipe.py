"""The CytoSAE training step, in plain PyTorch: its loss, and what happens around the optimiser.

This is the recipe to read and to check others against; `napari_cytosae.training.gradients` computes
the same numbers faster.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from napari_cytosae.training.config import SaeTrainingConfig


class Weights(Protocol):
    """The four tensors of a sparse autoencoder; a `SparseAutoencoder` has them."""

    @property
    def W_enc(self) -> Tensor:
        """(d_model, d_sae)."""

    @property
    def b_enc(self) -> Tensor:
        """(d_sae,)."""

    @property
    def W_dec(self) -> Tensor:
        """(d_sae, d_model), rows of length one."""

    @property
    def b_dec(self) -> Tensor:
        """(d_model,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The loss of one step and its parts, each a scalar tensor.

    Parameters
    ----------
    mse
        Mean over elements of ``(x̂ − x)² / ‖x‖₂``.
    l1
        λ times the mean over tokens of ``‖f‖₁``.
    ghost
        The ghost-gradient term; 0 where no concept is silent.
    fired
        (d_sae,) bool: the concepts that are active on any token.
    l0
        Active concepts per token, on average.
    """

    mse: Tensor
    l1: Tensor
    ghost: Tensor
    fired: Tensor
    l0: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.mse + self.l1 + self.ghost

    def numbers(self) -> dict[str, float]:
        """Give the loss, its parts and L0 as plain numbers."""
        parts = {
            "loss": self.total,
            "mse": self.mse,
            "l1": self.l1,
            "ghost": self.ghost,
            "l0": self.l0,
        }
        return {name: float(value.detach()) for name, value in parts.items()}


LARGEST_GHOST: Final = 40.0
"""Pre-activations are taken to be no larger in ``exp``, which float32 could not hold. A silent ReLU
concept's are negative; a silent TopK one's need not be."""


def sparse_activations(pre: Tensor, config: SaeTrainingConfig) -> Tensor:
    """Apply the activation function to (…, d_sae) pre-activations.

    TopK keeps what is not below a token's k-th largest; BatchTopK, what is not below the k · n
    largest of n tokens.

    References
    ----------
    TopK: Gao et al. 2024, "Scaling and evaluating sparse autoencoders". BatchTopK: Bussmann et al.
    2024, "BatchTopK Sparse Autoencoders".
    """
    positive = torch.relu(pre)
    if config.k is None:
        return positive
    known = positive.detach()
    if config.activation == "topk":
        least = known.topk(config.k, dim=-1).values[..., -1:]
    else:
        least = known.reshape(-1).topk(config.k * (known.numel() // known.shape[-1])).values[-1]
    return positive.masked_fill(known < least, 0.0)


def losses(x: Tensor, weights: Weights, dead: Tensor, config: SaeTrainingConfig) -> Losses:
    """Compute the loss of a batch of tokens; gradients flow to the weights.

    With ``r = x − x̂`` held constant, silent concepts D are taken at ``exp`` of their
    pre-activations, ``g = exp(h_D) W_dec[D]``, and scaled to half the residual's norm. Their loss
    ``(g − r)² / ‖r‖₂`` is then rescaled, element by element, to the size of the reconstruction's
    (Jermyn and Templeton 2024, "Ghost Grads: An improvement on resampling"; the norms as in the
    CytoSAE code).

    Parameters
    ----------
    x
        (…, d_model) float32 tokens.
    weights
        The autoencoder.
    dead
        (d_sae,) bool: the concepts that are silent. Not looked at where ghost gradients are off.
    config
        The recipe.
    """
    hidden = (x - weights.b_dec) @ weights.W_enc + weights.b_enc
    f = sparse_activations(hidden, config)
    rebuilt = f @ weights.W_dec + weights.b_dec
    norm = x.norm(dim=-1, keepdim=True)
    whole = (rebuilt - x) ** 2 / norm
    mse = whole.mean()
    for prefix in config.prefixes:
        part = f[..., :prefix] @ weights.W_dec[:prefix] + weights.b_dec
        mse = mse + ((part - x) ** 2 / norm).mean()
    mse = mse / (1 + len(config.prefixes))
    ghost = x.new_zeros(())
    if config.ghost_gradients and bool(dead.any()):
        residual = (x - rebuilt).detach()
        length = residual.norm(dim=-1, keepdim=True)
        out = hidden[..., dead].clamp(max=LARGEST_GHOST).exp() @ weights.W_dec[dead]
        out = out * (length / (1e-6 + 2 * out.norm(dim=-1, keepdim=True))).detach()
        term = (out - residual) ** 2 / length
        ghost = ((whole / (term + 1e-6)).detach() * term).mean()
    l1 = config.l1 * f.sum(-1).mean() if config.activation == "relu" else x.new_zeros(())
    active = (f > 0).reshape(-1, f.shape[-1])
    return Losses(mse, l1, ghost, active.any(0), active.sum(1).float().mean())


@torch.no_grad()
def normalise_decoder(w_dec: Tensor) -> None:
    """Bring the rows of (d_sae, d_model) to length one, in place; before each step."""
    w_dec.div_(w_dec.norm(dim=1, keepdim=True))


@torch.no_grad()
def remove_parallel_gradient(w_dec: Tensor, gradient: Tensor) -> None:
    """Take out of a decoder's gradient, in place, what would only change its rows' lengths.

    The rows of `w_dec` have length one.
    """
    gradient.sub_((gradient * w_dec).sum(1, keepdim=True) * w_dec)
