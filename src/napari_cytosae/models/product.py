"""Matrix products of tokens and weights, by the fastest kernel that a machine has."""

import platform
from functools import cache
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import nn

_ONEDNN: Final = platform.machine().lower() in ("x86_64", "amd64") and bool(
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
)
# Rows that weights are packed for: 16 cells. Other numbers work as well.
_ROWS: Final = 16 * 257

Activation = Literal["none", "gelu"]


class Product:
    """``activation(x Wᵀ + b)`` with weights that stay the same.

    On x86 the weights are packed once for oneDNN, which adds bias and residual and applies the
    activation to its float32 sums, before they are rounded to the weights' type. Measured on an AMD
    Zen 4 core, 768 ↔ 3,072: 98 to 112 GFLOP/s in float32 (87 to 98 as a 1 × 1 convolution, 87 to 98
    as ``F.linear``), 205 to 220 in bfloat16 with the GELU thrown in.

    Parameters
    ----------
    weight
        (out, in), in the type and on the device to multiply in.
    bias
        (out,) float32.
    activation
        What is applied to the sum.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation = "none"
    ) -> None:
        self.bias = bias.detach().to(weight.device, torch.float32)
        self.activation = activation
        self.packed = weight.device.type == "cpu" and packs(weight.dtype)
        weight = weight.detach().contiguous()
        self.weight = _mkldnn()._reorder_linear_weight(weight, _ROWS) if self.packed else weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, in) to (…, out), both of the weights' type."""
        if self.packed:
            out: torch.Tensor = _mkldnn()._linear_pointwise(
                x, self.weight, self.bias, self.activation, [],
                "none" if self.activation == "gelu" else "",
            )  # fmt: skip
            return out
        out = F.linear(x, self.weight) + self.bias
        return (F.gelu(out) if self.activation == "gelu" else out).to(x.dtype)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Map (…, in) and add (…, out) float32: float32, whatever the weights' type."""
        if self.packed and x.dtype == torch.float32:
            out: torch.Tensor = _mkldnn()._linear_pointwise.binary(
                x, residual, self.weight, self.bias, "add"
            )
            return out
        if self.packed:
            # The bias is shared by all tokens: it must not be rounded with their sums.
            out = residual + _mkldnn()._linear_pointwise(x, self.weight, None, "none", [], "")
        else:
            out = residual + F.linear(x, self.weight)
        return out.add_(self.bias)


@cache
def packs(dtype: torch.dtype) -> bool:
    """Tell whether this PyTorch packs weights for oneDNN here, and computes the right thing.

    These are operators that PyTorch's own compiler uses; releases may change them.
    """
    if not _ONEDNN:
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 32, generator=generator).to(dtype) for n in (5, 48))
    bias, residual = (torch.randn(n, generator=generator) for n in ((48,), (5, 48)))
    exact = x.float() @ weight.float().t() + bias
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    try:
        packed = _mkldnn()._reorder_linear_weight(weight, _ROWS)
        gelu = _mkldnn()._linear_pointwise(x, packed, bias, "gelu", [], "none")
        right = torch.allclose(gelu.float(), F.gelu(exact), atol=tolerance, rtol=tolerance)
        if dtype == torch.float32:
            total = _mkldnn()._linear_pointwise.binary(x, residual, packed, bias, "add")
            right &= torch.allclose(total, exact + residual, atol=tolerance)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return right


def _mkldnn() -> Any:
    return torch.ops.mkldnn


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute ``x Wᵀ + b`` with weights as they lie.

    On x86, PyTorch hands `linear` in float32 to MKL, and convolutions to oneDNN. A 1 × 1
    convolution over pixels is the same product, and mostly the faster one.

    Parameters
    ----------
    x
        (…, in).
    weight, bias
        (out, in) and (out,), of the same type as `x`.

    Returns
    -------
    (…, out).
    """
    if not (_ONEDNN and x.device.type == "cpu"):
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """A linear layer that multiplies with `product`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, in) to (…, out)."""
        return product(x, self.weight, self.bias)
