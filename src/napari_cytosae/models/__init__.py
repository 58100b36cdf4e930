"""Backbones, sparse autoencoders, the bundles that hold both, and where bundles come from.

Names are imported on first use: a viewer lists the available bundles without paying for torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.models.backbone import Backbone, load_backbone
    from napari_cytosae.models.bundle import Bundle, load_bundle
    from napari_cytosae.models.device import Precision, resolve_device, resolve_precision
    from napari_cytosae.models.focus import as_focus, focus_digest
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
    "backbone": ["Backbone", "load_backbone"],
    "bundle": ["Bundle", "load_bundle"],
    "device": ["Precision", "resolve_device", "resolve_precision"],
    "focus": ["as_focus", "focus_digest"],
    "preprocessing": ["Preprocessing"],
    "registry": ["BundleInfo", "add_bundle", "available_bundles", "fetch_bundle"],
    "sae": ["SparseAutoencoder"],
    "sae_files": ["load_sae", "save_sae"],
    "sparse": ["SparseActivations"],
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
    "as_focus",
    "available_bundles",
    "fetch_bundle",
    "focus_digest",
    "load_backbone",
    "load_bundle",
    "load_sae",
    "resolve_device",
    "resolve_precision",
    "save_sae",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
