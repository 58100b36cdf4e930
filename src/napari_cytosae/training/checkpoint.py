"""Checkpoints: a training on disk, whole or not at all, and without code in it."""

import json
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import TrainingError
from napari_cytosae.models.tensor_files import write_tensors
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.state import TrainingState
from napari_cytosae.training.weights import NAMES, SaeWeights

NAME: Final = "checkpoint.safetensors"
_FORMAT: Final = "cytosae-training"
_VERSION: Final = "1"


def save_checkpoint(
    path: Path, state: TrainingState, config: SaeTrainingConfig, identity: str
) -> None:
    """Write a training's state; whenever the machine stops, `path` is the old one or the new one.

    Parameters
    ----------
    path
        The file to write or replace.
    state
        What to write.
    config
        The recipe.
    identity
        What the tokens are known by.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "step": str(state.step),
        "config": json.dumps(config.to_json()),
        "tokens": identity,
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    write_durably(
        path, lambda temporary: write_tensors(tensors, temporary, about), needed_bytes=size
    )


def load_checkpoint(
    path: Path, config: SaeTrainingConfig, identity: str, device: torch.device
) -> TrainingState:
    """Read a training's state, and make sure that it goes with the recipe and the tokens.

    The number of steps may differ: a finished training can be gone on with.

    Raises
    ------
    TrainingError
        The file is damaged, or of another recipe or other tokens.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}). Delete the training's folder and start anew."
        ) from error
    if about.get("format") != _FORMAT or about.get("version") != _VERSION:
        raise TrainingError(f"{path} is no checkpoint that this version of napari-cytosae reads.")
    try:
        then = SaeTrainingConfig.from_json(json.loads(about["config"]), str(path))
        step = int(about["step"])
    except (KeyError, ValueError) as error:
        raise TrainingError(f"{path} is damaged: {error}.") from None
    check_same_recipe(path.parent, then, config)
    if about.get("tokens") != identity:
        raise TrainingError(
            f"{path.parent} holds a training on other tokens: images, backbone or preprocessing "
            "have changed. Choose another folder."
        )
    if missing := [name for name in NAMES if name not in tensors]:
        raise TrainingError(f"{path} is damaged: {', '.join(missing)} missing.")
    state = TrainingState.begin(SaeWeights(*(tensors[name] for name in NAMES)))
    for name, tensor in state.tensors().items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise TrainingError(f"{path} is damaged: {name} is missing or of another shape.")
        tensor.copy_(tensors[name])
    state.step = step
    return state


def check_same_recipe(folder: Path, then: SaeTrainingConfig, now: SaeTrainingConfig) -> None:
    """Make sure that a training is gone on with by its own recipe.

    Raises
    ------
    TrainingError
        A setting differs; it says which.
    """
    before, after = then.to_json(), now.to_json()
    changed = [
        f"{name} {before[name]!r} there, {after[name]!r} now"
        for name in before
        if before[name] != after[name] and name != "steps"
    ]
    if changed:
        raise TrainingError(
            f"{folder} holds a training by another recipe ({'; '.join(changed)}). Choose another "
            "folder, or go on by the same recipe; only the number of steps may change."
        )
