"""Adam over a sparse autoencoder's weights, a few concepts at a time.

A weight matrix and its gradient and moments do not fit the processor's cache; a few hundred rows of
each do. Projection and all of Adam's arithmetic are done on these before the next are fetched.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from napari_cytosae.training.recipe import remove_parallel_gradient
from napari_cytosae.training.weights import SaeWeights, rows_at_once

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Adam:
    """Adam (Kingma and Ba 2015) as ``torch.optim.Adam`` computes it, with its usual constants.

    Parameters
    ----------
    mean, square
        Running means of the gradients and of their squares.
    """

    mean: SaeWeights
    square: SaeWeights

    @classmethod
    def over(cls, weights: SaeWeights) -> "Adam":
        """Begin with moments of zero."""
        return cls(weights.zeros(), weights.zeros())

    @torch.no_grad()
    def update(self, weights: SaeWeights, gradient: SaeWeights, step: int, lr: float) -> None:
        """Take a step, in place; `gradient` is used up.

        Parameters
        ----------
        weights
            The decoder's rows have length one. What of its gradient is parallel to them is taken
            out.
        gradient
            Over all processes.
        step
            Counted from 0.
        lr
            Learning rate.
        """
        for parts in zip(
            weights.tensors(),
            gradient.tensors(),
            self.mean.tensors(),
            self.square.tensors(),
            strict=True,
        ):
            for weight, slope, mean, square in zip(
                *(rows_at_once(part) if part.ndim == 2 else (part,) for part in parts),
                strict=True,
            ):
                if parts[0] is weights.dec_rows:
                    remove_parallel_gradient(weight, slope)
                _update(weight, slope, mean, square, step + 1, lr)


def _update(
    weight: Tensor, slope: Tensor, mean: Tensor, square: Tensor, step: int, lr: float
) -> None:
    mean.lerp_(slope, 1.0 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(slope, slope, value=1.0 - BETAS[1])
    root = torch.sqrt(square, out=slope)
    root.div_((1.0 - BETAS[1] ** step) ** 0.5).add_(EPSILON)
    weight.addcdiv_(mean, root, value=-lr / (1.0 - BETAS[0] ** step))
