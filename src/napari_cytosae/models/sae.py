"""The sparse autoencoder that turns tokens into concepts."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn

from napari_cytosae.models.encode_sparse import encode_sparse
from napari_cytosae.models.sparse import SparseActivations


class SparseAutoencoder(nn.Module):
    """ReLU sparse autoencoder (CytoSAE, eq. 1 and 2).

    ``f = ReLU((x − b_dec) W_enc + b_enc)`` and ``x̂ = f W_dec + b_dec``.

    Parameters
    ----------
    d_model
        Width of a token.
    d_sae
        Number of concepts.
    block
        The backbone's block after which it reads tokens; negative ones count from the end.

    Attributes
    ----------
    W_enc, b_enc, W_dec, b_dec : nn.Parameter
        (d_model, d_sae), (d_sae,), (d_sae, d_model) and (d_model,), float32.
    """

    def __init__(self, d_model: int, d_sae: int, block: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.d_sae = d_sae
        self.block = block
        # W_enc is stored concept by concept: one concept's weights lie together, which is what
        # the sparse encoder gathers and what a matrix product wants of its second factor.
        self.W_enc = nn.Parameter(torch.zeros(d_sae, d_model).t())
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_model))
        self.b_dec = nn.Parameter(torch.zeros(d_model))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.b_dec.device

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Give every concept's activation.

        Parameters
        ----------
        tokens
            (…, d_model) float32, on the SAE's device.

        Returns
        -------
        (…, d_sae) float32, never negative. Dense: for more than a few images use
        `encode_sparse`.
        """
        return F.relu(F.linear(tokens - self.b_dec, self.W_enc.t(), self.b_enc))

    def decode(self, activations: torch.Tensor) -> torch.Tensor:
        """Rebuild tokens from activations: (…, d_sae) → (…, d_model) float32."""
        return activations @ self.W_dec + self.b_dec

    def encode_sparse(self, tokens: torch.Tensor, threshold: float = 0.0) -> SparseActivations:
        """Give the activations above a threshold, without ever holding all zeros at once.

        Parameters
        ----------
        tokens
            (N, d_model), on the SAE's device.
        threshold
            Only activations greater than this are kept; not negative.
        """
        return encode_sparse(tokens, self.W_enc, self.b_enc, self.b_dec, threshold)

    def configured(self, device: torch.device) -> "SparseAutoencoder":
        """Give this SAE on `device`; the weights stay float32."""
        if device == self.device:
            return self
        return deepcopy(self).to(device)
