"""What a vision transformer sees in blood and marrow cells, concept by concept."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cells import Cells, detect_cells, read_cells
    from napari_cytosae.concepts import Run, analyze, open_run
    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.models import Bundle, load_bundle
    from napari_cytosae.slides import Slide, sample_smear

try:
    __version__ = version("napari-cytosae")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

# Public names and the rooms they live in. They are imported on first use, so that a viewer's
# start-up never pays for torch.
_HOMES = {
    "cells": ["Cells", "detect_cells", "read_cells"],
    "concepts": ["Run", "analyze", "open_run"],
    "concepts.atlas": ["Atlas"],
    "models": ["Bundle", "load_bundle"],
    "slides": ["Slide", "sample_smear"],
}

__all__ = [
    "Atlas",
    "Bundle",
    "Cells",
    "Run",
    "Slide",
    "__version__",
    "analyze",
    "detect_cells",
    "load_bundle",
    "open_run",
    "read_cells",
    "sample_smear",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
