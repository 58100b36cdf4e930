"""Blinded review: whether people see in a concept's cells what others see."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.concepts.review.adoption import GivenName, Proposal, adopt, proposals
    from napari_cytosae.concepts.review.agreement import (
        Agreement,
        Kappa,
        cohen_kappa,
        compare_sheets,
        fleiss_kappa,
    )
    from napari_cytosae.concepts.review.folder import Review, ReviewPlan
    from napari_cytosae.concepts.review.pictures import (
        BlindPicture,
        blind_pictures,
        with_pictures,
    )
    from napari_cytosae.concepts.review.report import agreement_report, kappa_rows, share_words
    from napari_cytosae.concepts.review.sample import sample_concepts
    from napari_cytosae.concepts.review.sheet import RATINGS, Answer, ReviewSheet, read_sheet
    from napari_cytosae.concepts.review.sheet_file import SheetFile

_HOMES = {
    "adoption": ["GivenName", "Proposal", "adopt", "proposals"],
    "agreement": ["Agreement", "Kappa", "cohen_kappa", "compare_sheets", "fleiss_kappa"],
    "folder": ["Review", "ReviewPlan"],
    "pictures": ["BlindPicture", "blind_pictures", "with_pictures"],
    "report": ["agreement_report", "kappa_rows", "share_words"],
    "sample": ["sample_concepts"],
    "sheet": ["RATINGS", "Answer", "ReviewSheet", "read_sheet"],
    "sheet_file": ["SheetFile"],
}

__all__ = [
    "RATINGS",
    "Agreement",
    "Answer",
    "BlindPicture",
    "GivenName",
    "Kappa",
    "Proposal",
    "Review",
    "ReviewPlan",
    "ReviewSheet",
    "SheetFile",
    "adopt",
    "agreement_report",
    "blind_pictures",
    "cohen_kappa",
    "compare_sheets",
    "fleiss_kappa",
    "kappa_rows",
    "proposals",
    "read_sheet",
    "sample_concepts",
    "share_words",
    "with_pictures",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
