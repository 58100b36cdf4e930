"""Which concepts are worth showing and computing: the upper mode of mean activation.

Over log10 of the mean activation, an SAE's concepts form two heaps: tens of thousands that never
rise above noise, and the few thousand that carry nearly all activation. The valley between the two
is the default threshold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

UPSTREAM_NOISY = 0.1
"""Mean activation above which upstream takes a concept of the published SAE for noisy."""

_BIN = 0.05  # decades
_SMOOTHING = 0.12  # decades; heaps are some 0.2 to 0.4 wide
_LEAST_VALLEY = 0.7
"""Natural logarithm: between two heaps the density falls to half of the lower one's top."""
_NOISY_SPREADS = 1.5
"""On mll23 upstream's 0.1 lies 1.5 standard deviations above the upper mode's middle."""


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """A choice of concepts by mean activation, and what a picture of it needs.

    Parameters
    ----------
    threshold
        Concepts above this mean activation are in focus; 0 where there is only one mode.
    default
        The threshold in the valley between the modes.
    noisy_above
        Concepts above this mean activation are too common to tell much: ranked down, not hidden.
    lower_mode, upper_mode
        Mean activation at the top of each heap; None where there is only one heap.
    concept_ids
        (n,) concepts in focus, ascending.
    mass_share
        Share of all activation that they carry.
    n_active, d_sae
        Concepts that are active at all, and concepts in all.
    edges, counts
        (b + 1,) and (b,): histogram of log10 of the mean activation of the active ones.
    density
        (b,) the smoothed counts in which modes were looked for.
    """

    threshold: float
    default: float
    noisy_above: float
    lower_mode: float | None
    upper_mode: float | None
    concept_ids: NDArray[np.int64]
    mass_share: float
    n_active: int
    d_sae: int
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    density: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.concept_ids)


def find_focus(
    mean_activation: NDArray[np.float64],
    mass_share: NDArray[np.float64],
    threshold: float | None = None,
    noisy_above: float | None = None,
) -> Focus:
    """Choose the concepts of the upper mode, or those above a threshold.

    Parameters
    ----------
    mean_activation
        (d_sae,) mean over the images where the concept is active; 0 where it never is.
    mass_share
        (d_sae,) share of all activation.
    threshold
        Mean activation; the valley between the modes without it, 0 where there is but one mode.
    noisy_above
        Mean activation above which a concept counts as noisy; 1.5 standard deviations above the
        middle of the upper mode without it.
    """
    active = mean_activation > 0
    logs = np.log10(mean_activation[active])
    edges, counts, density = _histogram(logs)
    lower, valley, upper = _modes(edges, density)
    default = 0.0 if valley is None else 10**valley
    chosen = default if threshold is None else max(0.0, float(threshold))
    kept = np.flatnonzero(active & (mean_activation > chosen))
    if noisy_above is None:
        heap = logs[logs > (-np.inf if valley is None else valley)]
        noisy_above = _upper_end(heap) if len(heap) else np.inf
    return Focus(
        threshold=chosen,
        default=default,
        noisy_above=float(noisy_above),
        lower_mode=None if lower is None else 10**lower,
        upper_mode=None if upper is None else 10**upper,
        concept_ids=kept,
        mass_share=float(mass_share[kept].sum()),
        n_active=int(active.sum()),
        d_sae=len(mean_activation),
        edges=edges,
        counts=counts,
        density=density,
    )


def _histogram(
    logs: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    if not len(logs):
        return np.array([0.0, _BIN]), np.zeros(1, np.int64), np.zeros(1)
    first, last = np.floor(logs.min() / _BIN) - 2, np.ceil(logs.max() / _BIN) + 2
    edges = np.arange(first, last + 1) * _BIN
    counts, _ = np.histogram(logs, edges)
    density = gaussian_filter1d(counts.astype(np.float64), _SMOOTHING / _BIN, mode="constant")
    return edges, counts.astype(np.int64), density


def _modes(
    edges: NDArray[np.float64], density: NDArray[np.float64]
) -> tuple[float | None, float | None, float | None]:
    """Find the tops of the two clearest heaps and the lowest point between, in decades."""
    middles = (edges[:-1] + edges[1:]) / 2
    # On a logarithmic scale a heap of hundreds shows beside one of ten thousands; half a concept
    # keeps single stragglers from being heaps.
    height = np.log(density + 0.5)
    padded = np.concatenate([[height.min()], height, [height.min()]])
    tops, about = find_peaks(padded, prominence=_LEAST_VALLEY)
    if len(tops) < 2:
        return None, None, None
    chosen = np.sort(tops[np.argsort(-about["prominences"], kind="stable")[:2]]) - 1
    between = slice(chosen[0], chosen[1] + 1)
    lowest = np.flatnonzero(density[between] == density[between].min())
    valley = int(chosen[0] + lowest[len(lowest) // 2])
    return float(middles[chosen[0]]), float(middles[valley]), float(middles[chosen[1]])


def _upper_end(logs: NDArray[np.float64]) -> float:
    """Give the end of a heap: its median and 1.5 robust standard deviations."""
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    return float(10 ** (middle + _NOISY_SPREADS * spread))
