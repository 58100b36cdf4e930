"""A bundle: backbone, sparse autoencoder and preprocessing under one name and one digest."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.backbone import Backbone, load_backbone
from napari_cytosae.models.device import Precision, resolve_device, resolve_precision
from napari_cytosae.models.focus import focus_digest
from napari_cytosae.models.known_hashes import trust
from napari_cytosae.models.preprocessing import Preprocessing
from napari_cytosae.models.registry import available_bundles, find_bundle, weight_files
from napari_cytosae.models.sae import SparseAutoencoder
from napari_cytosae.models.sae_files import load_sae


@dataclass(frozen=True, eq=False)
class Bundle:
    """Backbone, sparse autoencoder and preprocessing that belong together.

    Parameters
    ----------
    name
        What a person calls it.
    backbone, sae, preprocessing
        Its parts.
    card
        The model card: what it was trained on, licences, metrics.
    digest
        SHA-256 over weights, block and preprocessing, in hex. The same model has the same digest
        whatever file format it came from, device it is on and precision it runs in.
    names_path
        File of names of its concepts, where its folder brings one along.
    """

    name: str
    backbone: Backbone = field(repr=False)
    sae: SparseAutoencoder = field(repr=False)
    preprocessing: Preprocessing = field(default_factory=Preprocessing, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    digest: str = ""
    origin: "Bundle | None" = field(default=None, repr=False)  # what it was rounded or moved from
    _twins: "dict[tuple[torch.device, Precision], Bundle]" = field(
        default_factory=dict, init=False, repr=False
    )
    names_path: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.backbone.d_model != self.sae.d_model:
            raise CheckpointError(
                f"These two do not belong together: the backbone's tokens are "
                f"{self.backbone.d_model} wide, the SAE reads tokens {self.sae.d_model} wide."
            )
        if not self.digest:
            digest = digest_of(self.backbone, self.sae, self.preprocessing)
            object.__setattr__(self, "digest", digest)

    @cached_property
    def sae_digest(self) -> str:
        """SHA-256 over the SAE's weights, in hex: by it the names of concepts are found again.

        Like `digest`, it is the same for every file format, device and precision.
        """
        return self.origin.sae_digest if self.origin is not None else digest_of_sae(self.sae)

    @property
    def block(self) -> int:
        """The block after which tokens are read, from 0."""
        return self.backbone.block

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return self.backbone.d_model

    @property
    def d_sae(self) -> int:
        """Number of concepts."""
        return self.sae.d_sae

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.backbone.device

    @property
    def precision(self) -> Precision:
        """The backbone's precision; the SAE's answers are always float32."""
        return self.backbone.precision

    @property
    def focus(self) -> NDArray[np.int64] | None:
        """The only concepts that are encoded, (n,) ascending ids; None where all are."""
        return self.sae.focus

    @property
    def focus_digest(self) -> str | None:
        """What the focus is known by, in hex; None where all concepts are encoded."""
        return None if self.focus is None else focus_digest(self.focus)

    def focused(self, concept_ids: Iterable[int] | None) -> "Bundle":
        """Give this bundle restricted to some concepts; this one stays as it is.

        Concept ids, `d_sae` and the digests stay those of the whole bundle. Encoding the few
        thousand concepts worth showing of a large SAE costs a fraction of encoding all.

        Parameters
        ----------
        concept_ids
            Ids in any order; None for all concepts again.

        Raises
        ------
        FocusError
            There are none, or one is no concept of this bundle.
        """
        whole = self.origin or self
        made = replace(whole, sae=whole.sae.focused(concept_ids), origin=None)
        return made.to(self.device, self.precision)

    def to(self, device: str | torch.device = "auto", precision: str = "auto") -> "Bundle":
        """Give this bundle on another device or in another precision; this one stays as it is.

        Rounded weights are kept with the bundle that they were rounded from, so that the next call
        costs nothing.

        Raises
        ------
        CytoSAEError
            The device is not there.
        """
        where = resolve_device(device)
        how = resolve_precision(precision, where)
        if (where, how) == (self.device, self.precision):
            return self
        origin = self.origin or self
        if (where, how) == (origin.device, origin.precision):
            return origin
        twin = origin._twins.get((where, how))
        if twin is None:
            twin = origin._twins[where, how] = replace(
                origin,
                backbone=origin.backbone.configured(where, how),
                sae=origin.sae.configured(where, how),
                origin=origin,
            )
        return twin

    def preprocess(self, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Turn RGB crops into the backbone's input.

        Parameters
        ----------
        crops
            Each (height, width, 3) uint8.

        Returns
        -------
        (B, 3, 224, 224) float32, normalised, on the processor.
        """
        return self.preprocessing(crops)

    def save(self, folder: str | Path) -> Path:
        """Write this bundle as a folder that `load_bundle` reads; whole, or not at all.

        Blocks after `block` are not written.

        Raises
        ------
        CheckpointError
            The folder exists already, or cannot be written.
        """
        from napari_cytosae.models.bundle_folder import save_bundle

        return save_bundle(self, folder)

    @torch.no_grad()
    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the residual stream after the SAE's block.

        Parameters
        ----------
        pixels
            (B, 3, 224, 224) float32, normalised, on any device.

        Returns
        -------
        (B, 257, d_model) float32 on the bundle's device, class token first.
        """
        tokens: torch.Tensor = self.backbone(pixels.to(self.device, torch.float32))
        return tokens


def digest_of(backbone: Backbone, sae: SparseAutoencoder, preprocessing: Preprocessing) -> str:
    """Compute a bundle's digest: SHA-256 over its float32 weights, block and preprocessing."""
    digest = hashlib.sha256()
    header = {"block": backbone.block, "preprocessing": preprocessing.to_json()}
    digest.update(json.dumps(header, sort_keys=True).encode())
    tensors = {f"backbone.{key}": value for key, value in backbone.dinov2_state().items()}
    _add_tensors(digest, tensors | _sae_tensors(sae))
    return digest.hexdigest()


def digest_of_backbone(backbone: Backbone) -> str:
    """Compute a backbone's own digest: SHA-256 over its float32 weights up to its block."""
    digest = hashlib.sha256(f"block {backbone.block}".encode())
    _add_tensors(digest, backbone.dinov2_state())
    return digest.hexdigest()


def digest_of_sae(sae: SparseAutoencoder) -> str:
    """Compute an SAE's own digest: SHA-256 over its float32 weights and nothing else."""
    digest = hashlib.sha256()
    _add_tensors(digest, _sae_tensors(sae))
    return digest.hexdigest()


def _sae_tensors(sae: SparseAutoencoder) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {
        f"sae.{key}": value for key, value in sae.state_dict().items()
    }
    # W_enc is stored concept by concept, whatever its shape says; hashing it as it lies saves a
    # copy of 150 MB.
    tensors["sae.W_enc"] = tensors["sae.W_enc"].t()
    return tensors


def _add_tensors(digest: "hashlib._Hash", tensors: Mapping[str, torch.Tensor]) -> None:
    for key in sorted(tensors):
        values = (
            tensors[key]
            .detach()
            .to("cpu", torch.float32)
            .contiguous()
            .numpy()
            .astype("<f4", copy=False)
        )
        digest.update(f"{key} {tensors[key].shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)


def load_bundle(
    name: str | Path | None = None,
    *,
    backbone: str | Path | None = None,
    sae: str | Path | None = None,
    block: int | None = None,
) -> Bundle:
    """Load a bundle by name, from a folder, or from a backbone file and an SAE file.

    Parameters
    ----------
    name
        A name that `available_bundles` lists, or a bundle's folder.
    backbone, sae
        A pair of weight files instead; see `load_backbone` and `load_sae` for the formats.
    block
        The block after which tokens are read, instead of the SAE's own. Negative ones count from
        the end of the backbone's checkpoint.

    Raises
    ------
    CheckpointError
        A file is damaged, unsafe, or the two do not belong together.
    DownloadError
        The bundle is known, but has not been fetched yet.
    """
    if backbone is not None or sae is not None:
        if name is not None or backbone is None or sae is None:
            raise CheckpointError("Give a bundle's name, or both a backbone file and an SAE file.")
        return _load_pair(Path(backbone), Path(sae), block)
    if name is None:
        raise CheckpointError("Give a bundle's name, or both a backbone file and an SAE file.")
    from napari_cytosae.models.bundle_folder import MANIFEST, load_bundle_folder

    folder = Path(name)
    known = isinstance(name, str) and name in {info.name for info in available_bundles()}
    # Some folder that happens to be called like a bundle does not stand in its way.
    if folder.is_dir() and (not known or (folder / MANIFEST).is_file()):
        return load_bundle_folder(folder, block)
    info = find_bundle(str(name))
    files = weight_files(info.name)
    if files is None:
        return replace(load_bundle_folder(info.folder, block), name=info.name)
    loaded = replace(_load_pair(*files, block), name=info.name, card=dict(info.card))
    for path in files:
        trust(path)
    return loaded


def _load_pair(backbone: Path, sae: Path, block: int | None) -> Bundle:
    loaded = load_sae(sae, block)
    vit = load_backbone(backbone, loaded.block)
    loaded.block = vit.block
    return Bundle(name=f"{backbone.stem} + {sae.stem}", backbone=vit, sae=loaded)
