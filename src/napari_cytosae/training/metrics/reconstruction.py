"""How well tokens are rebuilt."""

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import TrainingError


class ReconstructionSums:
    """Sums over batches of tokens `x` and what was rebuilt of them, `x̂`; float64, no tokens kept."""

    def __init__(self, d_model: int) -> None:
        self.tokens = 0
        self._sum = np.zeros(d_model)
        self._square = 0.0
        self._error = 0.0
        self._ratio = 0.0
        self._nonzero = 0
        self._cosine = 0.0
        self._cosines = 0

    def add(self, x: NDArray[np.float32], x_hat: NDArray[np.float32]) -> None:
        """Add (n, d_model) tokens and their reconstruction."""
        x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
        error = ((x - x_hat) ** 2).sum(1)
        square = (x**2).sum(1)
        if not np.isfinite(error).all():
            raise TrainingError(
                "The tokens or their reconstruction hold values that are no numbers."
            )
        self.tokens += len(x)
        self._sum += x.sum(0)
        self._square += float(square.sum())
        self._error += float(error.sum())
        there = square > 0
        self._ratio += float((error[there] / square[there]).sum())
        self._nonzero += int(there.sum())

    def add_class_tokens(self, x: NDArray[np.float32], x_hat: NDArray[np.float32]) -> None:
        """Add (n, d_model) class tokens for `class_token_cosine`."""
        x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(x_hat, axis=1)
        there = lengths > 0
        self._cosine += float(((x * x_hat).sum(1)[there] / lengths[there]).sum())
        self._cosines += len(x)

    @property
    def explained_variance(self) -> float:
        """Centred explained variance, ``1 − Σ‖x − x̂‖² / Σ‖x − x̄‖²`` with x̄ the mean token.

        The share of the tokens' variance that is kept; 1 minus the "normalised MSE" of Gao et al.
        2024, "Scaling and evaluating sparse autoencoders", section 2.1. NaN where all tokens are
        the same.
        """
        total = self._square - float((self._sum**2).sum()) / max(self.tokens, 1)
        # What is left of two equal sums by rounding is no variance.
        return 1 - self._error / total if total > 1e-12 * self._square else float("nan")

    @property
    def explained_variance_uncentred(self) -> float:
        """Upstream's explained variance: the mean over tokens of ``1 − ‖x − x̂‖² / ‖x‖²``.

        As the CytoSAE training code logs it. Not centred: an autoencoder that returns the mean
        token for every token comes out high where tokens have a large mean, as those of a ViT do.
        """
        return 1 - self.normalised_mse

    @property
    def normalised_mse(self) -> float:
        """Mean over tokens of ``‖x − x̂‖² / ‖x‖²``.

        ``normalized_mean_squared_error`` of the code to Gao et al. 2024. Tokens that are zero are
        left out.
        """
        return self._ratio / self._nonzero if self._nonzero else float("nan")

    @property
    def class_token_cosine(self) -> float:
        """Mean cosine of class tokens to their reconstruction; a zero vector counts as 0.

        The measure with which PatchSAE (Lim et al. 2024, "Sparse autoencoders reveal selective
        remapping of visual concepts during adaptation") and CytoSAE compare tokens.
        """
        return self._cosine / self._cosines if self._cosines else float("nan")
