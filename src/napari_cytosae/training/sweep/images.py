"""Some of a source's images as a source of their own; arrays as sources."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cytosae.errors import TrainingError
from napari_cytosae.training.tokens.sources import TokenSource

Images: TypeAlias = "TokenSource | NDArray[Any] | Tensor"
"""Tokens of images: a token store, or an array (images, tokens, d_model), a memory map too."""

_IMAGES_AT_ONCE: Final = 8


class ArrayTokens:
    """Tokens in an array, which may be a memory map and larger than memory.

    Parameters
    ----------
    array
        (images, tokens, d_model), float16 or float32.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, tokens per image, d_model)."""
        images, tokens, d_model = self._array.shape
        return images, tokens, d_model

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Few images at a time, so that a training never reads the whole into memory."""
        images = self.shape[0]
        return [min(256, images - first) for first in range(0, images, 256)]

    @property
    def identity(self) -> str:
        """Their shape, and a digest of a few images."""
        rows = np.unique(np.linspace(0, self.shape[0] - 1, 32).round().astype(int))
        digest = hashlib.sha256(np.ascontiguousarray(self._array[rows]).tobytes()).hexdigest()
        return f"array {self.shape} {digest[:16]}"

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Read the tokens of some images."""
        return torch.from_numpy(np.array(self._array[images]))


class SomeImages:
    """Some of a source's images.

    Parameters
    ----------
    source
        All of them.
    rows
        Which; rising.
    """

    def __init__(self, source: TokenSource, rows: NDArray[np.int64]) -> None:
        self._source = source
        self._rows = rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, tokens per image, d_model)."""
        _, tokens, d_model = self._source.shape
        return len(self._rows), tokens, d_model

    @property
    def shard_sizes(self) -> Sequence[int]:
        """How many of each shard's images are among them."""
        ends = np.cumsum(self._source.shard_sizes)
        found = np.diff(np.searchsorted(self._rows, ends), prepend=0)
        return [int(size) for size in found if size]

    @property
    def identity(self) -> str:
        """The source's, and which of its images."""
        digest = hashlib.sha256(self._rows.astype("<i8").tobytes()).hexdigest()
        return f"{self._source.identity} some {digest[:16]}"

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Read the tokens of some images."""
        return self._source.read(self._rows[images])


def as_source(images: Images) -> TokenSource:
    """Take tokens as a source.

    Raises
    ------
    TrainingError
        They are not tokens of images, or there are none.
    """
    if isinstance(images, Tensor):
        images = images.numpy()
    shape = tuple(images.shape)
    if len(shape) != 3 or 0 in shape:
        raise TrainingError(f"Tokens of images are needed, (images, tokens, d_model), not {shape}.")
    return ArrayTokens(images) if isinstance(images, np.ndarray) else images


def token_batches(
    source: TokenSource, rows: NDArray[np.int64], only_class: bool = False
) -> Iterator[NDArray[np.float32]]:
    """Read images a few at a time: (n, tokens, d_model), or their class tokens alone."""
    for first in range(0, len(rows), _IMAGES_AT_ONCE):
        batch = source.read(rows[first : first + _IMAGES_AT_ONCE]).float().numpy()
        yield batch[:, :1] if only_class else batch


def split_images(
    images: int, held_out: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the images that are measured on, and leave the others to the training; both sorted.

    Raises
    ------
    TrainingError
        One of the two would be empty.
    """
    left = round(images * held_out)
    if not 0 < left < images:
        raise TrainingError(
            f"Of {images} images, a share of {held_out} cannot be held out: at least one is needed "
            "on each side."
        )
    order = np.random.default_rng(seed).permutation(images)
    return np.sort(order[left:]), np.sort(order[:left])
