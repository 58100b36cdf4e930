"""Where tokens come from."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@runtime_checkable
class TokenSource(Protocol):
    """Images whose tokens can be read, a few at a time, in any order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, tokens per image, d_model)."""

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Images that lie together, shard by shard: reading them together is cheap."""

    @property
    def identity(self) -> str:
        """What the tokens are known by: the same for the same tokens, wherever they lie."""

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Read the tokens of some images.

        Parameters
        ----------
        images
            (n,) rising rows.

        Returns
        -------
        (n, tokens per image, d_model), float16 or float32, on the processor.
        """


class TensorTokens:
    """Tokens that are in memory.

    Parameters
    ----------
    tokens
        (images, tokens, d_model), or (n, d_model) plain tokens, each an image of its own.
    """

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens if tokens.ndim == 3 else tokens[:, None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, tokens per image, d_model)."""
        images, tokens, d_model = self.tokens.shape
        return images, tokens, d_model

    @property
    def shard_sizes(self) -> Sequence[int]:
        """All lie together."""
        return (len(self.tokens),)

    @property
    def identity(self) -> str:
        """Their shape, and a sample of their values."""
        rows = np.linspace(0, len(self.tokens) - 1, min(64, len(self.tokens))).astype(np.int64)
        sample = self.tokens[torch.from_numpy(rows)].double()
        return f"tensor {tuple(self.tokens.shape)} {float(sample.sum())!r} {float(sample.std())!r}"

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Read the tokens of some images."""
        return self.tokens[torch.from_numpy(images)]
