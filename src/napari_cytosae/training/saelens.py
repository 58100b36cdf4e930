"""Trainings of other architectures, by SAELens.

JumpReLU, gated and Matryoshka autoencoders have losses of their own. SAELens has them, tested and
followed by its authors, so it takes the steps here; tokens, order, log, checkpoints and what comes
of it are as in any other training.
"""

import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from napari_cytosae.concepts.durable import explain_write_error
from napari_cytosae.errors import TrainingError
from napari_cytosae.models import SparseAutoencoder, load_sae
from napari_cytosae.training.config import TOKENS_PER_IMAGE, SaeTrainingConfig
from napari_cytosae.training.folder import TrainingFolder
from napari_cytosae.training.processes import Processes
from napari_cytosae.training.tokens.batches import Batches, GivenBatches
from napari_cytosae.training.trained import Record

if TYPE_CHECKING:
    from sae_lens.training.sae_trainer import SAETrainer

CHECKPOINTS: Final = "saelens"
# What follows from the tokens and the recipe, or that a bundle could not keep.
_NOT_FOR_USERS: Final = (
    "d_in", "d_sae", "device", "dtype", "metadata", "reshape_activations", "apply_b_dec_to_input",
)  # fmt: skip
# SAELens' weights of sparsity are meant for tokens whose mean norm is √d.
_NORMALISED: Final = "expected_average_only_in"


class SaeLensCourse:
    """A training whose steps SAELens takes, with its own loss.

    Of the recipe, the width, learning rate, warm-up, steps, batches, seed and the window after
    which a concept counts as silent hold; the rest is ``config.saelens``.

    Parameters
    ----------
    batches
        What it is trained on.
    config
        The recipe, whose `saelens` is given.
    block
        The backbone's block that the tokens come from.
    processes
        There can be only one.
    device
        Where it computes.
    folder
        Holds the checkpoint to go on from, if there is one.

    Raises
    ------
    TrainingError
        SAELens is not installed, does not know a setting, or there are several processes.
    """

    def __init__(
        self,
        batches: Batches | GivenBatches,
        config: SaeTrainingConfig,
        block: int,
        processes: Processes,
        device: torch.device,
        folder: TrainingFolder | None,
    ) -> None:
        assert config.saelens is not None
        if processes.count > 1:
            raise TrainingError(
                "SAELens trains in one process; start the training without torchrun."
            )
        self._config, self._block = config, block
        d_sae = config.concepts(batches.d_model)
        with _quiet():
            self._trainer = _trainer(config, batches.d_model, d_sae, device)
            kept = None if folder is None else _newest(folder.path / CHECKPOINTS)
            if kept is not None:
                self._load(kept)
            elif self._trainer.sae.cfg.normalize_activations == _NORMALISED:
                self._trainer.activation_scaler.estimate_scaling_factor(
                    batches.d_model,
                    iter([batches.first_images().reshape(-1, batches.d_model)]),
                    n_batches_for_norm_estimate=1,
                )

    @property
    def step(self) -> int:
        """See `Course`."""
        return int(self._trainer.n_training_steps)

    def take(self, x: Tensor, stop: bool) -> tuple[Record, bool]:
        """See `Course`; ``l1`` is all of the loss but the reconstruction's part."""
        trainer = self._trainer
        rate = float(trainer.optimizer.param_groups[0]["lr"])
        trainer.cfg.train_batch_size_samples = len(x)
        trainer.maybe_reset_sparsity()
        with _quiet():
            out = trainer.step(x)
        trainer.n_training_steps += 1
        with torch.no_grad():
            loss, mse = float(out.loss), float(out.losses["mse_loss"])
            error = (out.sae_in - out.sae_out).square().sum()
            spread = (out.sae_in - out.sae_in.mean(0)).square().sum()
            active = (out.feature_acts > 0).sum() / len(x)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is no number at step {self.step}: there are tokens that are not finite, "
                "or the learning rate is too high."
            )
        record: Record = {
            "step": self.step,
            "loss": loss,
            "mse": mse,
            "l1": loss - mse,
            "ghost": 0.0,
            "l0": float(active),
            "explained_variance": float(1 - error / spread) if spread > 0 else 0.0,
            "dead": float(trainer.dead_neurons.float().mean()),
            "lr": rate,
        }
        return record, stop

    def save(self, folder: TrainingFolder) -> None:
        """See `Course`."""
        folder.flush()
        home = folder.path / CHECKPOINTS
        target, fresh = home / f"{self.step:09d}", home / "new"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            with _quiet():
                self._trainer.sae.save_model(fresh)
                self._trainer.save_trainer_state(fresh)
            shutil.rmtree(target, ignore_errors=True)
            fresh.replace(target)
            for old in home.iterdir():
                if old.name < target.name:
                    shutil.rmtree(old)
        except OSError as error:
            raise explain_write_error(error, target) from error

    def to_sae(self, coming: Iterator[Tensor], last: Tensor | None) -> SparseAutoencoder:
        """See `Course`."""
        del coming, last
        trainer = self._trainer
        # What follows changes the weights, and a training may be gone on with.
        weights = {name: value.clone() for name, value in trainer.sae.state_dict().items()}
        if trainer.activation_scaler.scaling_factor is not None:
            trainer.sae.fold_activation_norm_scaling_factor(
                trainer.activation_scaler.scaling_factor
            )
        trainer.sae.fold_W_dec_norm()
        with tempfile.TemporaryDirectory() as folder, _quiet():
            trainer.sae.save_inference_model(folder)
            sae = load_sae(folder, self._block)
        trainer.sae.load_state_dict(weights)
        return sae

    def _load(self, folder: Path) -> None:
        self._trainer.sae.load_weights_from_checkpoint(folder)
        try:
            self._trainer.load_trainer_state(folder)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"The checkpoint {folder} cannot be read: {error}.") from error


def _trainer(
    config: SaeTrainingConfig, d_model: int, d_sae: int, device: torch.device
) -> "SAETrainer[Any, Any]":
    try:
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.registry import get_sae_training_class
        from sae_lens.training.sae_trainer import SAETrainer
    except ImportError as error:
        raise TrainingError(
            "This architecture is SAELens'. Install it with: pip install 'napari-cytosae[saelens]'"
        ) from error
    assert config.saelens is not None
    options: Mapping[str, Any] = {"normalize_activations": _NORMALISED, **config.saelens}
    architecture = options["architecture"]
    sae_class, config_class = get_sae_training_class(architecture)
    names = [field.name for field in fields(config_class) if field.name not in _NOT_FOR_USERS]
    given = {name: value for name, value in options.items() if name != "architecture"}
    if unknown := sorted(set(given) - set(names)):
        raise TrainingError(
            f"SAELens' {architecture} has no setting {', '.join(unknown)}; there are "
            f"{', '.join(sorted(names))}."
        )
    own = {"d_in": d_model, "d_sae": d_sae, "device": str(device), "dtype": "float32"}
    per_image = 1 if config.class_token_only else TOKENS_PER_IMAGE
    batch = config.batch_tokens or (config.batch_images or 1) * per_image
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            sae = sae_class(config_class(**own, **given))
        except (TypeError, ValueError) as error:
            raise TrainingError(f"SAELens refuses the settings: {error}.") from error
    return SAETrainer(
        SAETrainerConfig(
            total_training_samples=config.steps * batch,
            train_batch_size_samples=batch,
            lr=config.lr,
            lr_end=config.lr,
            lr_warm_up_steps=config.warmup_steps,
            dead_feature_window=config.dead_feature_window,
            device=str(device),
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae.to(device),
        iter(()),
    )


def _newest(home: Path) -> Path | None:
    kept = sorted(path for path in home.glob("[0-9]*") if path.is_dir())
    return kept[-1] if kept else None


class _quiet(warnings.catch_warnings):
    """Keep SAELens' and its libraries' own warnings from users, who can do nothing about them."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
