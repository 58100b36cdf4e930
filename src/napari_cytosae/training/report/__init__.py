"""One page about a training: its curves, its figures beside baselines, and some of its concepts."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.report.examples import ConceptExample, pick_examples
    from napari_cytosae.training.report.make import report_on
    from napari_cytosae.training.report.page import TrainingReport, write_report

_HOMES = {
    "examples": ["ConceptExample", "pick_examples"],
    "make": ["report_on"],
    "page": ["TrainingReport", "write_report"],
}

__all__ = ["ConceptExample", "TrainingReport", "pick_examples", "report_on", "write_report"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
