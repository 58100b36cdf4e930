"""Read and write sparse autoencoders: upstream's ``.pt``, SAELens folders, and our own files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.backbone import load_finite
from napari_cytosae.models.checkpoints import LazyTensor, read_checkpoint, take_tensors
from napari_cytosae.models.pickles import InertObject
from napari_cytosae.models.sae import SparseAutoencoder
from napari_cytosae.models.tensor_files import write_tensors

OURS: Final = ("sae.json", "sae.safetensors")
SAELENS: Final = ("cfg.json", "sae_weights.safetensors")
_VERSION: Final = 1
_TENSORS: Final = ("W_enc", "b_enc", "W_dec", "b_dec")
_NAMES: Final = {
    "jumprelu": (*_TENSORS, "threshold"),
    "gated": ("W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec"),
}
_SPOKEN: Final = {"jumprelu": "JumpReLU", "gated": "gated"}
# The residual stream after a block, as TransformerLens and ViT-Prisma call it.
_HOOK: Final = re.compile(r"^blocks\.(\d+)\.hook_resid_(pre|post)$")


def load_sae(path: str | Path, block: int | None = None) -> SparseAutoencoder:
    """Read a sparse autoencoder in any of three formats.

    Parameters
    ----------
    path
        Upstream's ``.pt``; or a folder, or a file in it, as SAELens writes (``cfg.json``,
        ``sae_weights.safetensors``) or as `save_sae` does (``sae.json``, ``sae.safetensors``).
    block
        Overrides the block that the file names. Needed where it names none.

    Raises
    ------
    CheckpointError
        The file is damaged, unsafe, or of an architecture other than ReLU, JumpReLU and gated.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name in (*OURS, *SAELENS):
        for (config_name, weights), read in ((OURS, _read_ours), (SAELENS, _read_saelens)):
            chosen = path.is_dir() or path.name in (config_name, weights)
            if chosen and (folder / config_name).is_file():
                found = read(_read_json(folder / config_name), folder / config_name)
                tensors = take_tensors(read_checkpoint(folder / weights), folder / weights)
                return _build(tensors, folder / weights, found, block)
        raise CheckpointError(
            f"{path} holds no sparse autoencoder: there should be {' and '.join(OURS)}, or "
            f"SAELens' {' and '.join(SAELENS)}, side by side."
        )
    content = read_checkpoint(path)
    config, state = _upstream(content, path)
    return _build(take_tensors(state, path), path, config, block)


def _upstream(content: Any, path: Path) -> tuple[dict[str, Any], Any]:
    if not isinstance(content, Mapping) or "state_dict" not in content or "cfg" not in content:
        raise CheckpointError(
            f"{path} is no SAE checkpoint: it should hold 'cfg' and 'state_dict'. "
            "Is it the SAE's file, and not the backbone's?"
        )
    config = content["cfg"]
    fields = config.state if isinstance(config, InertObject) else config
    if not isinstance(fields, Mapping):
        raise CheckpointError(f"{path}: its configuration cannot be read.")
    if fields.get("gated_sae"):
        raise CheckpointError(f"{path} is a gated SAE; only the plain ReLU SAE is supported.")
    module = fields.get("module_name", "resid")
    if module != "resid":
        raise CheckpointError(
            f"{path} reads the output of {module!r}; only the residual stream ('resid') is "
            "supported."
        )
    return {
        "block": fields.get("block_layer"),
        "d_model": fields.get("d_in"),
        "d_sae": fields.get("d_sae"),
    }, content["state_dict"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object.")
    return content


def _read_ours(config: dict[str, Any], path: Path) -> dict[str, Any]:
    if config.get("format") != "cytosae-sae":
        raise CheckpointError(f"{path} is not one of ours: its format is {config.get('format')!r}.")
    if config.get("version") != _VERSION:
        raise CheckpointError(
            f"{path} is of version {config.get('version')!r}, this software reads {_VERSION}. "
            "Update napari-cytosae."
        )
    if config.get("architecture") not in ("relu", "jumprelu") or config.get("hook") != "resid":
        raise CheckpointError(
            f"{path} is a {config.get('architecture')!r} SAE on {config.get('hook')!r}; only "
            "'relu' and 'jumprelu' on 'resid' are supported."
        )
    return config


def _read_saelens(config: dict[str, Any], path: Path) -> dict[str, Any]:
    # SAELens 6 keeps the hook under "metadata"; before, it stood beside the rest.
    metadata = config.get("metadata")
    fields = {**config, **metadata} if isinstance(metadata, dict) else config
    wanted = {
        "architecture": ("standard", "jumprelu", "gated"),
        "activation_fn": ("relu", None),
        "activation_fn_str": ("relu", None),
        "normalize_activations": ("none", None, False),
        "reshape_activations": ("none", None),
        "finetuning_scaling_factor": (False, None),
        "hook_head_index": (None,),
    }
    for name, accepted in wanted.items():
        value = fields.get(name, "standard" if name == "architecture" else None)
        if value not in accepted:
            raise CheckpointError(
                f"{path} has {name} {value!r}; {_choices(accepted)} supported here."
            )
    hook = _HOOK.match(str(fields.get("hook_name")))
    block = fields.get("hook_layer")
    if hook:
        block = int(hook[1]) - (hook[2] == "pre")
    return {
        "block": block,
        "d_model": config.get("d_in"),
        "d_sae": config.get("d_sae"),
        "architecture": str(fields.get("architecture", "standard")),
        "subtract_b_dec": bool(config.get("apply_b_dec_to_input", True)),
    }


def _choices(accepted: tuple[object, ...]) -> str:
    words = " or ".join(repr(value) for value in accepted if value not in (None, False))
    return f"only {words or 'none'} is"


def _build(
    tensors: Mapping[str, LazyTensor], path: Path, config: dict[str, Any], block: int | None
) -> SparseAutoencoder:
    architecture = str(config.get("architecture", "relu"))
    wanted_names = _NAMES.get(architecture, _TENSORS)
    if missing := [name for name in wanted_names if name not in tensors]:
        raise CheckpointError(f"{path} is no whole SAE: {', '.join(missing)} missing.")
    if extra := [name for name in tensors if name not in wanted_names]:
        raise CheckpointError(
            f"{path} is no plain {_SPOKEN.get(architecture, 'ReLU')} SAE: {len(extra)} tensors are "
            f"unknown ({', '.join(extra[:8])})."
        )
    shape = tensors["W_enc"].shape
    if len(shape) != 2:
        raise CheckpointError(f"{path}: W_enc has shape {shape}, not (d_model, d_sae).")
    d_model, d_sae = shape
    own = {"W_enc": shape, "W_dec": (d_sae, d_model), "b_dec": (d_model,)}
    expected = {name: own.get(name, (d_sae,)) for name in wanted_names}
    for name, wanted in expected.items():
        if tensors[name].shape != wanted:
            raise CheckpointError(f"{path}: {name} is {tensors[name].shape} instead of {wanted}.")
    for name, size in (("d_model", d_model), ("d_sae", d_sae)):
        if config.get(name) not in (None, size):
            raise CheckpointError(
                f"{path}: its configuration says {name} {config[name]}, its weights {size}."
            )
    found = config.get("block") if block is None else block
    if type(found) is not int:
        raise CheckpointError(
            f"{path} does not say which block of the backbone it reads; give it as 'block'."
        )
    with torch.device("meta"):
        sae = SparseAutoencoder(d_model, d_sae, found)
    state = {name: load_finite(tensors[name], name, path) for name in wanted_names}
    if architecture == "gated":
        state = _ungated(state)
    if "threshold" in state:
        # Below 0, ReLU has the word.
        state["threshold"] = state["threshold"].clamp_min(0.0)
        sae.threshold = torch.empty(d_sae, device="meta")
    state["W_enc"] = state["W_enc"].t().contiguous().t()
    if not config.get("subtract_b_dec", True):
        # f = ReLU(x W_enc + b_enc) is the same SAE with b_enc raised by b_dec W_enc.
        state["b_enc"] = state["b_enc"] + state["b_dec"] @ state["W_enc"]
    sae.load_state_dict(state, assign=True)
    return sae.requires_grad_(False)


def _ungated(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write a gated SAE as the JumpReLU SAE that it equals.

    With gate and magnitude sharing their directions, ``f = 1(x W + b_gate > 0) · ReLU(exp(r) · x W
    + b_mag)`` (Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse
    Autoencoders", section 3.2); the gate is open where the magnitude is above
    ``b_mag − exp(r) · b_gate``.
    """
    scale = state["r_mag"].exp()
    return {
        "W_enc": state["W_enc"] * scale,
        "b_enc": state["b_mag"],
        "W_dec": state["W_dec"],
        "b_dec": state["b_dec"],
        "threshold": state["b_mag"] - scale * state["b_gate"],
    }


def save_sae(
    sae: SparseAutoencoder, folder: str | Path, format: Literal["cytosae", "saelens"] = "cytosae"
) -> Path:
    """Write a sparse autoencoder.

    Parameters
    ----------
    sae
        Its weights are written as float32.
    folder
        Made where it does not exist.
    format
        ``"cytosae"`` writes ``sae.json`` and ``sae.safetensors``; ``"saelens"`` writes the
        ``cfg.json`` and ``sae_weights.safetensors`` that SAELens 6 loads.

    Returns
    -------
    The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if format == "cytosae":
        (config_name, weights_name), config = OURS, _our_config(sae)
    elif format == "saelens":
        (config_name, weights_name), config = SAELENS, _saelens_config(sae)
    else:
        raise ValueError(f"format must be 'cytosae' or 'saelens', not {format!r}")
    names = _TENSORS if sae.threshold is None else _NAMES["jumprelu"]
    tensors = {name: getattr(sae, name).detach().cpu().contiguous() for name in names}
    write_tensors(tensors, folder / weights_name)
    text = json.dumps(config, indent=2)
    (folder / config_name).write_text(text + "\n", encoding="utf-8")
    return folder


def _our_config(sae: SparseAutoencoder) -> dict[str, Any]:
    return {
        "format": "cytosae-sae",
        "version": _VERSION,
        "architecture": "relu" if sae.threshold is None else "jumprelu",
        "d_model": sae.d_model,
        "d_sae": sae.d_sae,
        "block": sae.block,
        "hook": "resid",
        "dtype": "float32",
    }


def _saelens_config(sae: SparseAutoencoder) -> dict[str, Any]:
    return {
        "architecture": "standard" if sae.threshold is None else "jumprelu",
        "d_in": sae.d_model,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "hook_name": f"blocks.{sae.block}.hook_resid_post",
            "hook_layer": sae.block,
            "hook_head_index": None,
        },
    }
