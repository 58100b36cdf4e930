"""Transformer blocks whose matrix products run in bfloat16, and little else does.

A bfloat16 number has 8 bits. Rounding weights and inputs costs little, because the errors are
many and cancel; what hurts is rounding anything that all tokens share, since it shifts every one
of them by the same vector. So what they share stays out of it:

* the norms' scales and shifts are folded into the product that follows, and only the normalised
  stream itself is rounded;
* biases travel in two extra columns of the product, a coarse and a fine one;
* layer scales are folded into the product before them, whose bias is added in float32, and the
  residual stream stays float32.

On DINOv2 ViT-S and blood crops the tokens' error is 1.5 % of their deviation from their mean,
instead of a plain cast's 2.6 %.
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn

from napari_cytosae.models.product import product

# Two columns for the bias; sixteen keep the inner length a multiple of a cache line and are free.
_EXTRA: Final = 16


class MixedBlock(nn.Module):
    """The bfloat16 twin of one of timm's float32 blocks.

    Parameters
    ----------
    block
        A ``timm.models.vision_transformer.Block`` with layer scales; it stays as it is.
    gated
        Whether its MLP is a SwiGLU.
    device
        Where the twin's weights go.
    """

    qkv: torch.Tensor
    proj: torch.Tensor
    proj_bias: torch.Tensor
    fc1: torch.Tensor
    fc2: torch.Tensor
    fc2_bias: torch.Tensor

    def __init__(self, block: Any, gated: bool, device: torch.device) -> None:
        super().__init__()
        self.heads: int = block.attn.num_heads
        self.eps: float = block.norm1.eps
        self.gated = gated
        self._add("qkv", _with_bias(*_after_norm(block.norm1, block.attn.qkv)), device)
        self._add("fc1", _with_bias(*_after_norm(block.norm2, block.mlp.fc1)), device)
        for name, layer, gamma in (
            ("proj", block.attn.proj, block.ls1.gamma),
            ("fc2", block.mlp.fc2, block.ls2.gamma),
        ):
            self._add(name, (layer.weight * gamma[:, None]).to(torch.bfloat16), device)
            self._add(f"{name}_bias", layer.bias * gamma, device)

    def _add(self, name: str, tensor: torch.Tensor, device: torch.device) -> None:
        self.register_buffer(name, tensor.detach().to(device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map the residual stream before the block to the one after it: (B, N, d) float32."""
        mixed = self._attend(product(self._normalised(x), self.qkv))
        x = x + product(mixed, self.proj)
        x += self.proj_bias
        hidden = product(self._normalised(x), self.fc1)
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden)
        x = x + product(hidden, self.fc2)
        x += self.fc2_bias
        return x

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise tokens and append the ones that a bias is multiplied with, in bfloat16."""
        d = x.shape[-1]
        extended = x.new_empty(*x.shape[:-1], d + _EXTRA, dtype=torch.bfloat16)
        extended[..., :d] = F.layer_norm(x, (d,), eps=self.eps)
        extended[..., d : d + 2] = 1.0
        extended[..., d + 2 :] = 0.0
        return extended

    def _attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """Mix values by attention: (B, N, 3 d) to (B, N, d)."""
        batch, tokens, width = qkv.shape
        q, k, v = qkv.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Two bfloat16 products around a softmax would take 0.65 of the time, but round the
        # scores: tokens err twice as much.
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(batch, tokens, width // 3)


def _after_norm(norm: Any, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold a norm's scale and shift into the layer that follows it."""
    weight = layer.weight.detach()
    return weight * norm.weight.detach(), layer.bias.detach() + weight @ norm.bias.detach()


def _with_bias(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Round a layer to bfloat16; its bias fills two of sixteen extra columns."""
    d_out, d_in = weight.shape
    extended = weight.new_zeros(d_out, d_in + _EXTRA, dtype=torch.bfloat16)
    extended[:, :d_in] = weight
    extended[:, d_in] = bias
    extended[:, d_in + 1] = bias - extended[:, d_in].float()
    return extended
