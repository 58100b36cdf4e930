"""How many concepts are active, how often, and how strongly."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from napari_cytosae.errors import TrainingError

MEAN_ACTIVATIONS: Final = tuple(10.0**power for power in range(-6, 1))
"""The cuts at which the CytoSAE paper counts concepts: 10⁻⁶, 10⁻⁵ … 1."""


class ActivationSums:
    """Sums over images of their concepts' activations; memory grows with images, not with tokens.

    Parameters
    ----------
    d_sae
        Number of concepts.
    """

    def __init__(self, d_sae: int) -> None:
        self.d_sae = d_sae
        self.tokens = 0
        self.token_counts = np.zeros(d_sae, np.int64)
        """(d_sae,): tokens on which each concept is active."""
        self._profiles: list[csr_array] = []

    def add(self, activations: csr_array, images: int) -> None:
        """Add some images' activations, (images · tokens, d_sae), tokens of one image together."""
        rows, d_sae = activations.shape
        if d_sae != self.d_sae or images < 1 or rows % images:
            raise TrainingError(
                f"{rows} × {d_sae} activations are not those of {images} images and "
                f"{self.d_sae} concepts."
            )
        self.tokens += rows
        self.token_counts += np.bincount(activations.indices, minlength=d_sae)
        per_image = rows // images
        pick = csr_array(
            (
                np.full(rows, 1 / per_image, np.float32),
                np.arange(rows),
                np.arange(0, rows + 1, per_image),
            ),
            shape=(images, rows),
        )
        self._profiles.append(csr_array(pick @ activations))

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(part.shape[0] for part in self._profiles)

    @property
    def profiles(self) -> csr_array:
        """(images, d_sae): each concept's mean over the tokens of each image."""
        if not self._profiles:
            return csr_array((0, self.d_sae), dtype=np.float32)
        return csr_array(vstack(self._profiles))

    @property
    def l0_per_token(self) -> float:
        """Active concepts per token, mean over tokens: ``‖f‖₀`` of Bricken et al. 2023."""
        return float(self.token_counts.sum()) / self.tokens if self.tokens else float("nan")

    @property
    def l0_per_image(self) -> float:
        """Concepts that are active on any token of an image, mean over images."""
        images = self.images
        entries = sum(int((part.data > 0).sum()) for part in self._profiles)
        return entries / images if images else float("nan")

    @property
    def dead_share(self) -> float:
        """Share of concepts that are active on none of the tokens (Bricken et al. 2023).

        It falls with the number of tokens looked at: name it beside the figure.
        """
        return float((self.token_counts == 0).mean())

    def sparsity(self) -> NDArray[np.float64]:
        """Give the share of images on which each concept is active (upstream's ``sae_sparsity``)."""
        return self._active_images() / max(self.images, 1)

    def mean_activations(self) -> NDArray[np.float64]:
        """Give each concept's mean over the images on which it is active of its mean over tokens.

        Upstream's ``sae_mean_acts``; 0 for a concept that is active on no image, where upstream
        divides zero by zero.
        """
        sums = np.asarray(self.profiles.sum(0), np.float64).ravel()
        return sums / np.maximum(self._active_images(), 1)

    def concepts_above(self, cuts: tuple[float, ...] = MEAN_ACTIVATIONS) -> list[int]:
        """Count the concepts whose mean activation exceeds each cut (the paper's ablations)."""
        means = self.mean_activations()
        return [int((means > cut).sum()) for cut in cuts]

    def _active_images(self) -> NDArray[np.float64]:
        profiles = self.profiles
        return np.bincount(profiles.indices[profiles.data > 0], minlength=self.d_sae).astype(float)
