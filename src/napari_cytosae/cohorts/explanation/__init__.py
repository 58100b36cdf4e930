"""Why a patient is predicted as it is: concepts, cells and patches.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.cohorts.explanation.carrying import (
        PatchEvidence,
        carriers,
        cell_evidence,
        patch_evidence,
    )
    from napari_cytosae.cohorts.explanation.contributions import Explanation, explain
    from napari_cytosae.cohorts.explanation.masking import masking_curve, what_if
    from napari_cytosae.cohorts.explanation.pathognomonic import (
        SpecificConcepts,
        pathognomonic_cells,
        rank_cells,
        rank_run,
        specific_concepts,
    )

_HOMES = {
    "carrying": ["PatchEvidence", "carriers", "cell_evidence", "patch_evidence"],
    "contributions": ["Explanation", "explain"],
    "pathognomonic": [
        "SpecificConcepts",
        "pathognomonic_cells",
        "rank_cells",
        "rank_run",
        "specific_concepts",
    ],
    "masking": ["masking_curve", "what_if"],
}

__all__ = [
    "Explanation",
    "PatchEvidence",
    "SpecificConcepts",
    "carriers",
    "cell_evidence",
    "explain",
    "masking_curve",
    "patch_evidence",
    "pathognomonic_cells",
    "rank_cells",
    "rank_run",
    "specific_concepts",
    "what_if",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
