"""Names of concepts for a cohort: the dictionary's, or what was written down with the barcodes."""

import logging

from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.errors import NamesError

logger = logging.getLogger(__name__)


def current_names(sae_digest: object, stored: Names) -> Names:
    """Name concepts as the dictionary of an SAE has them now.

    Parameters
    ----------
    sae_digest
        Digest of the SAE; None where it is not known.
    stored
        Names to fall back on.
    """
    dictionary: Dictionary | None = None
    if isinstance(sae_digest, str) and sae_digest:
        try:
            dictionary = dictionary_of(sae_digest)
        except NamesError as error:
            logger.warning("Concepts are shown as they were named before. %s", error)
    return Names.of(dictionary, stored)
