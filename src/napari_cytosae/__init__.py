"""What a vision transformer sees in blood and marrow cells, concept by concept."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cytosae.cells import Cells, detect_cells, read_cells
    from napari_cytosae.concepts import Run, analyze, open_run
    from napari_cytosae.models import Bundle, load_bundle
    from napari_cytosae.slides import Slide, sample_smear

try:
    __version__ = version("napari-cytosae")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

# Public names and the rooms they live in. They are imported on first use, so that a viewer's
# start-up never pays for torch.
_HOMES = {
    "Bundle": "models",
    "Cells": "cells",
    "Run": "concepts",
    "Slide": "slides",
    "analyze": "concepts",
    "detect_cells": "cells",
    "load_bundle": "models",
    "open_run": "concepts",
    "read_cells": "cells",
    "sample_smear": "slides",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
