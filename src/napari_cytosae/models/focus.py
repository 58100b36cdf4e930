"""Which concepts an autoencoder is restricted to. Imports no torch."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import FocusError


def as_focus(concept_ids: Iterable[Any], d_sae: int) -> NDArray[np.int64]:
    """Bring concept ids into their one form: ascending, each once.

    Parameters
    ----------
    concept_ids
        Ids in any order; what is named twice counts once.
    d_sae
        Number of concepts of the whole SAE.

    Returns
    -------
    (n,) int64.

    Raises
    ------
    FocusError
        There are none, or one is no concept of this SAE.
    """
    ids = np.asarray(concept_ids if isinstance(concept_ids, np.ndarray) else list(concept_ids))
    if not ids.size:
        raise FocusError("A focus needs at least one concept; none was given.")
    if ids.ndim != 1 or ids.dtype.kind not in "iuf" or not np.array_equal(ids, np.floor(ids)):
        raise FocusError(
            f"A focus is a list of concept ids (whole numbers from 0 to {d_sae - 1}), not an array "
            f"of shape {ids.shape} and type {ids.dtype}."
        )
    strangers = ids[(ids < 0) | (ids >= d_sae)]
    if strangers.size:
        raise FocusError(
            f"There is no concept {strangers[0]:.0f} to focus on: this bundle's concepts go from 0 "
            f"to {d_sae - 1}. Is the focus meant for another bundle?"
        )
    return np.unique(ids.astype(np.int64))


def focus_digest(concept_ids: NDArray[np.int64]) -> str:
    """Compute what a focus is known by: SHA-256 over its ascending ids, in hex."""
    return hashlib.sha256(concept_ids.astype("<i8").tobytes()).hexdigest()
