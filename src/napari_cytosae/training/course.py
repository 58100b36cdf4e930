"""A training under way: what takes the steps, whoever's code they are."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from napari_cytosae.models.sae import SparseAutoencoder
from napari_cytosae.training.checkpoint import load_checkpoint
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.folder import TrainingFolder
from napari_cytosae.training.initialise import initial_sae
from napari_cytosae.training.processes import Processes
from napari_cytosae.training.state import Stepper, TrainingState
from napari_cytosae.training.threshold import set_threshold
from napari_cytosae.training.tokens.batches import Batches, GivenBatches
from napari_cytosae.training.trained import Record
from napari_cytosae.training.weights import SaeWeights


class Course(Protocol):
    """A training that steps are taken of."""

    @property
    def step(self) -> int:
        """Steps done."""

    def take(self, x: Tensor, stop: bool) -> tuple[Record, bool]:
        """Take a step; see `Stepper.take`."""

    def save(self, folder: TrainingFolder) -> None:
        """Write a checkpoint into the training's folder."""

    def to_sae(self, coming: Iterator[Tensor], last: Tensor | None) -> SparseAutoencoder:
        """Make the autoencoder that it has come to, on the processor.

        Parameters
        ----------
        coming
            The batches after the last step.
        last
            The last step's batch, where one was taken.
        """


class OwnCourse:
    """A training by the CytoSAE recipe.

    Parameters
    ----------
    batches
        What it is trained on.
    config
        The recipe.
    block
        The backbone's block that the tokens come from.
    identity
        What the tokens are known by.
    processes
        With which others.
    device
        Where it computes.
    folder
        Holds the checkpoint to go on from, if there is one.
    """

    def __init__(
        self,
        batches: Batches | GivenBatches,
        config: SaeTrainingConfig,
        block: int,
        identity: str,
        processes: Processes,
        device: torch.device,
        folder: TrainingFolder | None,
    ) -> None:
        self._config, self._block, self._identity = config, block, identity
        self._processes, self._device = processes, device
        # A caller's own batches may not be many; a source's can be read on.
        self._further = 1 if isinstance(batches, GivenBatches) else 64
        if folder is not None and folder.checkpoint.exists():
            self._state = load_checkpoint(folder.checkpoint, config, identity, device)
        else:
            self._state = _begin(batches, config, block, processes, device)
        self._stepper = Stepper(self._state, config, processes)

    @property
    def step(self) -> int:
        """See `Course`."""
        return self._state.step

    def take(self, x: Tensor, stop: bool) -> tuple[Record, bool]:
        """See `Course`."""
        return self._stepper.take(x, stop)

    def save(self, folder: TrainingFolder) -> None:
        """See `Course`."""
        folder.save(self._state, self._config, self._identity)

    def to_sae(self, coming: Iterator[Tensor], last: Tensor | None) -> SparseAutoencoder:
        """See `Course`."""
        sae = self._state.weights.to_sae(self._block)
        set_threshold(sae, self._config, coming, self._further, last, self._processes, self._device)
        return sae


def _begin(
    batches: Batches | GivenBatches,
    config: SaeTrainingConfig,
    block: int,
    processes: Processes,
    device: torch.device,
) -> TrainingState:
    """Draw the weights in the first process, and give them to all."""
    d_sae = config.concepts(batches.d_model)
    if processes.first:
        weights = SaeWeights.of(initial_sae(batches.first_images(), config, block), device)
    else:
        weights = SaeWeights.empty(batches.d_model, d_sae, device)
    processes.take_from_first(*weights.tensors())
    return TrainingState.begin(weights)
