"""Batches of tokens, read ahead by a thread and shuffled in memory."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cytosae.concepts.prefetch import prefetch
from napari_cytosae.errors import TrainingError
from napari_cytosae.training.config import TOKENS_PER_IMAGE, SaeTrainingConfig
from napari_cytosae.training.processes import ALONE, Processes
from napari_cytosae.training.tokens.order import Pool, pools
from napari_cytosae.training.tokens.sources import TensorTokens, TokenSource

_IMAGES_AT_ONCE = 32
# Of tokens that are in memory already, a copy in the order of use is made this many at a time.
_ITEMS_AT_ONCE = 16_384


def moved(batch: Tensor, device: torch.device) -> Tensor:
    """Bring a batch to a device, as float32.

    Stored tokens are float16: they travel as such, half the bytes, and become float32 there. To CUDA
    they go from pinned memory, so that the next batch is cut meanwhile.
    """
    if device.type == "cpu" or batch.dtype not in (torch.float16, torch.bfloat16):
        batch = batch.float()  # float64, too, which Apple's GPUs do not know
    if device.type == "cuda" and batch.device.type == "cpu":
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=device.type == "cuda").float()


class Batches:
    """Cuts a source's tokens into the batches of a training.

    Of a source on disk at most three pools are in memory: one in use, one that is ready, one that
    is being read.

    Parameters
    ----------
    source
        The tokens.
    config
        Its batch, seed, pool and `class_token_only`.
    processes
        Each gets its share of every batch; only that is read.

    Raises
    ------
    TrainingError
        There are no images, plain tokens are to be taken by images, or the processes cannot share
        a batch.
    """

    def __init__(
        self, source: TokenSource, config: SaeTrainingConfig, processes: Processes = ALONE
    ) -> None:
        images, tokens, _ = source.shape
        if not images or not tokens:
            raise TrainingError("There are no tokens to train on.")
        if config.batch_images is not None and tokens == 1 and not config.class_token_only:
            raise TrainingError(
                "Plain tokens have no images: give batch_tokens instead of batch_images."
            )
        self._source = source
        self._config = config
        self._whole = config.batch_tokens is None
        self._tokens = 1 if config.class_token_only else tokens
        size = config.batch_tokens or config.batch_images or 0
        own = processes.share(size, "batch_images" if self._whole else "batch_tokens")
        self._size, self._own = size, own
        self._share = slice(processes.rank * own, (processes.rank + 1) * own)
        # Plain tokens are images of one token.
        self._pool_images = config.shuffle_images * (TOKENS_PER_IMAGE if tokens == 1 else 1)

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return self._source.shape[2]

    def first_images(self) -> Tensor:
        """Read the first images of the training: (n, tokens, d_model) float32."""
        wanted = self._config.b_dec_images * (TOKENS_PER_IMAGE if self._source.shape[1] == 1 else 1)
        pool = next(self._pools(0))
        if self._whole:
            rows = pool.images[pool.order[:wanted]]
        else:
            rows = pool.images[
                np.random.default_rng(self._config.seed).permutation(len(pool.images))
            ]
        return self._read(np.sort(rows[:wanted])).float()

    def after(self, step: int) -> Generator[Tensor, None, None]:
        """Give this process' part of the batches that follow a number of steps, without end.

        Yields
        ------
        (images, tokens, d_model) or (tokens, d_model), in the source's type; see `moved`.
        """
        left: list[Tensor] = []
        with closing(prefetch(self._pieces(step * self._size), self._load, 1)) as loaded:
            for items in loaded:
                left.append(items)
                while sum(map(len, left)) >= self._own:
                    yield self._cut(left)

    def _pieces(self, start: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give pools' images, and the items of them that this process uses, in their order."""
        for pool in self._pools(start):
            items = pool.part(start, self._size, self._share)
            step = _ITEMS_AT_ONCE if isinstance(self._source, TensorTokens) else max(len(items), 1)
            for first in range(0, len(items), step):
                yield pool.images, items[first : first + step]

    def _pools(self, start: int) -> Iterator[Pool]:
        return pools(
            self._source.shard_sizes,
            1 if self._whole else self._tokens,
            self._pool_images,
            self._config.seed,
            start,
        )

    def _cut(self, left: list[Tensor]) -> Tensor:
        """Take the next items off some tensors."""
        parts, missing = [], self._own
        while missing:
            part = left[0][:missing]
            parts.append(part)
            missing -= len(part)
            left[0] = left[0][len(part) :]
            if not len(left[0]):
                left.pop(0)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _load(self, piece: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Tensor:
        """Read items, and put them into the order in which they are used."""
        rows, items = piece
        images, tokens = (items, None) if self._whole else np.divmod(items, self._tokens)
        used, places = np.unique(rows[images], return_inverse=True)
        shape = (self._tokens, self._source.shape[2])
        loaded: Tensor | None = None
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(used) + 1))
        for first in range(0, len(used), _IMAGES_AT_ONCE):
            last = min(first + _IMAGES_AT_ONCE, len(used))
            read = self._read(used[first:last])
            if loaded is None:
                inner = shape if tokens is None else shape[1:]
                loaded = torch.empty((len(items), *inner), dtype=read.dtype)
            here = order[bounds[first] : bounds[last]]
            which = torch.from_numpy(places[here] - first)
            if tokens is None:
                loaded[torch.from_numpy(here)] = read[which]
            else:
                loaded[torch.from_numpy(here)] = read[which, torch.from_numpy(tokens[here])]
        return torch.empty(0) if loaded is None else loaded

    def _read(self, images: NDArray[np.int64]) -> Tensor:
        read = self._source.read(images)
        return read[:, :1] if self._config.class_token_only else read


class GivenBatches:
    """Batches that the caller made, each used as it is.

    Parameters
    ----------
    batches
        Each (n, d_model) tokens or (n, tokens, d_model) images. Gone through again when they end,
        where that is possible.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = batches
        self._again = not isinstance(batches, Iterator)
        self._stream = self._endless()
        self._peeked: Tensor | None = None

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return self._first().shape[-1]

    def first_images(self) -> Tensor:
        """Give the first batch: (n, tokens, d_model) float32, plain tokens as images of one."""
        first = self._first().float()
        return first if first.ndim == 3 else first[:, None]

    def after(self, step: int) -> Generator[Tensor, None, None]:
        """Leave out the first `step` batches, and give the others as they are."""
        if self._peeked is not None and step == 0:
            yield self._peeked
        skipped = step - (self._peeked is not None)
        for number, batch in enumerate(self._stream):
            if number >= skipped:
                yield batch

    def _first(self) -> Tensor:
        if self._peeked is None:
            self._peeked = next(self._stream)
        return self._peeked

    def _endless(self) -> Iterator[Tensor]:
        count = 0
        while True:
            before = count
            for batch in self._batches:
                count += 1
                yield torch.as_tensor(batch)
            if not self._again or count == before:
                raise TrainingError(
                    f"The tokens ended after {count} batches. Give an iterable that can be gone "
                    "through again, or ask for fewer steps."
                )
