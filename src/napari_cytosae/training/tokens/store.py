"""Tokens on disk, extracted once: a folder of shards that is read a few images at a time."""

import csv
import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cytosae.errors import TrainingError
from napari_cytosae.models import Preprocessing, load_backbone
from napari_cytosae.training.tokens.crops import Crop, CropReader, Skipped
from napari_cytosae.training.tokens.model import TokenModel
from napari_cytosae.training.tokens.shards import read_rows

ABOUT: Final = "store.json"
IMAGES: Final = "images.csv"
SHARDS: Final = "shards"
BACKBONE: Final = "backbone.safetensors"
FORMAT: Final = "cytosae-token-store"
VERSION: Final = 1
COLUMNS: Final = ("id", "path", "label", "y0", "x0", "y1", "x1")


class TokenStore:
    """A finished token store; nothing is read before it is asked for.

    Parameters
    ----------
    path
        The folder that `extract_tokens` wrote.

    Raises
    ------
    TrainingError
        It is none, is not finished, or is of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._about = read_about(self.path)
        if self._about.get("state") != "finished":
            raise TrainingError(
                f"{self.path} is not finished: repeat the extraction, and it goes on from there."
            )
        try:
            shards = self._about["shards"]
            self._shards = [(str(name), str(*seal)) for name, _, *seal in shards]
            self.shard_sizes: Sequence[int] = tuple(int(size) for _, size, *_ in shards)
            images, tokens, d_model = (int(size) for size in self._about["shape"])
            self.block = int(self._about["block"])
            self.identity = str(self._about["identity"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{self.path / ABOUT} is damaged: {error!r}.") from None
        self.shape = (images, tokens, d_model)
        self._begins = np.cumsum([0, *self.shard_sizes]).tolist()

    def __repr__(self) -> str:
        images, tokens, d_model = self.shape
        return f"<TokenStore {self.path.name}: {images:,} images × {tokens} tokens × {d_model}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float16]:
        """Read the tokens of some images, in any order: whatever numpy takes for a first index."""
        chosen = np.arange(len(self))[rows]
        wanted, places = np.unique(np.atleast_1d(chosen), return_inverse=True)
        found: NDArray[np.float16] = self.read(wanted).numpy()[places]
        return found[0] if np.ndim(chosen) == 0 else found

    def read(self, images: NDArray[np.int64]) -> Tensor:
        """Read the tokens of some images.

        Parameters
        ----------
        images
            (n,) rising rows.

        Returns
        -------
        (n, tokens, d_model) float16.

        Raises
        ------
        TrainingError
            A shard cannot be read, is damaged, or is of an extraction that came later.
        """
        if not len(images):
            return torch.empty(0, *self.shape[1:], dtype=torch.float16)
        parts = []
        for number in sorted({bisect_right(self._begins, int(row)) - 1 for row in images}):
            first, last = self._begins[number], self._begins[number + 1]
            rows = images[(images >= first) & (images < last)] - first
            name, seal = self._shards[number]
            parts.append(read_rows(self.path / SHARDS / name, rows.tolist(), seal))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def crops(self) -> tuple[Crop, ...]:
        """The crops that the tokens were made of, in their order.

        Raises
        ------
        TrainingError
            Their table is damaged, or is of an extraction that came after this store was opened.
        """
        found = read_crop_table(self.path / IMAGES)
        if identity_of(str(self._about.get("key")), [crop.id for crop in found]) != self.identity:
            raise TrainingError(f"{self.path} has changed since it was opened; open it again.")
        return found

    @property
    def labels(self) -> list[str]:
        """Class of each image; empty where nobody said."""
        return [crop.label for crop in self.crops]

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that could not be read, and why."""
        return tuple(Skipped(Path(path), reason) for path, reason in self._about.get("skipped", ()))

    def crop(self, row: int) -> NDArray[np.uint8]:
        """Cut the crop of an image again: (S, S, 3).

        Raises
        ------
        ImageError
            Its image is not where it was, or cannot be read.
        """
        return CropReader().read(self.crops[row])

    def model(self) -> TokenModel:
        """Load the backbone that made the tokens, with float32 weights.

        Raises
        ------
        CheckpointError
            Its file is missing or damaged.
        """
        where = self.path / BACKBONE
        backbone = load_backbone(where, self.block, int(self._about["depth"]))
        preprocessing = Preprocessing.from_json(
            self._about.get("preprocessing"), str(self.path / ABOUT)
        )
        return TokenModel(backbone, preprocessing, str(self._about.get("backbone", "")))


def identity_of(key: str, ids: Sequence[str]) -> str:
    """Give the SHA-256 over what made the tokens, and of which crops in which order."""
    return hashlib.sha256(json.dumps([key, list(ids)]).encode()).hexdigest()


def read_about(folder: Path) -> dict[str, Any]:
    """Read a store's ``store.json``.

    Raises
    ------
    TrainingError
        The folder is no store, or one of another version.
    """
    path = folder / ABOUT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"{folder} holds no tokens: there is no {ABOUT}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TrainingError(f"{path} does not describe a token store.")
    if content.get("version") != VERSION:
        raise TrainingError(
            f"{path} is of version {content.get('version')!r}, this software reads {VERSION}. "
            "Update napari-cytosae."
        )
    return content


def write_crop_table(path: Path, crops: Sequence[Crop]) -> None:
    """Write crops as a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for crop in crops:
            writer.writerow([crop.id, crop.path.resolve(), crop.label, *crop.box])


def read_crop_table(path: Path) -> tuple[Crop, ...]:
    """Read what `write_crop_table` wrote.

    Raises
    ------
    TrainingError
        It cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = []
            for row in csv.DictReader(file):
                y0, x0, y1, x1 = (int(row[name]) for name in COLUMNS[3:])
                found.append(Crop(row["id"], Path(row["path"]), (y0, x0, y1, x1), row["label"]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read: {error!r}.") from None
    return tuple(found)
