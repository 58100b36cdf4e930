"""The weights as matrix products take them."""

from typing import Final

import torch
from torch import Tensor

from napari_cytosae.training.weights import SaeWeights, rows_at_once

EXTRA: Final = 16
"""Columns that carry biases and sums through the products; 16 keep rows at whole cache lines."""


class Operands:
    """Copies of the weights, in the products' own precision, with extra columns.

    The encoder's two extra columns are its bias, and what rounding left out of it: with two ones
    behind each token, ``x W_enc + b_enc`` is one product, and the bias' gradient comes out of the
    product that gives the weights'. The decoder's extra column is ones: decoding sums the
    activations on the way, and a constant put behind the reconstruction's gradient is added to each
    activation's.

    Parameters
    ----------
    enc, dec
        (d_sae, d_model + 16).
    """

    def __init__(self, weights: SaeWeights, dtype: torch.dtype) -> None:
        shape = (weights.d_sae, weights.d_model + EXTRA)
        self.enc = torch.zeros(shape, dtype=dtype, device=weights.device)
        self.dec = torch.zeros(shape, dtype=dtype, device=weights.device)
        self.dec[:, weights.d_model] = 1.0

    @torch.no_grad()
    def take(self, weights: SaeWeights) -> None:
        """Bring the decoder's rows to length one, in place, and copy the weights."""
        d_model = weights.d_model
        for rows, encoder, dec, enc in zip(
            *map(rows_at_once, (weights.dec_rows, weights.enc_rows, self.dec, self.enc)),
            strict=True,
        ):
            rows.div_(rows.norm(dim=1, keepdim=True))
            dec[:, :d_model] = rows
            enc[:, :d_model] = encoder
        self.enc[:, d_model] = weights.b_enc
        self.enc[:, d_model + 1] = weights.b_enc - self.enc[:, d_model].float()

    def tokens(self, centred: Tensor) -> Tensor:
        """Put two ones behind each of (n, d_model) tokens, for `enc`."""
        return self._extended(centred, 1.0, 2)

    def slopes(self, gradient: Tensor, constant: float) -> Tensor:
        """Put a constant behind each of (n, d_model) gradients, for `dec`."""
        return self._extended(gradient, constant, 1)

    def _extended(self, rows: Tensor, constant: float, columns: int) -> Tensor:
        n, d_model = rows.shape
        out = torch.zeros(n, d_model + EXTRA, dtype=self.enc.dtype, device=rows.device)
        out[:, :d_model] = rows
        out[:, d_model : d_model + columns] = constant
        return out
