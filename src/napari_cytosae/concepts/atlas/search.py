"""Find concepts by what stands beside them, as fast as one types."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class SearchIndex:
    """The words of every concept.

    Parameters
    ----------
    columns
        What can be searched, one text per concept in each.
    """

    def __init__(self, columns: Iterable[NDArray[np.object_]]) -> None:
        texts = [pa.array(column, pa.string()) for column in columns]
        self._words = pc.utf8_lower(pc.binary_join_element_wise(*texts, "\n"))

    def find(self, text: str) -> NDArray[np.int64]:
        """Give the concepts that have every word of a text, ascending.

        A word may be part of another; case does not matter. ``#123`` or a number alone also finds
        the concepts whose number begins so.
        """
        found = np.ones(len(self._words), bool)
        for word in text.lower().split():
            found &= self._with(word)
        return np.flatnonzero(found)

    def _with(self, word: str) -> NDArray[np.bool_]:
        number = word.removeprefix("#")
        if word.startswith("#") and number.isdecimal():
            return _begin_with(number, len(self._words))
        hit = np.array(pc.match_substring(self._words, word))
        return hit | _begin_with(word, len(hit)) if word.isdecimal() else hit


def _begin_with(digits: str, n: int) -> NDArray[np.bool_]:
    """Which numbers below n begin with some digits."""
    hit = np.zeros(n, bool)
    if not digits.isascii() or len(digits) > 18:
        return hit
    number = int(digits)
    if str(number) != digits:
        return hit  # no number begins with 0 but 0 itself
    if number == 0:
        hit[:1] = True
        return hit
    first, width = number, 1
    while first < n:
        hit[first : first + width] = True
        first, width = 10 * first, 10 * width
    return hit
