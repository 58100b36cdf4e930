"""The layouts in which DinoBloom and DINOv2 are published, brought to one: plain DINOv2 keys.

* Zenodo's ``.pth``: ``{"teacher": {"backbone.blocks.0…": …, "dino_head.…": …}, …}``.
* Plain DINOv2: ``blocks.0.norm1.weight`` and so on, alone or under ``model`` or ``state_dict``.
* timm: the same names but for ViT-G, whose gated MLP it calls ``fc1`` and ``fc2``.

Blocks may be grouped into chunks (``blocks.0.3.…`` is block 3), as DINOv2 does for sharding.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.checkpoints import LazyTensor, take_tensors

PATCH: Final = 14
HEAD_WIDTH: Final = 64  # in every DINOv2

# Where a state dictionary may lie in a file.
_NESTED: Final = ("teacher", "model", "state_dict")
_PREFIXES: Final = ("module.", "teacher.", "backbone.")
_HEADS: Final = re.compile(r"^(dino_head|ibot_head|ibot_patch_head|head|linear_head)\.")
_CHUNKED: Final = re.compile(r"^blocks\.\d+\.(\d+)\.")
_BLOCK: Final = re.compile(r"^blocks\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """What a checkpoint's tensors say of its vision transformer."""

    d_model: int
    depth: int
    d_mlp: int  # hidden width of the MLP, after the gate where there is one
    gated: bool  # SwiGLU, as in ViT-G

    @property
    def heads(self) -> int:
        """Attention heads, 64 wide each."""
        return self.d_model // HEAD_WIDTH


def plain_dinov2(content: Any, path: Path) -> dict[str, LazyTensor]:
    """Find the backbone's tensors in a checkpoint and name them as DINOv2 does.

    Parameters
    ----------
    content
        What `read_checkpoint` gave for `path`.

    Raises
    ------
    CheckpointError
        There is no vision transformer in the file.
    """
    state = content
    while isinstance(state, Mapping) and (name := next((n for n in _NESTED if n in state), None)):
        state = state[name]
    tensors = take_tensors(state, path)
    if any(key.startswith("backbone.") or ".backbone." in key for key in tensors):
        tensors = {key: value for key, value in tensors.items() if "backbone." in key}
    renamed: dict[str, LazyTensor] = {}
    for key, value in tensors.items():
        name = _plain_name(key)
        if name in renamed:
            raise CheckpointError(f"{path} has two tensors for {name!r}.")
        if not _HEADS.match(name):
            renamed[name] = value
    if not any(key.startswith("blocks.") for key in renamed):
        keys = list(content)[:8] if isinstance(content, Mapping) else []
        raise CheckpointError(
            f"{path} holds no DINOv2 vision transformer: no 'blocks.0…' among its tensors. "
            f"It begins with {keys}. Is it the backbone's file, and not the SAE's?"
        )
    return _name_gates(renamed)


def _plain_name(key: str) -> str:
    while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
        key = key.removeprefix(prefix)
    return _CHUNKED.sub(r"blocks.\1.", key)


def _name_gates(tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Undo timm's renaming of ViT-G's gated MLP, told by fc1 giving twice what fc2 takes."""
    first, second = (tensors.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    if first is None or second is None or len(first.shape) != 2 or len(second.shape) != 2:
        return tensors
    if first.shape[0] != 2 * second.shape[1]:
        return tensors
    return {
        key.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3."): value
        for key, value in tensors.items()
    }


def read_shape(tensors: Mapping[str, LazyTensor], path: Path) -> BackboneShape:
    """Read width, depth and MLP off the tensors and check that every one of them fits.

    Raises
    ------
    CheckpointError
        Tensors are missing, unknown, or of another shape; the message names the first eight.
    """
    blocks = {int(match[1]) for key in tensors if (match := _BLOCK.match(key))}
    depth = max(blocks) + 1
    if depth > 1000:
        raise CheckpointError(f"{path} is no vision transformer: it has a block {depth - 1}.")
    gated = "blocks.0.mlp.w12.weight" in tensors
    cls_token = tensors.get("cls_token")
    last = tensors.get(f"blocks.0.mlp.{'w3' if gated else 'fc2'}.weight")
    if cls_token is None or len(cls_token.shape) != 3 or last is None or len(last.shape) != 2:
        raise CheckpointError(
            f"{path} is no whole DINOv2 vision transformer: its cls_token or the MLP of its "
            "block 0 is missing or misshapen."
        )
    if "register_tokens" in tensors or "reg_token" in tensors:
        raise CheckpointError(
            f"{path} is a DINOv2 with register tokens. DinoBloom has none, and concept maps would "
            "be shifted by them; use a checkpoint without registers."
        )
    shape = BackboneShape(cls_token.shape[2], depth, last.shape[1], gated)
    if shape.d_model % HEAD_WIDTH:
        raise CheckpointError(
            f"{path} is {shape.d_model} wide, which heads of {HEAD_WIDTH} do not divide: "
            "it is no DINOv2."
        )
    expected = _expected(shape)
    optional = {
        "norm.weight": (shape.d_model,),
        "norm.bias": (shape.d_model,),
        "mask_token": (1, shape.d_model),
    }
    _complain(
        path,
        missing=[key for key in expected if key not in tensors],
        extra=[key for key in tensors if key not in expected and key not in optional],
        misshapen=[
            f"{key} {value.shape} instead of {wanted}"
            for key, value in tensors.items()
            if (wanted := expected.get(key) or optional.get(key))
            and value.shape != wanted
            and not (key == "pos_embed" and _is_square_grid(value.shape, shape.d_model))
        ],
    )
    return shape


def _is_square_grid(shape: tuple[int, ...], d_model: int) -> bool:
    if len(shape) != 3 or shape[0] != 1 or shape[2] != d_model:
        return False
    side = round((shape[1] - 1) ** 0.5) if shape[1] > 1 else 0
    return side > 0 and side * side == shape[1] - 1


def _expected(shape: BackboneShape) -> dict[str, tuple[int, ...]]:
    d = shape.d_model
    expected: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 257, d),
        "patch_embed.proj.weight": (d, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (d,),
    }
    for block in range(shape.depth):
        expected |= {f"blocks.{block}.{key}": size for key, size in block_shapes(shape).items()}
    return expected


def block_shapes(shape: BackboneShape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one block's tensors."""
    d, h = shape.d_model, shape.d_mlp
    first, second = ("w12", "w3") if shape.gated else ("fc1", "fc2")
    wide = 2 * h if shape.gated else h
    return {
        "norm1.weight": (d,),
        "norm1.bias": (d,),
        "attn.qkv.weight": (3 * d, d),
        "attn.qkv.bias": (3 * d,),
        "attn.proj.weight": (d, d),
        "attn.proj.bias": (d,),
        "ls1.gamma": (d,),
        "norm2.weight": (d,),
        "norm2.bias": (d,),
        f"mlp.{first}.weight": (wide, d),
        f"mlp.{first}.bias": (wide,),
        f"mlp.{second}.weight": (d, h),
        f"mlp.{second}.bias": (d,),
        "ls2.gamma": (d,),
    }


def _complain(
    path: Path,
    missing: Iterable[str] = (),
    extra: Iterable[str] = (),
    misshapen: Iterable[str] = (),
) -> None:
    found = {"missing": list(missing), "unknown": list(extra), "of another shape": list(misshapen)}
    parts = [
        f"{len(keys)} {what} ({', '.join(keys[:8])}{', …' if len(keys) > 8 else ''})"
        for what, keys in found.items()
        if keys
    ]
    if parts:
        raise CheckpointError(
            f"{path} is not the DINOv2 vision transformer it resembles; of its tensors, "
            f"{'; '.join(parts)}."
        )
