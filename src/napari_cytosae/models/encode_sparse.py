"""Encode tokens to sparse activations without ever holding tokens × concepts.

Of 49,152 concepts, a token activates about 50. A dense encoder computes all of them in float32
and throws 99.9 % away. Where the hardware multiplies short numbers, the work is split in two:

1. **Screen**: a product of rounded numbers says which few may be active. Nobody reads its values,
   only their signs. See `screens`.
2. **Score**: those few are computed again in float32.

The values are therefore float32 ones in either case. Elsewhere, the dense float32 product is made
chunk by chunk.

Measured for 768 → 49,152 with 50 active concepts per token, per 1,028 tokens, on one core of an AMD
Zen 4: float32 product 0.9 s, bfloat16 screen 0.38 s, int8 screen 0.19 s, scoring 30 ms. The chunk's
shape hardly matters: 128 to 2,056 tokens by 1,024 to 49,152 concepts all lie within 10 %; below 128
tokens, reading the weights again for every chunk starts to cost.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.models.screens import Scratch, Screen
from napari_cytosae.models.sparse import SparseActivations

# Entries of one dense chunk: 256 tokens × 49,152 concepts, 25 MB in bfloat16 or 50 in float32.
CHUNK_ENTRIES: Final = 256 * 49_152
# On a GPU, where each chunk is waited for: 4,096 tokens × 49,152 concepts, 400 MB in bfloat16.
GPU_CHUNK_ENTRIES: Final = 16 * CHUNK_ENTRIES

# Above this share of candidates, scoring them one by one costs more than a dense float32 product.
_MANY_CANDIDATES: Final = 0.02
Part = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]  # counts, ids, values

with warnings.catch_warnings():
    # PyTorch says once per process that its CSR layout is new; say it now, to nobody.
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int64), [], (1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """The encoder's weights as the sparse encoder wants them.

    Parameters
    ----------
    weight
        (d_sae, d_model) float32, contiguous: W_enc, concept by concept.
    b_enc, b_dec
        (d_sae,) and (d_model,) float32.
    screens
        What finds candidates, the cheapest first. One that finds too many at some tokens is left
        out from there on; after the last come dense products.
    ids
        (n,) int32, ascending: the concepts whose weights these are, where they are not all.
    d_sae
        Number of concepts in all; by default as many as there are weights.
    least
        (d_sae,) float32, not negative: what an activation has to be above, concept by concept. The
        screens' biases are without it. None for plain ReLU.
    """

    weight: torch.Tensor
    b_enc: torch.Tensor
    b_dec: torch.Tensor
    screens: tuple[Screen, ...] = ()
    ids: NDArray[np.int32] | None = None
    d_sae: int | None = None
    least: torch.Tensor | None = None


@torch.no_grad()
def encode_sparse(
    tokens: torch.Tensor,
    encoder: Encoder,
    threshold: float = 0.0,
    chunk_tokens: int | None = None,
) -> SparseActivations:
    """Give the activations above a threshold.

    Parameters
    ----------
    tokens
        (N, d_model), on the encoder's device.
    encoder
        Weights, with or without screens.
    threshold
        Only activations greater than this are kept; not negative.
    chunk_tokens
        Tokens per dense product; by default as many as make 12.6 million entries, 16 times that on
        a GPU.
    """
    n_concepts, d_model = encoder.weight.shape
    if tokens.ndim != 2 or tokens.shape[1] != d_model:
        raise ValueError(f"tokens must be (N, {d_model}), not {tuple(tokens.shape)}")
    if not threshold >= 0.0:
        raise ValueError(f"threshold must not be negative: {threshold}")
    entries = CHUNK_ENTRIES if tokens.device.type == "cpu" else GPU_CHUNK_ENTRIES
    step = chunk_tokens or max(entries // n_concepts, 32)
    chunks = _Chunks(encoder, float(threshold))
    parts = [
        chunks.encode(tokens[start : start + step].to(torch.float32) - encoder.b_dec)
        for start in range(0, len(tokens), step)
    ]
    counts = [np.zeros(1, np.int64), *(part[0] for part in parts)]
    indices = np.concatenate([np.zeros(0, np.int32), *(part[1] for part in parts)])
    return SparseActivations(
        np.cumsum(np.concatenate(counts), dtype=np.int64),
        indices if encoder.ids is None else encoder.ids[indices],
        np.concatenate([np.zeros(0, np.float32), *(part[2] for part in parts)]),
        (len(tokens), encoder.d_sae or n_concepts),
    )


class _Chunks:
    """Encode chunk after chunk into the same memory."""

    def __init__(self, encoder: Encoder, threshold: float) -> None:
        self.encoder = encoder
        self.threshold = threshold
        # Screens look for what is above each concept's own threshold; see `Encoder.least`.
        self.screened = threshold if encoder.least is None else 0.0
        self.screens = list(encoder.screens)
        self.scratch = Scratch()

    def encode(self, centred: torch.Tensor) -> Part:
        """Encode (n, d_model) tokens, already without b_dec."""
        while self.screens:
            rows, columns = self.screens[0].candidates(centred, self.screened, self.scratch)
            if len(rows) <= _MANY_CANDIDATES * len(centred) * len(self.encoder.weight):
                return self._keep(len(centred), rows, columns, self._score(centred, rows, columns))
            self.screens.pop(0)
        pre = self.scratch.product(centred, self.encoder.weight).add_(self.encoder.b_enc)
        if (least := self.encoder.least) is None:
            rows, columns = self.scratch.above(pre, self.threshold)
            return self._keep(len(centred), rows, columns, pre[rows, columns])
        rows, columns = self.scratch.above(pre.sub_(least), self.screened)
        return self._keep(len(centred), rows, columns, pre[rows, columns] + least[columns])

    def _score(
        self, centred: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """Compute single activations in float32."""
        weight, b_enc = self.encoder.weight, self.encoder.b_enc
        if centred.device.type == "cpu":
            indptr = torch.zeros(len(centred) + 1, dtype=torch.int64)
            torch.cumsum(torch.bincount(rows, minlength=len(centred)), 0, out=indptr[1:])
            pattern = torch.sparse_csr_tensor(
                indptr, columns, torch.zeros(len(rows)), (len(centred), len(weight))
            )
            # Three times as fast as gathering both factors, and in no memory.
            scored = torch.sparse.sampled_addmm(pattern, centred, weight.t(), beta=0.0)
            products: torch.Tensor = scored.values()
            return products + b_enc[columns]
        step = 2**16
        products = torch.cat(
            [
                (centred[rows[i : i + step]] * weight[columns[i : i + step]]).sum(1)
                for i in range(0, len(rows), step)
            ]
            or [centred.new_zeros(0)]
        )
        return products + b_enc[columns]

    def _keep(
        self, n: int, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor
    ) -> Part:
        kept = values > self.threshold
        if self.encoder.least is not None:
            kept &= values > self.encoder.least[columns]
        rows, columns, values = rows[kept], columns[kept], values[kept]
        counts = torch.bincount(rows, minlength=n).cpu().numpy()
        return counts, columns.to(torch.int32).cpu().numpy(), values.cpu().numpy()
