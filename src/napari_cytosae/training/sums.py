"""What one process saw in one step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_cytosae.training.reconstruction import Reconstruction


@dataclass(frozen=True, slots=True, eq=False)
class StepSums:
    """Sums over the tokens of a step; processes add theirs.

    Parameters
    ----------
    mse, ghost
        Of the loss' terms, over elements; scalars, as all but the last two.
    l1
        Of all activations.
    active
        Number of active entries.
    error, square
        Of ``(x − x̂)²`` and of ``x²``, over elements.
    total
        (d_model,): of the tokens.
    fired
        (d_sae,) int32: above 0 where a concept was active.
    """

    mse: Tensor
    ghost: Tensor
    l1: Tensor
    active: Tensor
    error: Tensor
    square: Tensor
    total: Tensor
    fired: Tensor

    @classmethod
    def of(cls, x: Tensor, d_sae: int) -> "StepSums":
        """Begin with (n, d_model) tokens."""
        # Apple's GPUs have no float64.
        kind = torch.float32 if x.device.type == "mps" else torch.float64
        mse, ghost, l1, active, error = x.new_zeros(5, dtype=kind).unbind()
        return cls(
            mse,
            ghost,
            l1,
            active,
            error,
            square=x.square().sum(dtype=kind),
            total=x.sum(0, dtype=kind),
            fired=torch.zeros(d_sae, dtype=torch.int32, device=x.device),
        )

    def add_reconstruction(self, found: Reconstruction) -> None:
        """Add what some of the tokens were reconstructed to."""
        self.mse.add_(found.loss)
        self.error.add_(found.residual.square().sum())

    def joined(self) -> Tensor:
        """Give all but `fired` as one vector, which processes can add."""
        scalars = (self.mse, self.ghost, self.l1, self.active, self.error, self.square)
        return torch.cat([torch.stack(scalars), self.total])


def describe_step(joined: Tensor, n_tokens: int, l1: float) -> dict[str, float]:
    """Turn sums over all processes into the loss, its parts, and what describes a step.

    Parameters
    ----------
    joined
        The sum of all processes' `StepSums.joined`.
    n_tokens
        Tokens of the step.
    l1
        λ.

    Returns
    -------
    ``loss``, ``mse``, ``l1``, ``ghost``, ``l0``, and the centred ``explained_variance``
    ``1 − Σ(x − x̂)² / Σ(x − x̄)²`` over the step's tokens.
    """
    mse, ghost, l1_sum, active, error, square, *total = joined.tolist()
    mse, ghost = (value / (n_tokens * len(total)) for value in (mse, ghost))
    l1_loss = l1 * l1_sum / n_tokens
    variance = square - sum(value * value for value in total) / n_tokens
    return {
        "loss": mse + l1_loss + ghost,
        "mse": mse,
        "l1": l1_loss,
        "ghost": ghost,
        "l0": active / n_tokens,
        "explained_variance": 1.0 - error / variance if variance > 0 else 0.0,
    }
