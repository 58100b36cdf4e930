"""The gradients of a training step, by hand: the numbers of `recipe.losses`, several times faster.

What is saved, for n tokens and d_sae concepts of which few are active:

- Tokens × concepts are never held but for one chunk of tokens, and nothing is kept for a backward
  pass.
- The gradient of ``b_dec`` through the encoder is ``W_enc`` times the gradient of ``b_enc``: one
  product of a matrix and a vector, where automatic differentiation makes one of two matrices.
- Products run in bfloat16 where the processor has it; sums over chunks, weights and the optimiser
  are float32.
- On a processor, once few concepts are active, only the encoder's product is dense: decoding, and
  all of the backward pass, go over the active entries (`napari_cytosae.training.active`).
"""

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_cytosae.training.active import ActiveEntries, count_positive, positive_entries
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.ghosts import Ghosts, add_ghosts
from napari_cytosae.training.operands import Operands
from napari_cytosae.training.processes import ALONE, Processes
from napari_cytosae.training.reconstruction import Reconstruction, compare
from napari_cytosae.training.sums import StepSums
from napari_cytosae.training.weights import SaeWeights

CHUNK_ENTRIES: Final = 2048 * 12_288
"""Entries, tokens × concepts, of one chunk on a processor: 50 MB in bfloat16."""

GPU_CHUNK_ENTRIES: Final = 8 * CHUNK_ENTRIES
"""On a GPU, which larger products keep busy: 400 MB, twice."""

SPARSE_BELOW: Final = {torch.bfloat16: 0.08, torch.float32: 0.12}
"""Share of active entries below which going over them alone is the faster way."""

MOST_ACTIVE: Final = 4_000_000
"""Active entries that are held at once: 100 MB with all that goes with them."""


class Gradients:
    """Computes gradients into the same memory, step after step.

    Parameters
    ----------
    weights
        The weights; changed from outside between steps.
    config
        The recipe.
    dtype
        Of the matrix products.
    processes
        With which others the batch is shared.
    chunk_entries
        Tokens × concepts that are held at once; by default as the device likes it.
    """

    def __init__(
        self,
        weights: SaeWeights,
        config: SaeTrainingConfig,
        dtype: torch.dtype,
        processes: Processes = ALONE,
        chunk_entries: int | None = None,
    ) -> None:
        self.weights = weights
        self.config = config
        self.processes = processes
        self.gradient = weights.zeros()
        self.operands = Operands(weights, dtype)
        on_cpu = weights.device.type == "cpu"
        entries = chunk_entries or (CHUNK_ENTRIES if on_cpu else GPU_CHUNK_ENTRIES)
        self.chunk = max(entries // weights.d_sae, 64)
        bounds = (0, *config.prefixes, weights.d_sae)
        self.segments = [slice(*pair) for pair in pairwise(bounds)]
        self.sparse_below = SPARSE_BELOW[dtype] if on_cpu else 0.0
        self._buffers: list[Tensor] = []

    @torch.no_grad()
    def compute(self, x: Tensor, dead: Tensor, n_global: int) -> StepSums:
        """Normalise the decoder and compute `gradient`.

        Parameters
        ----------
        x
            (n, d_model) float32 tokens of this process.
        dead
            (d_sae,) bool: the silent concepts.
        n_global
            Tokens of this step over all processes; gradients and losses are shares of its means.
        """
        for tensor in self.gradient.tensors():
            tensor.zero_()
        self.operands.take(self.weights)
        self.scale = 1.0 / (n_global * self.weights.d_model)
        self.slope_l1 = self.config.l1 / n_global if self.config.activation == "relu" else 0.0
        haunted = self.config.ghost_gradients and bool(dead.any())
        self.ghosts = Ghosts.among(dead, self.operands) if haunted else None
        sums = StepSums.of(x, self.weights.d_sae)
        least = self._least(x, n_global)
        few: bool | None = None
        waiting: list[tuple[Tensor, Tensor, ActiveEntries]] = []
        for rows in torch.split(x, self.chunk):
            tokens = self.operands.tokens(rows - self.weights.b_dec)
            activations = self._activations(tokens, least)
            if few is None:  # the first chunk decides for all
                few = self._few(activations)
            if not few:
                self._dense(rows, tokens, activations, sums)
                continue
            waiting.append((rows, tokens, positive_entries(activations)))
            if sum(len(entries) for *_, entries in waiting) > MOST_ACTIVE:
                self._sparse(waiting, sums)
                waiting = []
        if waiting:
            self._sparse(waiting, sums)
        # b_dec is taken from each token before the encoder.
        self.gradient.b_dec.sub_(self.weights.enc_rows.t() @ self.gradient.b_enc)
        return sums

    def _few(self, activations: Tensor) -> bool:
        return self.sparse_below > 0 and bool(
            count_positive(activations) <= self.sparse_below * activations.numel()
        )

    def _activations(self, tokens: Tensor, least: Tensor | None) -> Tensor:
        pre = self._product(0, tokens, self.operands.enc)
        if self.config.activation == "topk":
            assert self.config.k is not None
            least = pre.topk(self.config.k, dim=1).values[:, -1:]
        pre.relu_()
        return pre if least is None else pre.masked_fill_(pre < least, 0.0)

    def _least(self, x: Tensor, n_global: int) -> Tensor | None:
        """Find BatchTopK's threshold by a product that is thrown away."""
        if self.config.activation != "batchtopk":
            return None
        assert self.config.k is not None
        wanted = self.config.k * n_global
        best = x.new_empty(0, dtype=self.operands.enc.dtype)
        for rows in torch.split(x, self.chunk):
            tokens = self.operands.tokens(rows - self.weights.b_dec)
            pre = self._product(0, tokens, self.operands.enc).relu_().reshape(-1)
            best = torch.cat([best, pre[pre >= best[-1]] if len(best) == wanted else pre])
            best = best.topk(min(wanted, len(best))).values
        best = self.processes.gather(F.pad(best, (0, wanted - len(best))))
        return best.topk(wanted).values[-1]

    def _product(self, buffer: int, rows: Tensor, weight: Tensor) -> Tensor:
        """Multiply (n, k) with (d_sae, k) into one of two buffers."""
        while len(self._buffers) <= buffer:
            self._buffers.append(rows.new_empty(self.chunk, len(self.operands.enc)))
        return torch.mm(rows, weight.t(), out=self._buffers[buffer][: len(rows)])

    def _dense(self, x: Tensor, tokens: Tensor, activations: Tensor, sums: StepSums) -> None:
        """Add the gradients of a chunk of tokens by dense products."""
        d_model = self.weights.d_model
        dec, gradient = self.operands.dec, self.gradient
        decoded = [torch.mm(activations[:, part], dec[part]).float() for part in self.segments]
        found = compare(x, [part[:, :d_model] for part in decoded], self.weights.b_dec, self.scale)
        sums.add_reconstruction(found)
        for whole in decoded:
            sums.l1.add_(whole[:, d_model].sum())
        sums.active.add_(count_positive(activations))
        ones = activations.new_ones(1, len(activations))
        sums.fired.add_(torch.mm(ones, activations)[0] > 0)
        gradient.b_dec.add_(found.slopes[0].sum(0))
        for part, slope in zip(self.segments, found.slopes, strict=True):
            extended = self.operands.slopes(slope, self.slope_l1)
            if len(self.segments) == 1:
                inner = self._product(1, extended, dec)
            else:
                inner = torch.mm(extended, dec[part].t())
            active = activations[:, part]
            torch.ops.aten.threshold_backward.grad_input(inner, active, 0.0, grad_input=inner)
            gradient.dec_rows[part].add_(torch.mm(active.t(), extended)[:, :d_model])
            encoder = torch.mm(inner.t(), tokens)
            gradient.enc_rows[part].add_(encoder[:, :d_model])
            gradient.b_enc[part].add_(encoder[:, d_model])
        self._haunt(tokens, found, sums)

    def _sparse(self, waiting: list[tuple[Tensor, Tensor, ActiveEntries]], sums: StepSums) -> None:
        """Add the gradients of chunks of tokens, going over active entries alone."""
        d_model, gradient = self.weights.d_model, self.gradient
        x = torch.cat([rows for rows, _, _ in waiting])
        tokens = torch.cat([extended for _, extended, _ in waiting])
        entries = ActiveEntries.joined([found for *_, found in waiting])
        parts = [entries.segment(part) for part in self.segments]
        decoded = [part.decode(self.operands.dec)[:, :d_model].float() for part in parts]
        found = compare(x, decoded, self.weights.b_dec, self.scale)
        sums.add_reconstruction(found)
        sums.l1.add_(entries.values.sum())
        sums.active.add_(len(entries))
        gradient.b_dec.add_(found.slopes[0].sum(0))
        for part, slope in zip(parts, found.slopes, strict=True):
            sums.fired.add_(part.fired())
            inner = part.slopes(slope, self.weights.dec_rows).add_(self.slope_l1)
            outer = part.outer(part.values_by_concept, self.operands.slopes(slope, 0.0))
            gradient.dec_rows.add_(outer[:, :d_model])
            outer = part.outer(inner, tokens)
            gradient.enc_rows.add_(outer[:, :d_model])
            gradient.b_enc.add_(outer[:, d_model])
        self._haunt(tokens, found, sums)

    def _haunt(self, tokens: Tensor, found: Reconstruction, sums: StepSums) -> None:
        """Add the gradients of the ghost term."""
        if self.ghosts is None:
            return
        rows = max(self.chunk * self.weights.d_sae // len(self.ghosts.ids), 1)
        for start in range(0, len(tokens), rows):
            part = slice(start, start + rows)
            term = add_ghosts(
                self.ghosts,
                tokens[part],
                found.rows(part),
                self.operands,
                self.gradient,
                self.scale,
            )
            sums.ghost.add_(term)
