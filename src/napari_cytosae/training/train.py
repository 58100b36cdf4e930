"""Train a sparse autoencoder on tokens."""

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import Tensor

from napari_cytosae.errors import Cancelled
from napari_cytosae.models.device import resolve_device
from napari_cytosae.training.checkpoint import load_checkpoint
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.folder import TrainingFolder
from napari_cytosae.training.initialise import initial_sae
from napari_cytosae.training.processes import Processes, joined_processes
from napari_cytosae.training.state import Stepper, TrainingState
from napari_cytosae.training.threshold import set_threshold
from napari_cytosae.training.tokens.batches import Batches, GivenBatches
from napari_cytosae.training.tokens.sources import TensorTokens, TokenSource
from napari_cytosae.training.trained import Record, TrainedSae
from napari_cytosae.training.weights import SaeWeights

CHECKPOINT_EVERY = 200
"""Steps between two checkpoints."""


def train_sae(
    tokens: Tensor | TokenSource | Iterable[Tensor],
    config: SaeTrainingConfig | None = None,
    *,
    block: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    checkpoint_every: int = CHECKPOINT_EVERY,
    tensorboard: bool = False,
    progress: Callable[[Record], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainedSae:
    """Train a sparse autoencoder by the CytoSAE recipe, or a variation of it.

    Under ``torchrun``, each process calls this with the same arguments and trains on its share of
    every batch; the first one writes.

    Parameters
    ----------
    tokens
        A token store; (n, d_model) tokens or (n, tokens, d_model) images in memory; or an iterable
        of batches of either, whose own sizes then count, and which has to give the same batches
        again where a training is resumed.
    config
        The recipe; the paper's where None.
    block
        The backbone's block after which the tokens were read; a token store knows it. Where
        nobody does, −2.
    out
        Folder that gets checkpoints, ``log.jsonl`` and the autoencoder. Without it nothing is
        written.
    resume
        Go on with the training that `out` holds, or begin where it holds none.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    checkpoint_every
        Steps between two checkpoints: what a kill costs at most.
    tensorboard
        Also write events for TensorBoard, which has to be installed.
    progress
        Called with the record of each step; see `TrainedSae.history`.
    cancelled
        Asked at each step. What was done is kept in `out`.

    Returns
    -------
    TrainedSae
        The same in every process.

    Raises
    ------
    TrainingError
        There are no tokens, or not enough; or `out` holds another training; or the loss is no
        number.
    Cancelled
        When `cancelled` says so.
    RunError
        `out` cannot be written to.
    """
    config = config or SaeTrainingConfig()
    source = TensorTokens(tokens) if isinstance(tokens, Tensor) else tokens
    identity = source.identity if isinstance(source, TokenSource) else "batches"
    own = getattr(source, "block", None)
    if block is None:
        block = own if isinstance(own, int) else -2
    where = _own_device(device)
    with ExitStack() as stack:
        processes = stack.enter_context(joined_processes(where))
        folder = None
        if out is not None and processes.first:
            folder = stack.enter_context(TrainingFolder(out, tensorboard))
            store = getattr(source, "path", None)
            folder.claim(
                config, block, identity, resume, store if isinstance(store, Path) else None
            )
        processes.wait()
        if isinstance(source, TokenSource):
            batches: Batches | GivenBatches = Batches(source, config, processes)
        else:
            batches = GivenBatches(source)
        path = None if out is None else TrainingFolder(out).checkpoint
        if path is not None and path.exists():
            state = load_checkpoint(path, config, identity, where)
        else:
            state = _begin(batches, config, block, processes, where)
        history = [] if folder is None else folder.begin_log(state.step)
        stepper = Stepper(state, config, processes)
        coming = stack.enter_context(closing(batches.after(state.step)))
        saved, stop, x = state.step, False, None
        while state.step < config.steps and not stop:
            x = next(coming).to(where).reshape(-1, state.weights.d_model)
            record, stop = stepper.take(x, cancelled())
            history.append(record)
            if folder is not None:
                folder.log(record)
            if progress is not None:
                progress(record)
            due = stop or state.step == config.steps or state.step - saved >= checkpoint_every
            if folder is not None and due:
                folder.save(state, config, identity)
                saved = state.step
        if state.step < config.steps:
            kept = "" if out is None else f" {out} holds it; it goes on from there with resume."
            raise Cancelled(f"The training was stopped after {state.step:,} steps.{kept}")
        sae = state.weights.to_sae(block)
        # A caller's own batches may not be many; a source's can be read on.
        further = 1 if isinstance(batches, GivenBatches) else 64
        set_threshold(sae, config, coming, further, x, processes, where)
        trained = TrainedSae(sae, config, tuple(history))
        if folder is not None:
            trained.save(folder.path)
        processes.wait()
    return trained


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


def _own_device(device: str) -> torch.device:
    """Give each process of a machine its own GPU."""
    where = resolve_device(device)
    if where.type == "cuda" and where.index is None and "LOCAL_RANK" in os.environ:
        where = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(where)
    return where
