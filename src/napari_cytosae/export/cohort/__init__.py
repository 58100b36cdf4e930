"""A cohort on paper: figures, tables and one report that holds them all.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.export.cohort.comparison_files import write_comparison_figures
    from napari_cytosae.export.cohort.disease_cells import (
        cells_of_disease,
        write_cells_of_disease,
    )
    from napari_cytosae.export.cohort.explanation_files import WhyPatient, why_patient, write_why
    from napari_cytosae.export.cohort.report import (
        CohortReport,
        without_runs,
        write_cohort_report,
    )

_HOMES = {
    "comparison_files": ["write_comparison_figures"],
    "disease_cells": ["cells_of_disease", "write_cells_of_disease"],
    "explanation_files": ["WhyPatient", "why_patient", "write_why"],
    "report": ["CohortReport", "without_runs", "write_cohort_report"],
}

__all__ = [
    "CohortReport",
    "WhyPatient",
    "cells_of_disease",
    "why_patient",
    "without_runs",
    "write_cells_of_disease",
    "write_cohort_report",
    "write_comparison_figures",
    "write_why",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
