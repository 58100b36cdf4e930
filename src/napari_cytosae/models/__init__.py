"""Backbones, sparse autoencoders, the bundles that hold both, and where bundles come from.

Names are imported on first use: a viewer lists the available bundles without paying for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cytosae.models.backbone import Backbone, load_backbone
    from napari_cytosae.models.bundle import Bundle, load_bundle
    from napari_cytosae.models.device import Precision, resolve_device, resolve_precision
    from napari_cytosae.models.preprocessing import Preprocessing
    from napari_cytosae.models.registry import (
        BundleInfo,
        add_bundle,
        available_bundles,
        fetch_bundle,
    )
    from napari_cytosae.models.sae import SparseAutoencoder
    from napari_cytosae.models.sae_files import load_sae, save_sae
    from napari_cytosae.models.sparse import SparseActivations

_HOMES = {
    "Backbone": "backbone",
    "Bundle": "bundle",
    "BundleInfo": "registry",
    "Precision": "device",
    "Preprocessing": "preprocessing",
    "SparseActivations": "sparse",
    "SparseAutoencoder": "sae",
    "add_bundle": "registry",
    "available_bundles": "registry",
    "fetch_bundle": "registry",
    "load_backbone": "backbone",
    "load_bundle": "bundle",
    "load_sae": "sae_files",
    "resolve_device": "device",
    "resolve_precision": "device",
    "save_sae": "sae_files",
}

__all__ = [
    "Backbone",
    "Bundle",
    "BundleInfo",
    "Precision",
    "Preprocessing",
    "SparseActivations",
    "SparseAutoencoder",
    "add_bundle",
    "available_bundles",
    "fetch_bundle",
    "load_backbone",
    "load_bundle",
    "load_sae",
    "resolve_device",
    "resolve_precision",
    "save_sae",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
