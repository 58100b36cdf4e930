"""Tell patients apart by their barcodes, and what that is worth.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.classification.classification import Classification, classify
    from napari_cytosae.cohorts.classification.model import CohortModel, fold_models, train_model
    from napari_cytosae.cohorts.classification.model_file import load_model, save_model
    from napari_cytosae.cohorts.classification.options import ClassificationOptions
    from napari_cytosae.cohorts.classification.scores import SCORES

_HOMES = {
    "classification": ["Classification", "classify"],
    "model": ["CohortModel", "fold_models", "train_model"],
    "model_file": ["load_model", "save_model"],
    "options": ["ClassificationOptions"],
    "scores": ["SCORES"],
}

__all__ = [
    "SCORES",
    "Classification",
    "ClassificationOptions",
    "CohortModel",
    "classify",
    "fold_models",
    "load_model",
    "save_model",
    "train_model",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
