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
# Sum over tokens (in steps of 2⁻²⁴), patches and tokens above τ share 64 bits, so that one look-up
# serves all three: 42, 9 and 9 bits. 257 tokens of up to 1,016 stay below 2⁴².
_SUM_BITS = 42
_ABOVE_AT = 51
_LARGEST_PACKED = 0x63F0
# Cells with larger values get 49 bits for the sum, and their tokens above τ are counted apart.
_WIDE_SUM_BITS = 49


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
        Tokens per cell, fewer than 512.
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
    # By concept, 0 between cells: what is summed up, tokens above τ where they are counted apart,
    # whether the cell is offered, and the largest value with its entry, of equals the first.
    sums = np.zeros(d_sae, np.int64)
    above = np.zeros(d_sae, np.int16)
    offered = np.zeros(d_sae, np.bool_)
    largest = np.zeros(d_sae, np.int64)
    # By entry of the cell.
    steps = np.empty(longest, np.int64)
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
        of_class_token = indptr[cell * n_tokens + 1] - first
        n = indptr[(cell + 1) * n_tokens] - first
        ids = concept_ids[first : first + n]
        halves = bits[first : first + n]
        n_large = 0
        for entry in range(n):
            n_large += halves[entry] > _LARGEST_PACKED
        wide = n_large > 0
        sum_bits = _WIDE_SUM_BITS if wide else _SUM_BITS
        one_patch = np.int64(1) << sum_bits
        one_above = np.int64(0) if wide else np.int64(1) << _ABOVE_AT
        for entry in range(n):
            half = np.int64(halves[entry])
            exponent = half >> 10
            normal = np.int64(exponent > 0)
            mantissa = (half & 1023) | (normal << 10)
            is_above = np.int64(half > at_most)
            steps[entry] = (mantissa << (exponent - normal)) + one_patch + is_above * one_above
        for entry in range(of_class_token):
            steps[entry] -= one_patch
        n_found = 0
        for entry in range(n):
            concept = ids[entry]
            before = sums[concept]
            found[n_found] = concept
            n_found += before == 0
            sums[concept] = before + steps[entry]
        if wide:
            for entry in range(n):
                above[ids[entry]] += halves[entry] > at_most
        n_before = n_offers
        for at in range(n_found):
            concept = found[at]
            both = sums[concept]
            units = both & (one_patch - 1)
            counts = both >> sum_bits
            totals[concept, 0] += 1
            totals[concept, 1] += units
            totals[concept, 2] += counts & 511
            totals[concept, 3] += above[concept] if wide else counts >> (_ABOVE_AT - _SUM_BITS)
            sums[concept] = 0
            above[concept] = 0
            if units >= limit[concept]:
                offered[concept] = True
                offer_cells[n_offers] = cell
                offer_concepts[n_offers] = concept
                offer_units[n_offers] = units
                n_offers += 1
            if wanted[cell]:
                kept_concepts[n_kept] = concept
                kept_units[n_kept] = units
                n_kept += 1
        kept_rows[cell + 1] = n_kept
        if n_offers > n_before:
            for entry in range(of_class_token, n):
                concept = ids[entry]
                if offered[concept]:
                    ranked = (np.int64(halves[entry]) << 32) + (n - entry)
                    largest[concept] = max(largest[concept], ranked)
        for at in range(n_before, n_offers):
            concept = offer_concepts[at]
            peak = _NO_PATCH
            if largest[concept] > 0:
                entry = first + n - (largest[concept] & 0xFFFFFFFF)
                token, end = 0, n_tokens  # the token is the last one that begins at or before
                while end - token > 1:
                    middle = (token + end) // 2
                    if indptr[cell * n_tokens + middle] <= entry:
                        token = middle
                    else:
                        end = middle
                peak = token - 1
            offer_peaks[at] = peak
            offered[concept] = False
            largest[concept] = 0
    return (
        offer_cells[:n_offers].copy(),
        offer_concepts[:n_offers].copy(),
        offer_units[:n_offers].copy(),
        offer_peaks[:n_offers].copy(),
        kept_rows,
        kept_concepts[:n_kept].copy(),
        kept_units[:n_kept].copy(),
    )
