"""A dictionary drawn at random, as wide and as sparse as the one that it is held against."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.cohorts.baselines.run_tokens import map_run_tokens
from napari_cytosae.cohorts.extraction.plan import Unit
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import Cancelled, CohortError, CytoSAEError
from napari_cytosae.models import Bundle, SparseAutoencoder

SAMPLE_CELLS = 2048
"""Cells, spread over the whole cohort, whose tokens the encoder is trained on."""
SAMPLE_TOKENS = 32
"""Tokens of each of them: 65,536 in all, 200 MB at a width of 768."""
WIDEST = 8192
"""Directions at most: 189 patients do not fill them, and training them takes minutes."""
L1 = 8e-5  # the recipe's

_CALIBRATED_ON = 4096  # tokens × 8,192 directions: 134 MB


@dataclass(frozen=True, slots=True)
class SampleOfUnit:
    """Draws some tokens of some cells of a piece of work, with a seed of its own.

    Parameters
    ----------
    n_cells
        Cells at most.
    seed
        Of the draw.
    """

    n_cells: int
    seed: int

    def __call__(
        self, unit: Unit, settings: ExtractionSettings, cancelled: Callable[[], bool]
    ) -> NDArray[np.float32] | str:
        """Give (n, d_model) tokens, or why there are none."""
        draw = np.random.default_rng([self.seed, unit.images[0]])
        try:
            run = Run(unit.folder)
            rows = np.sort(draw.permutation(len(run))[: self.n_cells])
            parts = [
                np.concatenate(
                    [cell[draw.permutation(len(cell))[:SAMPLE_TOKENS]] for cell in cells]
                )
                for _, cells in map_run_tokens(unit, run, settings, _as_array, rows, cancelled)
            ]
        except Cancelled:
            raise
        except CytoSAEError as error:
            return str(error)
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _as_array(_: Bundle, tokens: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tokens.float().cpu().numpy())


def draw_decoder(
    tokens: NDArray[np.float32],
    width: int,
    active_per_token: float,
    *,
    seed: int = 0,
    steps: int = 500,
    cancelled: Callable[[], bool] = lambda: False,
) -> SparseAutoencoder:
    """Draw a dictionary at random, train its encoder, and make it as sparse as is asked for.

    Its directions are never trained (Korznikov et al. 2026, "Sanity Checks for Sparse
    Autoencoders"). What is active is cut off at one height for all directions, so that as many are
    left at a token as the dictionary shows that it stands beside.

    Parameters
    ----------
    tokens
        (n, d_model) of the cohort's cells; diagnoses play no part.
    width
        Directions; `WIDEST` at most.
    active_per_token
        Directions that are to be active at a token, on average.
    seed, steps
        Of the draw and the training.
    cancelled
        Asked before each step.

    Raises
    ------
    CohortError
        Where there are no tokens, or some that are not numbers.
    Cancelled
        When `cancelled` says so.
    """
    from napari_cytosae.training.metrics import train_frozen_decoder

    if not tokens.size or not np.isfinite(tokens).all():
        raise CohortError("A random dictionary needs tokens that are finite numbers.")
    sae = train_frozen_decoder(
        tokens, min(width, WIDEST), l1=L1, steps=steps, seed=seed, cancelled=cancelled
    )
    some = tokens[np.linspace(0, len(tokens) - 1, min(len(tokens), _CALIBRATED_ON)).astype(int)]
    values = np.asarray(sae.encode(torch.from_numpy(some)).detach().numpy()).ravel()
    n_active = min(max(round(active_per_token * len(some)), 1), len(values) - 1)
    cut = float(np.partition(values, len(values) - n_active - 1)[len(values) - n_active - 1])
    sae.threshold = torch.full((sae.d_sae,), max(cut, 0.0))
    return sae
