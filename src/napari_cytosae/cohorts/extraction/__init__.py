"""From a cohort's images to its barcodes, on one machine or many.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.extraction.facts import TECHNICAL, picture_facts
    from napari_cytosae.cohorts.extraction.folder import CohortFolder
    from napari_cytosae.cohorts.extraction.on_dask import (
        DaskWorkers,
        dask_available,
        dask_workers,
    )
    from napari_cytosae.cohorts.extraction.run_all import (
        ExtractionProgress,
        InThisProcess,
        Workers,
        extract,
    )
    from napari_cytosae.cohorts.extraction.settings import ExtractionSettings

_HOMES = {
    "on_dask": ["DaskWorkers", "dask_available", "dask_workers"],
    "run_all": ["ExtractionProgress", "InThisProcess", "Workers", "extract"],
    "facts": ["TECHNICAL", "picture_facts"],
    "folder": ["CohortFolder"],
    "settings": ["ExtractionSettings"],
}

__all__ = [
    "TECHNICAL",
    "CohortFolder",
    "DaskWorkers",
    "ExtractionProgress",
    "ExtractionSettings",
    "InThisProcess",
    "Workers",
    "dask_available",
    "dask_workers",
    "extract",
    "picture_facts",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
