"""Fixed point: what makes sums exact, so that their order never matters."""

from typing import Final

UNITS_PER_ONE: Final = 1 << 24
UNIT: Final = 1.0 / UNITS_PER_ONE
"""Float16 knows nothing finer than 2⁻²⁴, so sums of its values are whole numbers of this unit: a
cell's are exact in float64 too, and a data set's fit 64 bits up to 5 · 10¹¹."""
