"""Count concepts over the tokens of some cells.

A cell has some 13,000 active (token, concept) pairs of some 2,000 different concepts. Where numba is
installed (the extra ``fast``) a compiled loop goes through them; numpy's way by sorting takes several
times as long and gives the same bits.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.references import NO_PATCH
from napari_cytosae.concepts.atlas.token_kernel import ABOVE, IMAGES, PATCHES, UNITS, compiled_loop
from napari_cytosae.concepts.atlas.units import UNITS_PER_ONE


@dataclass(frozen=True, slots=True, eq=False)
class TokenBlock:
    """The activations of some cells at every token, as CSR rows ``cell * n_tokens + token``.

    Parameters
    ----------
    indptr
        (n · n_tokens + 1,) int64.
    concept_ids, values
        (nnz,) concept and activation of each entry, above 0; a concept is at a token once.
    """

    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.unsignedinteger]
    values: NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class TokenCounts:
    """What was counted over the tokens of some cells.

    Parameters
    ----------
    n_cells
        Cells.
    cells, concepts, units, peaks
        (m,) of those (cell, concept) whose sum reaches the limit: row of the cell, concept, sum,
        and the patch where the concept is largest, the first of equals (`NO_PATCH` where only the
        class token has it).
    kept_indptr, kept_concepts, kept_units
        CSR of the wanted cells: each concept with its sum. Other cells' rows are empty.
    """

    n_cells: int
    cells: NDArray[np.int32]
    concepts: NDArray[np.int32]
    units: NDArray[np.int64]
    peaks: NDArray[np.int16]
    kept_indptr: NDArray[np.int64]
    kept_concepts: NDArray[np.int32]
    kept_units: NDArray[np.int64]


def count_tokens(
    block: TokenBlock,
    n_tokens: int,
    threshold: float,
    limit: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    totals: NDArray[np.int64],
    *,
    compiled: bool = True,
) -> TokenCounts:
    """Count each concept over the cells' tokens.

    Parameters
    ----------
    block
        The cells. Values of half precision are taken as they are; others are rounded to 2⁻²⁴.
    n_tokens
        Tokens per cell; the first is the class token, the others are patches.
    threshold
        τ.
    limit
        (d_sae,) int64 sum from which a cell is among `TokenCounts.cells`; 1 or more.
    wanted
        (n,) cells that are kept with all their concepts.
    totals
        (d_sae, 4) int64, which the cells are added to: cells with a concept, its sum over all
        tokens in steps of 2⁻²⁴ (exact), patches where it is active, tokens above τ.
    compiled
        Whether numba may be used where it is installed.
    """
    n_cells = (len(block.indptr) - 1) // n_tokens
    loop = compiled_loop() if compiled and block.values.dtype == np.float16 else None
    if loop is None:
        found = _by_sorting(block, n_tokens, threshold, limit, wanted, totals)
    else:
        bits = block.values.view(np.uint16)
        half = half_at_most(threshold)
        found = loop(block.concept_ids, bits, block.indptr, n_tokens, half, limit, wanted, totals)
    return TokenCounts(n_cells, *found)


@cache
def half_at_most(threshold: float) -> int:
    """Give the bits of the largest half-precision number that is not above a threshold.

    A half-precision number is above the threshold just where its bits are above these.
    """
    largest = np.finfo(np.float16).max
    half = np.float16(min(threshold, float(largest)))
    if float(half) > threshold:
        half = np.nextafter(half, np.float16(0))
    return int(half.view(np.uint16))


def _by_sorting(
    block: TokenBlock,
    n_tokens: int,
    threshold: float,
    limit: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    totals: NDArray[np.int64],
) -> tuple[NDArray[Any], ...]:
    offers: list[tuple[NDArray[Any], ...]] = []
    kept: list[tuple[NDArray[Any], ...]] = []
    rows = np.zeros(len(wanted) + 1, np.int64)
    for cell in range(len(wanted)):
        concepts, units, patches, above, peaks = _sum_cell(block, cell, n_tokens, threshold)
        totals[concepts, IMAGES] += 1
        totals[concepts, UNITS] += units
        totals[concepts, PATCHES] += patches
        totals[concepts, ABOVE] += above
        good = units >= limit[concepts]
        at = np.full(int(good.sum()), cell, np.int32)
        offers.append((at, concepts[good], units[good], peaks[good]))
        if wanted[cell]:
            kept.append((concepts, units))
            rows[cell + 1] = len(concepts)
    none = np.zeros(0, np.int32)
    offers.append((none, none, none.astype(np.int64), none.astype(np.int16)))
    kept.append((none, none.astype(np.int64)))
    columns = [np.concatenate(column) for column in zip(*offers, strict=True)]
    return (*columns, np.cumsum(rows), *(np.concatenate(c) for c in zip(*kept, strict=True)))


def _sum_cell(
    block: TokenBlock, row: int, n_tokens: int, threshold: float
) -> tuple[NDArray[Any], ...]:
    """Sum up one cell by sorting its entries by concept; stable, so that tokens stay in order."""
    pointers = block.indptr[row * n_tokens : (row + 1) * n_tokens + 1]
    entries = slice(pointers[0], pointers[-1])
    ids = block.concept_ids[entries]
    if not len(ids):
        none = np.zeros(0, np.int64)
        return none.astype(np.int32), none, none, none, none.astype(np.int16)
    order = np.argsort(ids, kind="stable")
    ids = ids[order].astype(np.int32)
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    values = block.values[entries][order]
    exact = values.astype(np.float64)
    units = np.rint(exact * UNITS_PER_ONE).astype(np.int64)
    if values.dtype != np.float16:
        units = np.maximum(units, 1)  # what is above 0 stays above 0
    tokens = np.repeat(np.arange(n_tokens), np.diff(pointers))[order]
    of_patch = tokens > 0
    # The larger value wins, then the smaller token: both in one number. Half precision above 0
    # sorts as its bits do.
    bits = values.astype(np.float16).view(np.uint16).astype(np.int64)
    largest = np.where(of_patch, (bits << 16) + (n_tokens - tokens), 0)
    peaks = np.maximum.reduceat(largest, starts)
    places = n_tokens - 1 - (peaks & 0xFFFF)
    return (
        ids[starts],
        np.add.reduceat(units, starts),
        np.add.reduceat(of_patch.astype(np.int64), starts),
        np.add.reduceat((exact > threshold).astype(np.int64), starts),
        np.where(peaks > 0, places, NO_PATCH).astype(np.int16),
    )
