"""The processes that train together, one per GPU or processor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from napari_cytosae.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Processes:
    """One of the processes that train an autoencoder, each on its share of every batch.

    Parameters
    ----------
    rank
        Which one this is; the first, 0, decides and writes.
    count
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, size: int, what: str) -> int:
        """Give this process' part of a batch.

        Raises
        ------
        TrainingError
            The batch cannot be divided.
        """
        if size % self.count:
            raise TrainingError(
                f"{what} is {size}, which {self.count} processes cannot share evenly; make it a "
                f"multiple of {self.count}."
            )
        return size // self.count

    def add(self, *tensors: Tensor) -> None:
        """Add up tensors over all processes, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def gather(self, tensor: Tensor) -> Tensor:
        """Put the tensors of all processes, of one length, one after another."""
        if self.count == 1:
            return tensor
        # gloo knows no bfloat16.
        parts = [torch.empty_like(tensor, dtype=torch.float32) for _ in range(self.count)]
        dist.all_gather(parts, tensor.float())
        return torch.cat(parts).to(tensor.dtype)

    def take_from_first(self, *tensors: Tensor) -> None:
        """Overwrite tensors, in place, with those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            dist.barrier()


ALONE: Final = Processes()
"""The only process there is."""


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, or stay alone where it did not.

    A process group that exists already is used, and left as it is.

    Parameters
    ----------
    device
        CUDA talks over nccl, everything else over gloo.

    Raises
    ------
    TrainingError
        The others do not answer.
    """
    if not dist.is_available():
        yield ALONE
        return
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"The other processes cannot be reached ({error}). Start all of them with torchrun."
        ) from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
