"""Tokens of a backbone: extracted, stored or streamed, and read in the order of a training."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.tokens.crops import CropOptions
    from napari_cytosae.training.tokens.extract import ExtractionProgress, extract_tokens
    from napari_cytosae.training.tokens.images import LabelledImage, gather_images
    from napari_cytosae.training.tokens.model import TokenModel
    from napari_cytosae.training.tokens.sources import TensorTokens, TokenSource
    from napari_cytosae.training.tokens.store import TokenStore
    from napari_cytosae.training.tokens.stream import StreamedTokens

_HOMES = {
    "crops": ["CropOptions"],
    "extract": ["ExtractionProgress", "extract_tokens"],
    "images": ["LabelledImage", "gather_images"],
    "model": ["TokenModel"],
    "sources": ["TensorTokens", "TokenSource"],
    "store": ["TokenStore"],
    "stream": ["StreamedTokens"],
}

__all__ = [
    "CropOptions",
    "ExtractionProgress",
    "LabelledImage",
    "StreamedTokens",
    "TensorTokens",
    "TokenModel",
    "TokenSource",
    "TokenStore",
    "extract_tokens",
    "gather_images",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
