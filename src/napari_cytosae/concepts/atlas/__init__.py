"""The atlas: what each concept is over whole data sets, measured, shown and given a suggestion.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas.atlas import Atlas, open_atlas
    from napari_cytosae.concepts.atlas.build import build_atlas
    from napari_cytosae.concepts.atlas.class_terms import TERMS, common_term
    from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo
    from napari_cytosae.concepts.atlas.enrichment import Enrichment, benjamini_hochberg
    from napari_cytosae.concepts.atlas.evidence import Evidence
    from napari_cytosae.concepts.atlas.focus import Focus, find_focus
    from napari_cytosae.concepts.atlas.folder import is_atlas
    from napari_cytosae.concepts.atlas.job import BuildJob, BuildProgress
    from napari_cytosae.concepts.atlas.published import is_published, read_published
    from napari_cytosae.concepts.atlas.reference_maps import ReferenceMaps
    from napari_cytosae.concepts.atlas.reference_pictures import (
        ReferencePicture,
        ReferencePictures,
    )
    from napari_cytosae.concepts.atlas.references import References
    from napari_cytosae.concepts.atlas.suggest import Suggestions

_HOMES = {
    "atlas": ["Atlas", "open_atlas"],
    "build": ["build_atlas"],
    "class_terms": ["TERMS", "common_term"],
    "data_set": ["DataSet", "DataSetInfo"],
    "enrichment": ["Enrichment", "benjamini_hochberg"],
    "evidence": ["Evidence"],
    "focus": ["Focus", "find_focus"],
    "folder": ["is_atlas"],
    "job": ["BuildJob", "BuildProgress"],
    "published": ["is_published", "read_published"],
    "reference_maps": ["ReferenceMaps"],
    "reference_pictures": ["ReferencePicture", "ReferencePictures"],
    "references": ["References"],
    "suggest": ["Suggestions"],
}

__all__ = [
    "TERMS",
    "Atlas",
    "BuildJob",
    "BuildProgress",
    "DataSet",
    "DataSetInfo",
    "Enrichment",
    "Evidence",
    "Focus",
    "ReferenceMaps",
    "ReferencePicture",
    "ReferencePictures",
    "References",
    "Suggestions",
    "benjamini_hochberg",
    "build_atlas",
    "common_term",
    "find_focus",
    "is_atlas",
    "is_published",
    "open_atlas",
    "read_published",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
