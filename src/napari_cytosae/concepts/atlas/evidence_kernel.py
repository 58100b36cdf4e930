"""The loop that evidence by compartment spends its time in, compiled where numba is installed."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

_LANES = 8  # six compartments, one to count patches, one to fill a line of the processor's cache


@cache
def compiled_where() -> Callable[..., None] | None:
    """Give `add_where` compiled, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    compiled: Callable[..., None]
    try:
        compiled = numba.njit(nogil=True, cache=True)(add_where)
    except RuntimeError:  # nowhere to keep what was compiled: it is compiled each time
        compiled = numba.njit(nogil=True)(add_where)
    return compiled


def add_where(
    concept_ids: NDArray[np.unsignedinteger],
    bits: NDArray[np.uint16],
    indptr: NDArray[np.int64],
    by_patch: NDArray[np.uint8],
    known: NDArray[np.bool_],
    units: NDArray[np.int64],
    points: NDArray[np.int64],
    cells: NDArray[np.int64],
) -> None:
    """Do what `count_where` does, entry by entry.

    A cell's sums are kept as float64, which hold them exactly (below 2⁵³ for 256 patches of the
    largest half-precision number), as processors multiply those several at a time.

    Parameters
    ----------
    concept_ids, bits, indptr
        CSR rows of tokens, the first of each cell its class token; values as the bits of half
        precision.
    by_patch
        (n, patches, compartments) points.
    known
        (n,) cells that count.
    units, points
        (d_sae, compartments) to be added to.
    cells
        (d_sae,) to be added to.
    """
    n_cells, n_patches, n_compartments = by_patch.shape
    n_tokens = n_patches + 1
    d_sae = len(cells)
    sums = np.zeros((d_sae, _LANES), np.float64)
    weights = np.zeros((n_patches, _LANES), np.float64)
    of_cell = np.zeros(n_compartments, np.int64)
    found = np.empty(d_sae + 1, np.int64)
    for cell in range(n_cells):
        if not known[cell]:
            continue
        of_cell[:] = 0
        for patch in range(n_patches):
            for compartment in range(n_compartments):
                weights[patch, compartment] = by_patch[cell, patch, compartment]
                of_cell[compartment] += by_patch[cell, patch, compartment]
        n_found = 0
        for patch in range(n_patches):
            row = cell * n_tokens + patch + 1
            for entry in range(indptr[row], indptr[row + 1]):
                concept = np.int64(concept_ids[entry])
                half = np.int64(bits[entry])
                exponent = half >> 10
                normal = np.int64(exponent > 0)
                mantissa = (half & 1023) | (normal << 10)
                value = np.float64(mantissa << (exponent - normal))
                found[n_found] = concept
                n_found += sums[concept, 6] == 0.0
                sums[concept, 6] = 1.0
                for lane in range(6):
                    sums[concept, lane] += value * weights[patch, lane]
        for at in range(n_found):
            concept = found[at]
            cells[concept] += 1
            for compartment in range(n_compartments):
                units[concept, compartment] += np.int64(sums[concept, compartment])
                points[concept, compartment] += of_cell[compartment]
            for lane in range(_LANES):
                sums[concept, lane] = 0.0
