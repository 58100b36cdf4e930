"""Patients and diseases: barcodes, their comparison and classification, and why.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.barcode_file import read_barcodes, to_anndata, write_barcodes
    from napari_cytosae.cohorts.barcodes import Barcodes, build_barcodes
    from napari_cytosae.cohorts.comparison import (
        Comparison,
        ComparisonOptions,
        cluster_order,
        compare,
        correlate_patients,
        diagnosis_order,
    )
    from napari_cytosae.cohorts.rank_tests import (
        RankTest,
        benjamini_hochberg,
        family_wise_p,
        rank_test,
    )
    from napari_cytosae.cohorts.read import read_cohort
    from napari_cytosae.cohorts.sums import Sums, add_up, sums_of_run
    from napari_cytosae.cohorts.synthetic import SyntheticCohort, SyntheticOptions, make_cohort
    from napari_cytosae.cohorts.table import Cohort, Patient
    from napari_cytosae.cohorts.top_cells import TopCells

_HOMES = {
    "barcode_file": ["read_barcodes", "to_anndata", "write_barcodes"],
    "barcodes": ["Barcodes", "build_barcodes"],
    "comparison": [
        "Comparison",
        "ComparisonOptions",
        "cluster_order",
        "compare",
        "correlate_patients",
        "diagnosis_order",
    ],
    "rank_tests": ["RankTest", "benjamini_hochberg", "family_wise_p", "rank_test"],
    "read": ["read_cohort"],
    "sums": ["Sums", "add_up", "sums_of_run"],
    "synthetic": ["SyntheticCohort", "SyntheticOptions", "make_cohort"],
    "table": ["Cohort", "Patient"],
    "top_cells": ["TopCells"],
}

__all__ = [
    "Barcodes",
    "Cohort",
    "Comparison",
    "ComparisonOptions",
    "Patient",
    "RankTest",
    "Sums",
    "SyntheticCohort",
    "SyntheticOptions",
    "TopCells",
    "add_up",
    "benjamini_hochberg",
    "build_barcodes",
    "cluster_order",
    "compare",
    "correlate_patients",
    "diagnosis_order",
    "family_wise_p",
    "make_cohort",
    "rank_test",
    "read_barcodes",
    "read_cohort",
    "sums_of_run",
    "to_anndata",
    "write_barcodes",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
