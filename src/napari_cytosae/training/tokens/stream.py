"""Tokens made while the training asks for them, without a store."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cytosae.errors import TrainingError
from napari_cytosae.models import Bundle
from napari_cytosae.training.config import TOKENS_PER_IMAGE
from napari_cytosae.training.tokens.crops import CropOptions, CropReader, Skipped, plan_crops
from napari_cytosae.training.tokens.extract import SHARD_IMAGES, listed_images, nothing_to_use
from napari_cytosae.training.tokens.images import LabelledImage
from napari_cytosae.training.tokens.model import TokenModel


class StreamedTokens:
    """Tokens of images, made anew with every pass over them.

    Where a training passes over its images once, or the disk is small, this does without a store.
    An image that cannot be read is replaced by the next one that can.

    Parameters
    ----------
    images
        See `gather_images`.
    model
        A bundle, its name or folder, or a backbone alone; see `TokenModel`.
    options
        How crops are cut from images.
    device, precision
        Where and in which precision the backbone runs.
    batch_images
        Crops per forward pass.
    progress
        Called with images looked through, and all.
    cancelled
        Asked while images are looked through.

    Raises
    ------
    TrainingError
        There are no images that can be read.
    """

    def __init__(
        self,
        images: Iterable[str | Path | LabelledImage],
        model: str | Path | Bundle | TokenModel,
        *,
        options: CropOptions | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_images: int = 16,
        progress: Callable[[int, int], None] = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        whole = model if isinstance(model, TokenModel) else TokenModel.of(model)
        self.model = whole.to(device, precision)
        plan = plan_crops(
            listed_images(images),
            options or CropOptions(),
            progress=progress,
            cancelled=cancelled,
        )
        if not plan.crops:
            raise TrainingError(nothing_to_use(plan.skipped))
        self.crops = plan.crops
        self._batch = batch_images
        self._reader = CropReader(plan.states)
        self._skipped = {item.path: item for item in plan.skipped}

    @property
    def block(self) -> int:
        """The block after which tokens are read, from 0."""
        return self.model.block

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, tokens per image, d_model)."""
        return len(self.crops), TOKENS_PER_IMAGE, self.model.d_model

    @property
    def shard_sizes(self) -> Sequence[int]:
        """As many as a store's shards have; no image is nearer to another one."""
        whole, rest = divmod(len(self.crops), SHARD_IMAGES)
        return (*[SHARD_IMAGES] * whole, *([rest] if rest else []))

    @property
    def identity(self) -> str:
        """What decides the tokens: the images' content, backbone and preprocessing."""
        content = [self.model.digest, [crop.id for crop in self.crops]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that could not be read so far, and why."""
        return tuple(self._skipped.values())

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Make the tokens of some images: (n, 257, d_model) float16.

        Raises
        ------
        TrainingError
            No image can be read.
        """
        parts = [
            self.model.tokens(
                [self._pixels(int(row)) for row in images[first : first + self._batch]]
            )
            for first in range(0, len(images), self._batch)
        ]
        return torch.cat(parts) if parts else torch.empty(0, *self.shape[1:], dtype=torch.float16)

    def _pixels(self, row: int) -> NDArray[np.uint8]:
        for place in range(len(self.crops)):
            crop = self.crops[(row + place) % len(self.crops)]
            _, pixels, unread = self._reader.read_all([crop])
            if pixels:
                return pixels[0]
            self._skipped[crop.path] = Skipped(crop.path, unread[crop.id])
        raise TrainingError(nothing_to_use(self.skipped))
