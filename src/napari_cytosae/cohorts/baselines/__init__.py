"""What barcodes are to be held against: raw tokens, and a dictionary drawn at random.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.baselines.files import (
        CLASS_TOKENS,
        RANDOM,
        RAW_TOKENS,
        BaselineFolder,
        read_baselines,
    )
    from napari_cytosae.cohorts.baselines.make import make_baselines

_HOMES = {
    "files": ["CLASS_TOKENS", "RANDOM", "RAW_TOKENS", "BaselineFolder", "read_baselines"],
    "make": ["make_baselines"],
}

__all__ = [
    "CLASS_TOKENS",
    "RANDOM",
    "RAW_TOKENS",
    "BaselineFolder",
    "make_baselines",
    "read_baselines",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
