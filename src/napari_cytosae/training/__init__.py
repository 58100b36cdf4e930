"""Training sparse autoencoders on a backbone's tokens, by the CytoSAE recipe."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.config import SaeTrainingConfig
    from napari_cytosae.training.folder import open_training
    from napari_cytosae.training.presets import PRESETS
    from napari_cytosae.training.to_bundle import join_backbone, save_as_bundle
    from napari_cytosae.training.train import train_sae
    from napari_cytosae.training.trained import TrainedSae

_HOMES = {
    "config": ["SaeTrainingConfig"],
    "folder": ["open_training"],
    "presets": ["PRESETS"],
    "to_bundle": ["join_backbone", "save_as_bundle"],
    "train": ["train_sae"],
    "trained": ["TrainedSae"],
}

__all__ = [
    "PRESETS",
    "SaeTrainingConfig",
    "TrainedSae",
    "join_backbone",
    "open_training",
    "save_as_bundle",
    "train_sae",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
