"""Crops to sparse concept activations, the run folder that keeps them, and views of it.

Names are imported on first use: reading a run needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cytosae.concepts.analysis import analyze, analyze_steps
    from napari_cytosae.concepts.cell import ActiveConcept, CellActivations
    from napari_cytosae.concepts.encode import (
        EncodedBatch,
        EncodeOptions,
        encode_crops,
        encode_one,
    )
    from napari_cytosae.concepts.job import AnalysisJob, default_folder
    from napari_cytosae.concepts.maps import (
        Canvas,
        PlacedMap,
        colour_by,
        paint_maps,
        place_map,
        place_maps,
    )
    from napari_cytosae.concepts.run import Run, open_run
    from napari_cytosae.concepts.steps import CellsFound, Progress

_HOMES = {
    "ActiveConcept": "cell",
    "AnalysisJob": "job",
    "Canvas": "maps",
    "CellActivations": "cell",
    "CellsFound": "steps",
    "EncodeOptions": "encode",
    "EncodedBatch": "encode",
    "PlacedMap": "maps",
    "Progress": "steps",
    "Run": "run",
    "analyze": "analysis",
    "analyze_steps": "analysis",
    "colour_by": "maps",
    "default_folder": "job",
    "encode_crops": "encode",
    "encode_one": "encode",
    "open_run": "run",
    "paint_maps": "maps",
    "place_map": "maps",
    "place_maps": "maps",
}

__all__ = [
    "ActiveConcept",
    "AnalysisJob",
    "Canvas",
    "CellActivations",
    "CellsFound",
    "EncodeOptions",
    "EncodedBatch",
    "PlacedMap",
    "Progress",
    "Run",
    "analyze",
    "analyze_steps",
    "colour_by",
    "default_folder",
    "encode_crops",
    "encode_one",
    "open_run",
    "paint_maps",
    "place_map",
    "place_maps",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
