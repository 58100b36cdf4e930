"""Blinded review: whether people see in a concept's cells what others see."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.concepts.review.agreement import (
        Agreement,
        Kappa,
        cohen_kappa,
        compare_sheets,
        fleiss_kappa,
    )
    from napari_cytosae.concepts.review.sample import sample_concepts
    from napari_cytosae.concepts.review.sheet import RATINGS, Answer, ReviewSheet, read_sheet

_HOMES = {
    "agreement": ["Agreement", "Kappa", "cohen_kappa", "compare_sheets", "fleiss_kappa"],
    "sample": ["sample_concepts"],
    "sheet": ["RATINGS", "Answer", "ReviewSheet", "read_sheet"],
}

__all__ = [
    "RATINGS",
    "Agreement",
    "Answer",
    "Kappa",
    "ReviewSheet",
    "cohen_kappa",
    "compare_sheets",
    "fleiss_kappa",
    "read_sheet",
    "sample_concepts",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
