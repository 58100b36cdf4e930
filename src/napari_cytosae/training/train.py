"""Train a sparse autoencoder on tokens."""

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import Tensor

from napari_cytosae.errors import Cancelled
from napari_cytosae.models.device import resolve_device
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.course import Course, OwnCourse
from napari_cytosae.training.folder import TrainingFolder
from napari_cytosae.training.processes import joined_processes
from napari_cytosae.training.saelens import SaeLensCourse
from napari_cytosae.training.tokens.batches import Batches, GivenBatches, moved
from napari_cytosae.training.tokens.sources import TensorTokens, TokenSource
from napari_cytosae.training.trained import Record, TrainedSae

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
        d_model = batches.d_model
        kept = None if out is None else TrainingFolder(out)
        course: Course
        if config.saelens is None:
            course = OwnCourse(batches, config, block, identity, processes, where, kept)
        else:
            course = SaeLensCourse(batches, config, block, processes, where, kept)
        history = [] if folder is None else folder.begin_log(course.step)
        coming = stack.enter_context(closing(batches.after(course.step)))
        saved, stop, x = course.step, False, None
        while course.step < config.steps and not stop:
            x = moved(next(coming), where).reshape(-1, d_model)
            record, stop = course.take(x, cancelled())
            history.append(record)
            if folder is not None:
                folder.log(record)
            if progress is not None:
                progress(record)
            due = stop or course.step == config.steps or course.step - saved >= checkpoint_every
            if folder is not None and due:
                course.save(folder)
                saved = course.step
        if course.step < config.steps:
            where_kept = (
                "" if out is None else f" {out} holds it; it goes on from there with resume."
            )
            raise Cancelled(f"The training was stopped after {course.step:,} steps.{where_kept}")
        trained = TrainedSae(course.to_sae(coming, x), config, tuple(history))
        if folder is not None:
            trained.save(folder.path)
        processes.wait()
    return trained


def _own_device(device: str) -> torch.device:
    """Give each process of a machine its own GPU."""
    where = resolve_device(device)
    if where.type == "cuda" and where.index is None and "LOCAL_RANK" in os.environ:
        where = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(where)
    return where
