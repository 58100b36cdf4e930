"""The same cell under four data sets' names, and which tissue each data set shows.

One row per term. Only names that mean the same are put together; a wider or narrower name (MLL23's
atypical promyelocyte, Acevedo's neutrophil of no stated form) stays a term of its own.
"""

from types import MappingProxyType
from typing import Final

from napari_cytosae.concepts.atlas.data_set import Tissue

# Term: what mll23 (peripheral blood), acevedo (peripheral blood) and bmc (bone marrow; its codes
# as in Matek et al. 2021) call it. The classes of hehr are patients, not cells.
_SYNONYMS: Final = {
    "basophil": ("basophil", "basophil", "BAS"),
    "eosinophil": ("eosinophil", "eosinophil", "EOS"),
    "abnormal eosinophil": ("", "", "ABE"),
    "neutrophil": ("", "neutrophil", ""),
    "segmented neutrophil": ("neutrophil_segmented", "neutrophil_segmented", "NGS"),
    "band neutrophil": ("neutrophil_band", "neutrophil_band", "NGB"),
    "metamyelocyte": ("metamyelocyte", "metamyelocyte", "MMZ"),
    "myelocyte": ("myelocyte", "myelocyte", "MYB"),
    "promyelocyte": ("promyelocyte", "promyelocyte", "PMO"),
    "atypical promyelocyte": ("promyelocyte_atypical", "", ""),
    "faggot cell": ("", "", "FGC"),
    # Matek's blasts are not told apart; MLL23's are myeloblasts.
    "blast": ("myeloblast", "", "BLA"),
    "immature granulocyte": ("", "ig", ""),
    "monocyte": ("monocyte", "monocyte", "MON"),
    "lymphocyte": ("lymphocyte", "lympocyte", "LYT"),  # spelt so in the published file
    "reactive lymphocyte": ("lymphocyte_reactive", "", ""),
    "neoplastic lymphocyte": ("lymphocyte_neoplastic", "", ""),
    "large granular lymphocyte": ("lymphocyte_large_granular", "", ""),
    "immature lymphocyte": ("", "", "LYI"),
    "hairy cell": ("hairy_cell", "", "HAC"),
    "plasma cell": ("plasma_cell", "", "PLM"),
    "erythroblast": ("normoblast", "erythroblast", "EBO"),
    "proerythroblast": ("", "", "PEB"),
    "platelet": ("", "platelet", ""),
    "smudge cell": ("smudge_cell", "", "KSC"),
    "artefact": ("", "", "ART"),
    "not identifiable": ("", "", "NIF"),
    "other cell": ("", "", "OTH"),
}
_TISSUES: Final[dict[str, Tissue]] = {
    "mll23": "blood",
    "acevedo": "blood",
    "bmc": "bone marrow",
    "hehr": "blood",
}
PATIENT_SETS: Final = frozenset({"hehr"})
"""Data sets whose classes are patients: what is enriched there is a person, not a kind of cell."""

TERMS: Final = MappingProxyType(
    {name: term for term, names in _SYNONYMS.items() for name in (term, *names) if name}
)
"""Common term of each class name of the published sets; the terms stand for themselves."""


def common_term(class_name: str) -> str:
    """Give the term that all data sets share for a class; the name itself where none is known."""
    return TERMS.get(class_name) or TERMS.get(class_name.casefold()) or class_name


def known_tissue(data_set: str) -> Tissue:
    """Give the tissue of a published data set by its name; empty where it is not known."""
    return _TISSUES.get(data_set.casefold(), "")
