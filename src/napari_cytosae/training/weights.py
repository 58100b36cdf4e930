"""A sparse autoencoder's weights while it is trained."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from napari_cytosae.models.sae import SparseAutoencoder

NAMES: Final = ("enc_rows", "b_enc", "dec_rows", "b_dec")

ROWS_AT_ONCE: Final = 512
"""Concepts whose weights a processor goes through together: 1.5 MB at width 768, which its cache
holds."""


def rows_at_once(matrix: Tensor) -> tuple[Tensor, ...]:
    """Cut a matrix into views of the rows that are best gone through together.

    A GPU gains nothing from its cache here, and loses time with every call: it gets all of them.
    """
    return torch.split(matrix, ROWS_AT_ONCE) if matrix.device.type == "cpu" else (matrix,)


@dataclass(frozen=True, slots=True, eq=False)
class SaeWeights:
    """Float32 weights, or gradients, or moments: encoder and decoder concept by concept.

    Parameters
    ----------
    enc_rows
        (d_sae, d_model): W_enc, transposed.
    b_enc
        (d_sae,).
    dec_rows
        (d_sae, d_model): W_dec.
    b_dec
        (d_model,).
    """

    enc_rows: Tensor
    b_enc: Tensor
    dec_rows: Tensor
    b_dec: Tensor

    @classmethod
    def of(cls, sae: SparseAutoencoder, device: torch.device | None = None) -> "SaeWeights":
        """Copy an autoencoder's weights."""
        tensors = (sae.W_enc.t(), sae.b_enc, sae.W_dec, sae.b_dec)
        return cls(
            *(
                tensor.detach().to(device or tensor.device, torch.float32, copy=True).contiguous()
                for tensor in tensors
            )
        )

    @classmethod
    def empty(cls, d_model: int, d_sae: int, device: torch.device) -> "SaeWeights":
        """Make room for weights."""
        return cls(
            torch.empty(d_sae, d_model, device=device),
            torch.empty(d_sae, device=device),
            torch.empty(d_sae, d_model, device=device),
            torch.empty(d_model, device=device),
        )

    @property
    def d_sae(self) -> int:
        """Number of concepts."""
        return len(self.b_enc)

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return len(self.b_dec)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.b_dec.device

    @property
    def W_enc(self) -> Tensor:
        """(d_model, d_sae), a view."""
        return self.enc_rows.t()

    @property
    def W_dec(self) -> Tensor:
        """(d_sae, d_model)."""
        return self.dec_rows

    def tensors(self) -> tuple[Tensor, ...]:
        """Give the four, in the order of `NAMES`."""
        return self.enc_rows, self.b_enc, self.dec_rows, self.b_dec

    def zeros(self) -> "SaeWeights":
        """Make zeros of the same shapes."""
        return SaeWeights(*(torch.zeros_like(tensor) for tensor in self.tensors()))

    @torch.no_grad()
    def to_sae(self, block: int) -> SparseAutoencoder:
        """Make an autoencoder with a decoder whose rows have length one.

        Their lengths go to the encoder, which leaves every reconstruction as it was.
        """
        rows = self.dec_rows.to("cpu", copy=True)
        lengths = rows.norm(dim=1)
        with torch.device("meta"):
            sae = SparseAutoencoder(self.d_model, self.d_sae, block)
        state = {
            "W_enc": (self.enc_rows.to("cpu") * lengths[:, None]).t(),
            "b_enc": self.b_enc.to("cpu") * lengths,
            "W_dec": rows.div_(lengths[:, None]),
            "b_dec": self.b_dec.to("cpu", copy=True),
        }
        sae.load_state_dict(state, assign=True)
        return sae.requires_grad_(False)
