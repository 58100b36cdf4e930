"""Cheap products that say which concepts may be active at a token, so that few need be scored.

A screen answers with a superset: every concept that is active, and some that are not. It rounds
tokens and weights, and raises its answer by a margin that covers the rounding.

With ``x = x̂ + e`` (a token and its rounding error) and ``w = ŵ + f``,

    x · w = x̂ · ŵ + e · w + x̂ · f,   |e · w| ≤ ‖e‖ ‖w‖,   |x̂ · f| ≤ ‖x̂‖ ‖f‖.

A **strict** screen adds these bounds, and misses nothing. A **likely** one uses that errors are many
and cancel: the two terms deviate by 1/√d of their bounds, of which it adds `LIKELY_DEVIATIONS`. What
that can miss, once in 10⁹ times, is an activation smaller than its own rounding error.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

LIKELY_DEVIATIONS: Final = 6.0

# bfloat16: rounding x and w changes x · w by no more than (2 · 2⁻⁸ + 2⁻¹⁶) ‖x‖ ‖w‖; summing in
# float32 and rounding the margin itself add a little. Its deviation is 2⁻⁸ · 0.6 / √768 of ‖x‖ ‖w‖
# at 768 dimensions; a fixed eighth of the bound is twelve of them there, and six at 192.
_BFLOAT16_STRICT: Final = 0.008
_BFLOAT16_LIKELY: Final = 0.001
# Extra columns of its product: margin, threshold, and two for the bias. 16 keep the product's inner
# length a multiple of a cache line, and are free.
_BFLOAT16_EXTRA: Final = 16

# int8: columns that hold a concept's bias. 16 reach 258,000 units of the product below 0, where a
# token's own products deviate by some 40,000: what lies below cannot be active. Positive biases,
# which an SAE has few and small ones of, make a token's units larger if they do not fit.
_BELOW: Final = 16
_ABOVE: Final = 4
_MOST: Final = 127
_ROWS_AT_ONCE: Final = 4096

_TINY: Final = 1e-30

Positions = tuple[torch.Tensor, torch.Tensor]  # rows, columns


class Scratch:
    """Memory that is used again from chunk to chunk; one for each call, as threads share screens."""

    def __init__(self) -> None:
        self._values: torch.Tensor | None = None
        self._mask = np.empty(0, np.bool_)

    def product(self, tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Multiply (n, d) tokens and (m, d) weights of one type, into memory kept for it."""
        size = len(tokens) * len(weight)
        values = self._values
        if values is None or values.dtype != tokens.dtype or values.numel() < size:
            values = self._values = tokens.new_empty(size)
        out = values[:size].view(len(tokens), len(weight))
        return torch.mm(tokens, weight.t(), out=out)

    def above(self, values: torch.Tensor, threshold: float) -> Positions:
        """Find where float32 values are above a threshold, or bfloat16 ones above 0."""
        if values.device.type != "cpu":
            rows, columns = torch.nonzero(values > threshold, as_tuple=True)
            return rows, columns
        # numpy does this several times faster than torch.nonzero: 4.6 ms for 256 × 49,152 against
        # 20. bfloat16, which it does not know, compares with 0 as a 16-bit integer.
        plain = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
        if self._mask.size < plain.numel():
            self._mask = np.empty(plain.numel(), np.bool_)
        mask = self._mask[: plain.numel()]
        np.greater(plain.numpy().reshape(-1), threshold, out=mask)
        return _positions(mask, values.shape[1])


class Screen(Protocol):
    """What says which concepts may be active."""

    def candidates(self, centred: torch.Tensor, threshold: float, scratch: Scratch) -> Positions:
        """Give the places of all activations above the threshold, and of some more, by rows.

        Parameters
        ----------
        centred
            (n, d_model) float32 tokens without b_dec.
        threshold
            Not negative.
        scratch
            Memory of this call.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Bfloat16Screen:
    """A product in bfloat16, for any device that multiplies it in hardware.

    Parameters
    ----------
    weight
        (concepts, d_model + 16) bfloat16: the encoder's rows, their norms and their biases.
    margin
        How far below zero the product may lie, relative to ‖x‖ ‖w‖.
    """

    weight: torch.Tensor
    margin: float

    @classmethod
    def build(cls, weight: torch.Tensor, b_enc: torch.Tensor, *, strict: bool) -> "Bfloat16Screen":
        """Round (concepts, d_model) float32 rows and their biases.

        With a token extended to ``[x, margin ‖x‖, −threshold, 1, 1]``, the product with a row is at
        least ``x · w + b_enc − threshold``: a concept above the threshold comes out positive.
        """
        n_concepts, d_model = weight.shape
        screen = torch.zeros(
            n_concepts, d_model + _BFLOAT16_EXTRA, dtype=torch.bfloat16, device=weight.device
        )
        screen[:, :d_model] = weight
        screen[:, d_model] = weight.norm(dim=1)
        screen[:, d_model + 1] = 1.0
        high = b_enc.to(torch.bfloat16)
        screen[:, d_model + 2] = high
        # What the first rounding left out, raised by more than the second can lose.
        screen[:, d_model + 3] = b_enc - high.float() + b_enc.abs() * 2.0**-15
        return cls(screen, _BFLOAT16_STRICT if strict else _BFLOAT16_LIKELY)

    def candidates(self, centred: torch.Tensor, threshold: float, scratch: Scratch) -> Positions:
        """See `Screen`."""
        n, d_model = centred.shape
        extended = torch.zeros(
            n, d_model + _BFLOAT16_EXTRA, dtype=torch.bfloat16, device=centred.device
        )
        extended[:, :d_model] = centred
        extended[:, d_model] = centred.norm(dim=1) * self.margin
        extended[:, d_model + 1] = -threshold * (1.0 - 2.0**-7)
        extended[:, d_model + 2 : d_model + 4] = 1.0
        return scratch.above(scratch.product(extended, self.weight), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Int8Screen:
    """A product in 8-bit integers, for processors that have them in hardware (VNNI, AMX).

    Each row and each token has a unit of its own, 127 of them to its largest number. A bias does not
    fit into 8 bits, nor is it the same in every token's units: it is written as two digits, and a
    token multiplies them by how many of its units they stand for, spread over several columns.
    Margins travel in columns of their own. All of it is rounded up.

    Parameters
    ----------
    packed
        (concepts, d_model + …) int8, packed for oneDNN.
    below, above
        The largest bias below and above 0, in units of its row; 0 where there is none.
    norm_unit, error_unit
        What one step of the columns for ‖w‖ and ‖f‖ stands for, in units of a row.
    norm_columns, error_columns
        How many there are of each.
    share
        Share of the bounds that is added: 1 for a strict screen.
    """

    packed: "_Packed"
    below: float
    above: float
    norm_unit: float
    error_unit: float
    norm_columns: int
    error_columns: int
    share: float

    @classmethod
    def build(cls, weight: torch.Tensor, b_enc: torch.Tensor, *, strict: bool) -> "Int8Screen":
        """Round (concepts, d_model) float32 rows and their biases, on the processor."""
        n_concepts, d_model = weight.shape
        unit = weight.abs().amax(dim=1) / _MOST
        # A row whose bias is out of proportion gets larger units, and so a coarser row, instead of
        # coarser biases for all. Such a concept is hardly ever active, or always.
        usual = float((b_enc.abs() / unit.clamp_min(_TINY)).median())
        unit = torch.maximum(unit, b_enc.abs() / max(16.0 * usual, _TINY)).clamp_min(_TINY)
        rows = torch.empty(n_concepts, d_model, dtype=torch.int8)
        errors, norms = torch.empty(n_concepts), torch.empty(n_concepts)
        for start in range(0, n_concepts, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scaled = weight[part] / unit[part, None]
            norms[part] = scaled.norm(dim=1)
            rows[part] = scaled.round()
            errors[part] = scaled.sub_(rows[part]).norm(dim=1)

        share = 1.0 if strict else min(1.0, LIKELY_DEVIATIONS / d_model**0.5)
        norm_unit = max(float(norms.max()) / _MOST, _TINY)
        error_unit = max(float(errors.max()) / _MOST, _TINY)
        # A token's rounding error is at most half a unit in every dimension, a token 127 of them.
        norm_columns = _columns(share * norm_unit * 0.5 * d_model**0.5)
        error_columns = _columns(share * error_unit * (_MOST + 0.5) * d_model**0.5)
        bias = b_enc / unit
        below, above = float(-bias.min().clamp_max(0.0)), float(bias.max().clamp_min(0.0))
        columns = [rows]
        for sign, largest, count in ((-1, below, _BELOW), (1, above, _ABOVE)):
            digits = (bias * sign).clamp_min(0.0) * (sign * _MOST / max(largest, _TINY))
            coarse = digits.ceil() if sign < 0 else digits.floor()
            fine = ((digits - coarse) * _MOST).ceil()
            columns += [coarse[:, None].expand(-1, count), fine[:, None]]
        columns += [
            (norms / norm_unit).ceil().clamp_max(_MOST)[:, None].expand(-1, norm_columns),
            (errors / error_unit).ceil().clamp_max(_MOST)[:, None].expand(-1, error_columns),
        ]
        width = sum(column.shape[1] for column in columns)
        columns.append(torch.zeros(n_concepts, -width % 16))
        return cls(
            packed=_Packed(torch.cat([column.to(torch.int8) for column in columns], dim=1)),
            below=below,
            above=above,
            norm_unit=norm_unit,
            error_unit=error_unit,
            norm_columns=norm_columns,
            error_columns=error_columns,
            share=share,
        )

    def candidates(self, centred: torch.Tensor, threshold: float, scratch: Scratch) -> Positions:
        """See `Screen`; all thresholds are taken for 0, which only adds candidates."""
        del threshold, scratch
        n, d_model = centred.shape
        # Units small enough for the token's largest number, and large enough for positive biases.
        reach = _MOST * _MOST * (_ABOVE - 1)
        unit = (centred.abs().amax(dim=1) / _MOST).clamp_min(max(self.above / reach, _TINY))
        scaled = centred / unit[:, None]
        rounded = scaled.round()
        digits = torch.zeros(n, self.packed.width)
        digits[:, :d_model] = rounded
        below = (self.below / _MOST / unit).clamp_max(float(_MOST * _BELOW))
        above = self.above / _MOST / unit
        at = d_model
        for count, amount in (
            (_BELOW, below.floor()),
            (1, (below / _MOST).floor()),
            (_ABOVE, above.ceil()),
            (1, (above / _MOST).ceil()),
            (self.norm_columns, self._raised(scaled - rounded, self.norm_unit)),
            (self.error_columns, self._raised(rounded, self.error_unit)),
        ):
            spread = amount[:, None] - _MOST * torch.arange(count)
            digits[:, at : at + count] = spread.clamp_(0, _MOST)
            at += count
        return self.packed.positive(digits)

    def _raised(self, vectors: torch.Tensor, unit: float) -> torch.Tensor:
        # A little more than the bound, for the rounding of the float32 numbers it is made of.
        length: torch.Tensor = vectors.norm(dim=1)
        return (length * (self.share * unit * (1.0 + 2.0**-12))).ceil()


def _columns(steps: float) -> int:
    """Give the columns that hold a number of steps, of at most 127 each."""
    return int(-(-(steps * (1.0 + 2.0**-10) + 1.0) // _MOST))


class _Packed:
    """Rows of int8 packed for oneDNN, and the question where products with them are positive."""

    # oneDNN wants unsigned tokens; it takes the shift out of its sums again, exactly.
    _SHIFT = 128

    def __init__(self, table: torch.Tensor) -> None:
        n, self.width = table.shape
        self.n_rows = n
        self._weight = torch.ops.onednn.qlinear_prepack(table, [256, self.width])
        self._ones = torch.ones(n)
        self._zeros = torch.zeros(n, dtype=torch.int8)

    def positive(self, digits: torch.Tensor) -> Positions:
        """Tell for (n, width) whole numbers from −127 to 127 where products are above 0."""
        shifted = (digits + self._SHIFT).to(torch.uint8)
        ones: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            shifted, 1.0, self._SHIFT, self._weight, self._ones, self._zeros, None,
            1.0, 0, torch.uint8, "hardtanh", [0.0, 1.0], "",
        )  # fmt: skip
        return _positions(ones.numpy().reshape(-1).view(np.bool_), self.n_rows)


@cache
def has_int8() -> bool:
    """Tell whether this processor multiplies 8-bit integers in hardware, and PyTorch lets us.

    Without VNNI, oneDNN adds pairs of products in 16 bits, which may overflow. The operators are
    those of PyTorch's own quantisation; releases may change them, so they are tried.
    """
    checks = ("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported")
    if not any(bool(getattr(torch.cpu, check, bool)()) for check in checks):
        return False
    generator = torch.Generator().manual_seed(0)
    digits, table = (
        torch.randint(-127, 128, (n, 96), generator=generator).float() for n in (6, 48)
    )
    digits[0], table[0], table[1] = 127.0, 127.0, -127.0  # the largest sums there are
    digits[1] = table[2] = 0.0  # and one that is 0, which is not positive
    try:
        rows, columns = _Packed(table.to(torch.int8)).positive(digits)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    positive = torch.zeros(len(digits), len(table), dtype=torch.bool)
    positive[rows, columns] = True
    return torch.equal(positive, digits.double() @ table.double().t() > 0)


def _positions(mask: NDArray[np.bool_], n_columns: int) -> Positions:
    rows, columns = np.divmod(np.flatnonzero(mask), n_columns)
    return torch.from_numpy(rows), torch.from_numpy(columns)
