"""Matrix products of tokens and weights, by the fastest kernel that a machine has."""

import platform
from typing import Final

import torch
import torch.nn.functional as F
from torch import nn

# On x86, PyTorch hands `linear` in float32 to MKL, and convolutions to oneDNN. A 1 × 1 convolution
# over pixels is the same product. Measured with 2,056 tokens on two AMD Zen 4 cores: 768 → 3,072
# in float32 98 to 180 GFLOP/s instead of 86 to 126, in bfloat16 368 instead of 306.
_ONEDNN: Final = platform.machine().lower() in ("x86_64", "amd64") and bool(
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
)


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute ``x Wᵀ + b``.

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
