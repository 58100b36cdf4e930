"""Patients and diseases: barcodes, their comparison and classification, and why.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.read import read_cohort
    from napari_cytosae.cohorts.table import Cohort, Patient

_HOMES = {
    "read": ["read_cohort"],
    "table": ["Cohort", "Patient"],
}

__all__ = ["Cohort", "Patient", "read_cohort"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
