"""The sparse autoencoder that turns tokens into concepts."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from napari_cytosae.models.device import Precision, has_hardware_bfloat16
from napari_cytosae.models.encode_sparse import Encoder, encode_sparse
from napari_cytosae.models.focus import as_focus
from napari_cytosae.models.screens import Bfloat16Screen, Int8Screen, Screen, has_int8
from napari_cytosae.models.sparse import SparseActivations

# Below this width, the columns of an int8 screen for biases and margins cost what it saves.
_LEAST_INT8: Final = 384


class SparseAutoencoder(nn.Module):
    """ReLU sparse autoencoder (CytoSAE, eq. 1 and 2), or JumpReLU where it has thresholds.

    ``f = ReLU((x − b_dec) W_enc + b_enc)`` and ``x̂ = f W_dec + b_dec``. With thresholds θ, an
    activation that is not above its concept's θ is 0 (Rajamanoharan et al. 2024, "Jumping Ahead",
    eq. 3); autoencoders that were trained with TopK or BatchTopK are used so, too (Bussmann et al.
    2024, "BatchTopK Sparse Autoencoders", eq. 5).

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
    threshold : Tensor or None
        θ, (d_sae,) float32, never negative; None for plain ReLU.
    focus : ndarray or None
        (n,) int64, ascending: the only concepts that are encoded; None where all are.
    """

    def __init__(self, d_model: int, d_sae: int, block: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.d_sae = d_sae
        self.block = block
        self.precision: Precision = "float32"
        self.focus: NDArray[np.int64] | None = None
        self._ready: Encoder | None = None
        self._ready_of: list[tuple[int, int]] = []
        # W_enc is stored concept by concept: one concept's weights lie together, which is what
        # the sparse encoder gathers and what a matrix product wants of its second factor.
        self.W_enc = nn.Parameter(torch.zeros(d_sae, d_model).t())
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_model))
        self.b_dec = nn.Parameter(torch.zeros(d_model))
        self.threshold: torch.Tensor | None
        self.register_buffer("threshold", None)

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
        (…, d_sae) float32, never negative; 0 for concepts outside `focus`. Dense: for more than a
        few images use `encode_sparse`.
        """
        if self.focus is None:
            return self._activations(tokens, slice(None))
        ids = torch.from_numpy(self.focus).to(tokens.device)
        encoded = self._activations(tokens, ids)
        return encoded.new_zeros(*tokens.shape[:-1], self.d_sae).index_copy(-1, ids, encoded)

    def encode_concepts(self, tokens: torch.Tensor, concepts: Sequence[int]) -> torch.Tensor:
        """Give the activations of some concepts alone: (…, d_model) → (…, concepts) float32."""
        return self._activations(tokens, torch.as_tensor(concepts, device=tokens.device))

    def _activations(self, tokens: torch.Tensor, which: torch.Tensor | slice) -> torch.Tensor:
        weight, b_enc = self.W_enc.t()[which], self.b_enc[which]
        encoded = F.relu(F.linear(tokens - self.b_dec, weight, b_enc))
        if self.threshold is None:
            return encoded
        return encoded * (encoded > self.threshold[which])

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
        clone = self._twin(device)
        clone.precision = precision
        return clone

    def focused(self, concept_ids: Iterable[int] | None) -> "SparseAutoencoder":
        """Give this SAE restricted to some concepts, its weights shared; this one stays as it is.

        Ids and `d_sae` stay those of the whole SAE, and so do its parameters and its digest: the
        other concepts are merely never computed, which is what makes it cheaper.

        Parameters
        ----------
        concept_ids
            Ids of the whole SAE in any order; None for all.

        Raises
        ------
        FocusError
            There are none, or one is no concept of this SAE.
        """
        clone = self._twin(self.device)
        clone.focus = None if concept_ids is None else as_focus(concept_ids, self.d_sae)
        if clone.focus is not None and len(clone.focus) == self.d_sae:
            clone.focus = None
        return clone

    def _twin(self, device: torch.device) -> "SparseAutoencoder":
        # New parameters over the same numbers: moving a shared parameter would move the original.
        shared: dict[int, Any] = {
            id(p): nn.Parameter(p.detach().to(device), p.requires_grad) for p in self.parameters()
        }
        if self.threshold is not None:
            shared[id(self.threshold)] = self.threshold.to(device)
        shared[id(self._ready)] = None
        return deepcopy(self, shared)

    def _encoder(self) -> Encoder:
        """Give the weights as `encode_sparse` wants them; made once, not at every call."""
        tensors: list[torch.Tensor] = [self.W_enc, self.b_enc, self.b_dec]
        tensors += [] if self.threshold is None else [self.threshold]
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._ready is not None and self._ready_of == state:
            return self._ready
        weight, b_enc = self.W_enc.detach().t(), self.b_enc.detach()
        least, ids = self.threshold, None
        if self.focus is not None:
            where = torch.from_numpy(self.focus).to(self.device)
            weight, b_enc = weight[where], b_enc[where]
            least = None if least is None else least[where]
            ids = self.focus.astype(np.int32)
        weight = weight.contiguous()
        self._ready = Encoder(
            weight,
            b_enc,
            self.b_dec.detach(),
            # What is above θ is what is above 0 once θ is taken from the bias.
            self._screens(weight, b_enc if least is None else b_enc - least),
            ids,
            self.d_sae,
            least,
        )
        self._ready_of = state
        return self._ready

    def _screens(self, weight: torch.Tensor, b_enc: torch.Tensor) -> tuple[Screen, ...]:
        strict = self.precision == "float32"
        screens: list[Screen] = []
        if self.device.type == "cpu" and self.d_model >= _LEAST_INT8 and has_int8():
            screens.append(Int8Screen.build(weight, b_enc, strict=strict))
        # A GPU's float32 product is fast enough to be taken at its word where float32 is asked.
        if has_hardware_bfloat16(self.device) and not (strict and self.device.type != "cpu"):
            screens.append(Bfloat16Screen.build(weight, b_enc, strict=strict))
        return tuple(screens)
