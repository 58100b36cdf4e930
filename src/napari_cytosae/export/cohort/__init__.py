"""A cohort on paper: figures, tables and one report that holds them all.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.export.cohort.comparison_files import write_comparison_figures
    from napari_cytosae.export.cohort.report import (
        CohortReport,
        without_runs,
        write_cohort_report,
    )

_HOMES = {
    "comparison_files": ["write_comparison_figures"],
    "report": ["CohortReport", "without_runs", "write_cohort_report"],
}

__all__ = ["CohortReport", "without_runs", "write_cohort_report", "write_comparison_figures"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
