"""Whether a patient is like those that a model was made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_MOST_AXES = 10
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Distances from the fitted patients, and how far those themselves are when left out.

    Principal components of the standardised barcodes, as in multivariate process control (Jackson
    and Mudholkar 1979): how far a patient lies within them (Hotelling's T²), and how much of the
    barcode they do not explain (Q).

    Parameters
    ----------
    axes
        (r, k) principal components.
    variances
        (r,) of the fitted patients along them.
    limit_t2, limit_q
        The largest values of the fitted patients, measured with the components of others as with
        their own: with more concepts than patients, components reach further to their own.
    """

    axes: Matrix
    variances: Matrix
    limit_t2: float
    limit_q: float

    @classmethod
    def of(cls, values: Matrix, seed: int = 0) -> "Familiarity":
        """Learn from the barcodes (patients, k) that a model was fitted to."""
        n = len(values)
        held = np.zeros((n, 2))
        order = np.random.default_rng(seed).permutation(n)
        for part in np.array_split(order, min(_FOLDS, n)):
            rest = np.setdiff1d(order, part)
            mean, scale = _standard(values[rest])
            axes, variances = _components((values[rest] - mean) / scale)
            held[part] = np.stack(
                _distances((values[part] - mean) / scale, axes, variances), axis=1
            )
        mean, scale = _standard(values)
        z = (values - mean) / scale
        axes, variances = _components(z)
        own = np.stack(_distances(z, axes, variances), axis=1)
        limit_t2, limit_q = np.concatenate([held, own]).max(axis=0)
        return cls(axes, variances, float(limit_t2), float(limit_q))

    def distances(self, z: Matrix) -> tuple[Matrix, Matrix]:
        """Give T² and Q of standardised barcodes (patients, k), each over its limit: 1 is the edge."""
        t2, q = _distances(z, self.axes, self.variances)
        tiny = 1e-12
        return t2 / max(self.limit_t2, tiny), q / max(self.limit_q, tiny)


def _standard(values: Matrix) -> tuple[Matrix, Matrix]:
    scale = values.std(axis=0)
    # What is the same in all fitted patients is measured as it is.
    return values.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _components(z: Matrix) -> tuple[Matrix, Matrix]:
    n = len(z)
    count = max(1, min(_MOST_AXES, n // 5, z.shape[1]))
    _, lengths, axes = np.linalg.svd(z, full_matrices=False)
    return axes[:count], np.maximum(lengths[:count] ** 2 / max(n - 1, 1), 1e-12)


def _distances(z: Matrix, axes: Matrix, variances: Matrix) -> tuple[Matrix, Matrix]:
    along = z @ axes.T
    t2 = (along**2 / variances).sum(axis=1)
    q = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
    return t2, q / max(z.shape[1], 1)
