"""Crops to sparse concept activations, the run folder that keeps them, and views of it.

Names are imported on first use: reading a run needs no torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.concepts.analysis import analyze, analyze_steps
    from napari_cytosae.concepts.cell import ActiveConcept, CellActivations
    from napari_cytosae.concepts.difference import ConceptDifference, compare_cells
    from napari_cytosae.concepts.encode import (
        EncodedBatch,
        EncodeOptions,
        encode_crops,
        encode_one,
    )
    from napari_cytosae.concepts.focus import read_focus
    from napari_cytosae.concepts.job import AnalysisJob, default_folder
    from napari_cytosae.concepts.maps import (
        Canvas,
        PlacedMap,
        colour_by,
        paint_maps,
        place_map,
        place_maps,
    )
    from napari_cytosae.concepts.measures import measure_run
    from napari_cytosae.concepts.run import Run, open_run
    from napari_cytosae.concepts.steps import CellsFound, MoreCells, Progress

_HOMES = {
    "analysis": ["analyze", "analyze_steps"],
    "cell": ["ActiveConcept", "CellActivations"],
    "difference": ["ConceptDifference", "compare_cells"],
    "encode": ["EncodeOptions", "EncodedBatch", "encode_crops", "encode_one"],
    "focus": ["read_focus"],
    "job": ["AnalysisJob", "default_folder"],
    "maps": ["Canvas", "PlacedMap", "colour_by", "paint_maps", "place_map", "place_maps"],
    "measures": ["measure_run"],
    "run": ["Run", "open_run"],
    "steps": ["CellsFound", "MoreCells", "Progress"],
}

__all__ = [
    "ActiveConcept",
    "AnalysisJob",
    "Canvas",
    "CellActivations",
    "CellsFound",
    "ConceptDifference",
    "EncodeOptions",
    "EncodedBatch",
    "MoreCells",
    "PlacedMap",
    "Progress",
    "Run",
    "analyze",
    "analyze_steps",
    "colour_by",
    "compare_cells",
    "default_folder",
    "encode_crops",
    "encode_one",
    "measure_run",
    "open_run",
    "paint_maps",
    "place_map",
    "place_maps",
    "read_focus",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
