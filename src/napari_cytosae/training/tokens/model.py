"""The half of a bundle that makes tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.errors import TrainingError
from napari_cytosae.models import Backbone, Bundle, Preprocessing, load_backbone, load_bundle
from napari_cytosae.models.bundle import digest_of_backbone
from napari_cytosae.models.device import resolve_device, resolve_precision


@dataclass(frozen=True, eq=False)
class TokenModel:
    """A backbone up to a block, and what happens to crops before it.

    Parameters
    ----------
    backbone
        With float32 weights, or moved from such ones.
    preprocessing
        Of crops.
    name
        What a person calls it.
    exact
        What it was rounded or moved from; None where it was not.
    """

    backbone: Backbone = field(repr=False)
    preprocessing: Preprocessing = field(default_factory=Preprocessing, repr=False)
    name: str = ""
    exact: "TokenModel | None" = field(default=None, repr=False)

    @classmethod
    def of(cls, bundle: str | Path | Bundle, block: int | None = None) -> Self:
        """Take a bundle's backbone, at its own block or at another one.

        Raises
        ------
        CheckpointError
            There is no such bundle, or it holds no such block.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(bundle, block=block)
        elif block is not None and block != bundle.block:
            raise TrainingError(
                f"This bundle is open at block {bundle.block}; load it at block {block}."
            )
        whole = bundle.origin or bundle
        return cls(whole.backbone, whole.preprocessing, whole.name)

    @classmethod
    def from_file(cls, path: str | Path, block: int = -2) -> Self:
        """Read a backbone that has no autoencoder yet.

        Raises
        ------
        CheckpointError
            It cannot be read, or has no such block.
        """
        return cls(load_backbone(path, block), name=Path(path).stem)

    @property
    def block(self) -> int:
        """The block after which tokens are read, from 0."""
        return self.backbone.block

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return self.backbone.d_model

    @property
    def precision(self) -> str:
        """``"float32"`` or ``"bfloat16"``."""
        return self.backbone.precision

    @cached_property
    def digest(self) -> str:
        """SHA-256 over weights, block, preprocessing and precision: what decides the tokens."""
        weights = self.exact.backbone_digest if self.exact is not None else self.backbone_digest
        content = [weights, self.preprocessing.to_json(), self.precision]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def backbone_digest(self) -> str:
        """SHA-256 over the weights and the block."""
        return digest_of_backbone(self.backbone)

    def to(self, device: str = "auto", precision: str = "auto") -> "TokenModel":
        """Give this model on another device or in another precision."""
        where = resolve_device(device)
        how = resolve_precision(precision, where)
        if (where, how) == (self.backbone.device, self.precision):
            return self
        exact = self.exact or self
        return replace(exact, backbone=exact.backbone.configured(where, how), exact=exact)

    @torch.no_grad()
    def tokens(self, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Give the tokens of RGB crops: (n, 257, d_model) float16 on the processor, class token first.

        Raises
        ------
        TrainingError
            A token does not fit float16, whose largest number is 65,504.
        """
        pixels = self.preprocessing(crops).to(self.backbone.device)
        found: torch.Tensor = self.backbone(pixels).to("cpu", torch.float16)
        if not bool(found.isfinite().all()):
            raise TrainingError(
                f"The tokens of {self.name or 'this backbone'} after block {self.block} are too "
                "large for float16, or no numbers: is this the right backbone?"
            )
        return found
