"""The sparse autoencoder that turns tokens into concepts."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from napari_cytosae.models.device import Precision, has_hardware_bfloat16
from napari_cytosae.models.encode_sparse import (
    LIKELY_MARGIN,
    RIGOROUS_MARGIN,
    Encoder,
    build_screen,
    encode_sparse,
)
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
        self.precision: Precision = "float32"
        self._screen: torch.Tensor | None = None
        self._screen_of: list[tuple[int, int]] = []
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

    def encode_sparse(
        self, tokens: torch.Tensor, threshold: float = 0.0, chunk_tokens: int | None = None
    ) -> SparseActivations:
        """Give the activations above a threshold, without ever holding all zeros at once.

        Parameters
        ----------
        tokens
            (N, d_model), on the SAE's device.
        threshold
            Only activations greater than this are kept; not negative.
        chunk_tokens
            Tokens per dense product; the default fits the processor's cache.
        """
        return encode_sparse(tokens, self._encoder(), threshold, chunk_tokens)

    def configured(self, device: torch.device, precision: Precision) -> "SparseAutoencoder":
        """Give this SAE on `device`, its weights shared where they can be.

        The weights and the activations stay float32. `precision` only says how `encode_sparse`
        finds active concepts: in ``"float32"`` it misses none, in ``"bfloat16"`` it may miss one
        whose activation is below the rounding error of its token.
        """
        if (device, precision) == (self.device, self.precision):
            return self
        # New parameters over the same numbers: moving a shared parameter would move the original.
        shared: dict[int, Any] = {
            id(p): nn.Parameter(p.detach().to(device), p.requires_grad) for p in self.parameters()
        }
        shared[id(self._screen)] = self._screen if device == self.device else None
        clone = deepcopy(self, shared)
        clone.precision = precision
        return clone

    def _encoder(self) -> Encoder:
        """Give the weights as `encode_sparse` wants them; rounded once, not at every call."""
        parameters = (self.W_enc, self.b_enc)
        state = [(parameter.data_ptr(), parameter._version) for parameter in parameters]
        weight = self.W_enc.detach().t().contiguous()
        if not self._screens():
            self._screen = None
        elif self._screen is None or self._screen_of != state:
            self._screen = build_screen(weight, self.b_enc.detach())
            self._screen_of = state
        margin = RIGOROUS_MARGIN if self.precision == "float32" else LIKELY_MARGIN
        b_enc, b_dec = self.b_enc.detach(), self.b_dec.detach()
        return Encoder(weight, b_enc, b_dec, self._screen, margin)

    def _screens(self) -> bool:
        # A GPU's float32 product is fast enough to be taken at its word where float32 is asked.
        wanted = self.precision == "bfloat16" or self.device.type == "cpu"
        return wanted and has_hardware_bfloat16(self.device)
