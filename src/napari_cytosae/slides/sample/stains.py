"""Optical densities of a Romanowsky stain: how much light each part of a cell takes away.

Light passes everything that lies in its way (Beer and Lambert), so densities add where cells
overlap, and a pixel's colour is the lamp's colour times exp(-density).
"""

import numpy as np
from numpy.typing import NDArray

Density = NDArray[np.float32]


def _density(red: float, green: float, blue: float) -> Density:
    return np.array([red, green, blue], np.float32)


# Azure B bound to DNA is purple; free azure in RNA-rich cytoplasm is blue; eosin is orange-pink.
# The values were chosen by eye between two laboratories' slides, one pale and one strong.
CHROMATIN = _density(0.78, 1.32, 0.25)
HAEMOGLOBIN = _density(0.14, 0.37, 0.33)

NEUTROPHIL_CYTOPLASM = _density(0.10, 0.21, 0.03)
NEUTROPHIL_GRANULE = _density(0.13, 0.27, 0.04)
EOSINOPHIL_CYTOPLASM = _density(0.09, 0.19, 0.08)
EOSINOPHIL_GRANULE = _density(0.07, 0.55, 0.49)
BASOPHIL_CYTOPLASM = _density(0.16, 0.26, 0.05)
BASOPHIL_GRANULE = _density(1.05, 1.30, 0.42)
LYMPHOCYTE_CYTOPLASM = _density(0.30, 0.23, 0.03)
MONOCYTE_CYTOPLASM = _density(0.28, 0.28, 0.10)
AZUROPHILIC_GRANULE = _density(0.12, 0.30, 0.05)
PLATELET_CYTOPLASM = _density(0.17, 0.24, 0.04)
PLATELET_GRANULE = _density(0.40, 0.62, 0.11)


def stain(share: NDArray[np.float32], with_density: Density) -> Density:
    """Densities (h, w, 3) of a part of a cell, given how much of it lies at each pixel (h, w)."""
    stained: Density = share[..., np.newaxis] * with_density
    return stained
