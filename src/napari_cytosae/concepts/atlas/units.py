"""Fixed point: what makes sums exact, so that their order never matters."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

UNITS_PER_ONE: Final = 1 << 24
UNIT: Final = 1.0 / UNITS_PER_ONE
"""Float16 knows nothing finer than 2⁻²⁴. Sums of its values are whole numbers of this unit: a cell's
fits float64 without rounding, and a data set's 64 bits up to 5 · 10¹¹."""


def to_grid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give values as float64 on the grid of units; float16 lies on it, others are rounded.

    What is above 0 stays above 0.
    """
    exact = values.astype(np.float64)
    if values.dtype == np.float16:
        return exact
    return np.maximum(np.rint(exact * UNITS_PER_ONE), 1.0) * UNIT
