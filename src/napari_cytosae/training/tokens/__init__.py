"""Tokens of a backbone: extracted, stored, and read in the order of a training."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.tokens.sources import TensorTokens, TokenSource

_HOMES = {"sources": ["TensorTokens", "TokenSource"]}

__all__ = ["TensorTokens", "TokenSource"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
