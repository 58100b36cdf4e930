"""The loop that counting spends its time in, compiled where numba is installed."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

IMAGES, UNITS, PATCHES, ABOVE = range(4)
"""Columns of totals."""

_NO_PATCH = -1
_COUNT = 49
_ONE = 1 << _COUNT
"""A patch in which a concept is active, in the number that also holds the sum over tokens: 257
tokens of the largest half-precision number, in steps of 2⁻²⁴, stay below 2⁴⁹."""


@cache
def compiled_loop() -> Callable[..., tuple[NDArray[Any], ...]] | None:
    """Give `count_entries` compiled, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        logger.info("numba is not installed, so that counting takes several times as long.")
        return None
    compiled: Callable[..., tuple[NDArray[Any], ...]]
    try:
        compiled = numba.njit(nogil=True, cache=True)(count_entries)
    except RuntimeError:  # nowhere to keep what was compiled: it is compiled each time
        compiled = numba.njit(nogil=True)(count_entries)
    return compiled


def count_entries(
    concept_ids: NDArray[np.unsignedinteger],
    bits: NDArray[np.uint16],
    indptr: NDArray[np.int64],
    n_tokens: int,
    at_most: int,
    limit: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    totals: NDArray[np.int64],
) -> tuple[NDArray[Any], ...]:
    """Do what `count_tokens` does, entry by entry.

    Several short loops over a cell's entries are faster than one that does everything: each needs
    little of the cache, and some take several entries at a time.

    Parameters
    ----------
    concept_ids, bits, indptr
        CSR rows of tokens; values as the bits of half precision.
    n_tokens
        Tokens per cell.
    at_most
        Bits of the largest value that is not above τ.
    limit
        (d_sae,) sum from which a cell is offered.
    wanted
        (n,) cells whose sums are given back.
    totals
        (d_sae, 4) to be added to.

    Returns
    -------
    tuple of NDArray
        Of the offers: cells, concepts, sums, peaks; of the wanted cells: indptr, concepts, sums.
    """
    n_cells = (len(indptr) - 1) // n_tokens
    n_entries = len(concept_ids)
    longest = 0
    for cell in range(n_cells):
        longest = max(longest, indptr[(cell + 1) * n_tokens] - indptr[cell * n_tokens])
    d_sae = len(limit)
    # By concept, 0 between cells: the sum and the count of patches in one number, the tokens above
    # τ, and the largest value with its entry: of equals the first, which is of the first token.
    sums = np.zeros(d_sae, np.int64)
    above = np.zeros(d_sae, np.int16)
    largest = np.zeros(d_sae, np.int64)
    # By entry of the cell.
    steps = np.empty(longest, np.int64)
    ranked = np.empty(longest, np.int64)
    found = np.empty(longest + 1, np.int32)
    # More than is needed; pages that nothing is written to take no memory.
    offer_cells = np.empty(n_entries, np.int32)
    offer_concepts = np.empty(n_entries, np.int32)
    offer_units = np.empty(n_entries, np.int64)
    offer_peaks = np.empty(n_entries, np.int16)
    kept_rows = np.zeros(len(wanted) + 1, np.int64)
    kept_concepts = np.empty(n_entries, np.int32)
    kept_units = np.empty(n_entries, np.int64)
    n_offers = 0
    n_kept = 0
    for cell in range(n_cells):
        first = indptr[cell * n_tokens]
        rows = indptr[cell * n_tokens : (cell + 1) * n_tokens + 1]
        of_class_token = indptr[cell * n_tokens + 1] - first
        n = indptr[(cell + 1) * n_tokens] - first
        ids = concept_ids[first : first + n]
        halves = bits[first : first + n]
        for entry in range(n):
            half = np.int64(halves[entry])
            exponent = half >> 10
            normal = np.int64(exponent > 0)
            mantissa = (half & 1023) | (normal << 10)
            steps[entry] = (mantissa << (exponent - normal)) + _ONE
            ranked[entry] = (half << 32) + (n - entry)
        for entry in range(of_class_token):
            steps[entry] -= _ONE
            ranked[entry] = 0
        n_found = 0
        for entry in range(n):
            concept = ids[entry]
            before = sums[concept]
            found[n_found] = concept
            n_found += before == 0
            sums[concept] = before + steps[entry]
        for entry in range(n):
            concept = ids[entry]
            largest[concept] = max(largest[concept], ranked[entry])
        for entry in range(n):
            above[ids[entry]] += halves[entry] > at_most
        for at in range(n_found):
            concept = found[at]
            units = sums[concept] & (_ONE - 1)
            totals[concept, 0] += 1
            totals[concept, 1] += units
            totals[concept, 2] += sums[concept] >> _COUNT
            totals[concept, 3] += above[concept]
            if units >= limit[concept]:
                peak = _NO_PATCH
                if largest[concept] > 0:
                    entry = first + n - (largest[concept] & 0xFFFFFFFF)
                    peak = np.searchsorted(rows, entry, side="right") - 2
                offer_cells[n_offers] = cell
                offer_concepts[n_offers] = concept
                offer_units[n_offers] = units
                offer_peaks[n_offers] = peak
                n_offers += 1
            if wanted[cell]:
                kept_concepts[n_kept] = concept
                kept_units[n_kept] = units
                n_kept += 1
            sums[concept] = 0
            above[concept] = 0
            largest[concept] = 0
        kept_rows[cell + 1] = n_kept
    return (
        offer_cells[:n_offers].copy(),
        offer_concepts[:n_offers].copy(),
        offer_units[:n_offers].copy(),
        offer_peaks[:n_offers].copy(),
        kept_rows,
        kept_concepts[:n_kept].copy(),
        kept_units[:n_kept].copy(),
    )
