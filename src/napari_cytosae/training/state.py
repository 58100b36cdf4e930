"""A training at a step: everything that the next step depends on but the tokens."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_cytosae.errors import TrainingError
from napari_cytosae.models.device import resolve_precision
from napari_cytosae.training.adam import Adam
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.gradients import Gradients
from napari_cytosae.training.processes import Processes
from napari_cytosae.training.sums import describe_step
from napari_cytosae.training.trained import Record
from napari_cytosae.training.weights import NAMES, SaeWeights


@dataclass(slots=True, eq=False)
class TrainingState:
    """Parameters, optimiser and counters; identical in all processes.

    The order of the tokens is a function of the seed and of the step, so no random state is needed
    beside them.

    Parameters
    ----------
    weights
        Float32.
    adam
        Their moments.
    silent_for
        (d_sae,) int32: steps since a concept was last active.
    step
        Steps done.
    """

    weights: SaeWeights
    adam: Adam
    silent_for: Tensor
    step: int = 0

    @classmethod
    def begin(cls, weights: SaeWeights) -> "TrainingState":
        """Begin with some weights."""
        return cls(
            weights,
            Adam.over(weights),
            torch.zeros(weights.d_sae, dtype=torch.int32, device=weights.device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Give all tensors by name."""
        parts = {"": self.weights, "mean.": self.adam.mean, "square.": self.adam.square}
        named = {
            prefix + name: tensor
            for prefix, part in parts.items()
            for name, tensor in zip(NAMES, part.tensors(), strict=True)
        }
        return {**named, "silent_for": self.silent_for}


class Stepper:
    """Takes training steps.

    Parameters
    ----------
    state
        Changed in place.
    config
        The recipe.
    processes
        With which others.
    """

    def __init__(
        self, state: TrainingState, config: SaeTrainingConfig, processes: Processes
    ) -> None:
        self.state = state
        self.config = config
        self.processes = processes
        precision = resolve_precision(config.precision, state.weights.device)
        self._gradients = Gradients(state.weights, config, getattr(torch, precision), processes)

    def take(self, x: Tensor, stop: bool = False) -> tuple[Record, bool]:
        """Take one step.

        Parameters
        ----------
        x
            (n, d_model) float32: this process' part of the batch.
        stop
            Whether this process wants to stop after it.

        Returns
        -------
        record : dict
            Of the whole batch: see `TrainedSae.history`.
        stop : bool
            Whether any process wants to.

        Raises
        ------
        TrainingError
            The loss is no number.
        """
        state, config, processes = self.state, self.config, self.processes
        n_tokens = len(x) * processes.count
        dead = state.silent_for > config.dead_feature_window
        sums = self._gradients.compute(x, dead, n_tokens)
        gradient = self._gradients.gradient
        joined = torch.cat([sums.joined(), sums.mse.new_tensor([float(stop)])])
        processes.add(*gradient.tensors(), sums.fired, joined)
        numbers = describe_step(
            joined[:-1], n_tokens, config.l1 if config.activation == "relu" else 0.0
        )
        if not all(map(math.isfinite, numbers.values())):
            raise TrainingError(
                f"The loss is no number at step {state.step + 1}: there are tokens that are all "
                "zeros or not finite, or the learning rate is too high."
            )
        rate = config.learning_rate(state.step)
        state.adam.update(state.weights, gradient, state.step, rate)
        state.silent_for.add_(1).masked_fill_(sums.fired > 0, 0)
        state.step += 1
        silent = (state.silent_for > config.dead_feature_window).sum()
        record: Record = {
            "step": state.step,
            **numbers,
            "dead": float(silent) / len(state.silent_for),
            "lr": rate,
        }
        return record, bool(joined[-1])
