"""DINOv2's vision transformer, cut after the block that the SAE reads."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, SwiGLUPacked  # type: ignore[attr-defined]
from timm.models.vision_transformer import Block
from torch import nn

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.checkpoints import LazyTensor, read_checkpoint
from napari_cytosae.models.device import Precision
from napari_cytosae.models.fast_block import FastBlock
from napari_cytosae.models.layouts import PATCH, BackboneShape, plain_dinov2, read_shape
from napari_cytosae.models.product import Linear, packs

IMAGE_SIZE: Final = 224
GRID: Final = IMAGE_SIZE // PATCH
TOKENS: Final = 1 + GRID * GRID
# Packing float32 weights takes their size again; above this (ViT-G) they are used as they lie.
_MOST_PACKED_BYTES: Final = 3 << 29


class Backbone(nn.Module):
    """A ViT of 14 px patches at 224 px: the class token and 16 × 16 patch tokens.

    Only blocks 0 to `block` exist. The output is the residual stream after block `block`, with no
    final norm, which is what the SAE was trained on.

    Parameters
    ----------
    shape
        Width, depth and MLP of the checkpoint.
    block
        The last block to build, from 0.

    Attributes
    ----------
    d_model : int
        Width of a token.
    block : int
        The block after which tokens are read.
    depth : int
        Number of blocks of the whole network in the checkpoint.
    """

    def __init__(self, shape: BackboneShape, block: int) -> None:
        super().__init__()
        self.shape = shape
        self.block = block
        self.precision: Precision = "float32"
        self._twins: dict[tuple[torch.device, Precision], Backbone] = {}
        self._packed: list[FastBlock] = []
        self._packed_of: list[tuple[int, int]] = []
        d = shape.d_model
        self.cls_token = nn.Parameter(torch.empty(1, 1, d))
        self.pos_embed = nn.Parameter(torch.empty(1, TOKENS, d))
        self.patch_embed = PatchEmbed(img_size=IMAGE_SIZE, patch_size=PATCH, embed_dim=d)
        # timm counts a gated MLP's width before the gate. The half keeps int(d * ratio) exact.
        hidden = 2 * shape.d_mlp if shape.gated else shape.d_mlp
        gate: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential()
        for _ in range(block + 1):
            one = Block(
                dim=d,
                num_heads=shape.heads,
                mlp_ratio=(hidden + 0.5) / d,
                qkv_bias=True,
                init_values=1.0,
                norm_layer=norm,
                **(gate if shape.gated else {}),
            )
            one.attn.qkv, one.attn.proj = Linear(d, 3 * d), Linear(d, d)
            one.mlp.fc1, one.mlp.fc2 = Linear(d, hidden), Linear(shape.d_mlp, d)
            self.blocks.append(one)
        self.requires_grad_(False).eval()

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return self.shape.d_model

    @property
    def depth(self) -> int:
        """Number of blocks of the whole network in the checkpoint."""
        return self.shape.depth

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.cls_token.device

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the residual stream after the last block.

        Parameters
        ----------
        pixels
            (B, 3, 224, 224) float32, normalised, on the backbone's device.

        Returns
        -------
        (B, 257, d_model) float32, class token first.
        """
        if pixels.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"pixels must be (B, 3, 224, 224), not {tuple(pixels.shape)}")
        x = self._embedded(pixels)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        block: Callable[[torch.Tensor], torch.Tensor]
        for block in self._running(pixels.requires_grad):
            x = block(x)
        return x

    def _embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map each patch of 3 × 14 × 14 values to a token, (B, 256, d_model)."""
        if pixels.device.type == "cpu":
            return self.patch_embed(pixels)  # type: ignore[no-any-return]
        # The same sum as a product of matrices: for convolutions, cuDNN takes TensorFloat-32 unasked,
        # which has ten bits.
        grid = pixels.reshape(-1, 3, GRID, PATCH, GRID, PATCH)
        patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        weight = self.patch_embed.proj.weight
        return F.linear(patches, weight.flatten(1), self.patch_embed.proj.bias)

    def _running(self, differentiable: bool) -> "Iterable[nn.Module]":
        """Give the blocks as they run fastest: on x86, with their weights packed once."""
        parameters = list(self.blocks.parameters())
        if (
            differentiable
            or self.device.type != "cpu"
            or not packs(torch.float32)
            or self.precision != "float32"
            or sum(parameter.nbytes for parameter in parameters) > _MOST_PACKED_BYTES
        ):
            return self.blocks
        state = [(parameter.data_ptr(), parameter._version) for parameter in parameters]
        if self._packed_of != state:
            self._packed = self._fast_blocks(self.device, torch.float32)
            self._packed_of = state
        return self._packed

    def _fast_blocks(self, device: torch.device, dtype: torch.dtype) -> list[FastBlock]:
        return [FastBlock(block, self.shape.gated, device, dtype) for block in self.blocks]

    def configured(self, device: torch.device, precision: Precision) -> "Backbone":
        """Give this backbone on `device` and in `precision`; weights are shared where they can be.

        A twin is made once: bundles of one backbone share it.

        Raises
        ------
        ValueError
            These weights were rounded already; start from the float32 backbone.
        """
        if (device, precision) == (self.device, self.precision):
            return self
        self._refuse_rounded()
        if (device, precision) in self._twins:
            return self._twins[device, precision]
        # New parameters over the same numbers: moving a shared parameter would move the original.
        mixed = precision == "bfloat16"
        shared: dict[int, Any] = {
            id(parameter): nn.Parameter(parameter.detach().to(device), False)
            for name, parameter in self.named_parameters()
            if not (mixed and name.startswith("blocks."))
        }
        if mixed:
            shared[id(self.blocks)] = nn.Sequential(*self._fast_blocks(device, torch.bfloat16))
        shared |= {id(self._twins): {}, id(self._packed): [], id(self._packed_of): []}
        clone = deepcopy(self, shared).eval()
        clone.precision = precision
        self._twins[device, precision] = clone
        return clone

    def dinov2_state(self) -> dict[str, torch.Tensor]:
        """Give the float32 weights of the built blocks under DINOv2's names, on the processor."""
        self._refuse_rounded()
        return {
            _from_timm(key, self.shape.gated): value.detach().cpu()
            for key, value in self.state_dict().items()
        }

    def _refuse_rounded(self) -> None:
        if self.precision != "float32":
            raise ValueError("these weights were rounded to bfloat16; start from the float32 ones")


def load_backbone(path: str | Path, block: int, depth: int | None = None) -> Backbone:
    """Read a DinoBloom or DINOv2 checkpoint and build it up to one block.

    Parameters
    ----------
    path
        A ``.pth``, ``.pt``, ``.bin`` or ``.safetensors`` file in any layout that `layouts` knows.
    block
        The block after which tokens are read. Negative ones count from the checkpoint's end:
        −2 is the second to last block.
    depth
        Blocks of the whole network, where the file holds only the first of them.

    Raises
    ------
    CheckpointError
        The file is damaged, unsafe, or not such a network, or has no such block.
    """
    path = Path(path)
    tensors = plain_dinov2(read_checkpoint(path), path)
    return build_backbone(tensors, path, block, depth)


def build_backbone(
    tensors: Mapping[str, LazyTensor], path: Path, block: int, depth: int | None = None
) -> Backbone:
    """Build a backbone up to `block` from tensors under plain DINOv2 keys; see `load_backbone`."""
    shape = read_shape(tensors, path)
    index = resolve_block(block, shape.depth, path, depth)
    if depth is not None:
        shape = replace(shape, depth=depth)
    with torch.device("meta"):
        backbone = Backbone(shape, index)
    state = {}
    for key in backbone.state_dict():
        name = _from_timm(key, shape.gated)
        state[key] = load_finite(tensors[name], name, path)
    state["pos_embed"] = _resample(state["pos_embed"])
    backbone.load_state_dict(state, assign=True)
    return backbone.requires_grad_(False).eval()


def resolve_block(block: int, there: int, path: Path, depth: int | None = None) -> int:
    """Turn a block index into one counted from 0.

    Parameters
    ----------
    block
        From 0, or negative from the end.
    there
        Number of blocks in the file.
    path
        The file, for messages.
    depth
        Number of blocks of the whole network, if the file was cut.

    Raises
    ------
    CheckpointError
        There is no such block.
    """
    whole = there if depth is None else depth
    index = block + whole if block < 0 else block
    if not 0 <= index < there:
        cut = f" of the network's {whole}" if whole != there else ""
        raise CheckpointError(
            f"{path} holds the first {there} blocks{cut}; there is no block {block}. "
            f"Choose 0 to {there - 1}, or a negative one counted from the end."
        )
    return index


def load_finite(tensor: LazyTensor, name: str, path: Path) -> torch.Tensor:
    """Read a tensor as float32 and make sure that it holds numbers.

    Raises
    ------
    CheckpointError
        It holds integers, infinities or NaN.
    """
    try:
        values = tensor.load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: tensor {name!r}: {error}") from None
    # One pass and no second array: a NaN or an infinity anywhere makes the sum one.
    if not isfinite(float(values.sum())):
        raise CheckpointError(f"{path} is damaged: {name!r} holds values that are not numbers.")
    return values


def _from_timm(key: str, gated: bool) -> str:
    if not gated:
        return key
    return key.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")


def _resample(pos_embed: torch.Tensor) -> torch.Tensor:
    """Bring a position embedding of another grid (518 px: 37 × 37) to 16 × 16.

    Bicubic without antialiasing, as DINOv2 does on the fly. DINOv2 adds 0.1 to the target's side
    when it computes the scale; releases differ in that, so the exact size is used here.
    """
    side = round((pos_embed.shape[1] - 1) ** 0.5)
    if side == GRID:
        return pos_embed
    grid = pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(GRID, GRID), mode="bicubic", antialias=False)
    return torch.cat([pos_embed[:, :1], grid.permute(0, 2, 3, 1).reshape(1, GRID * GRID, -1)], 1)
