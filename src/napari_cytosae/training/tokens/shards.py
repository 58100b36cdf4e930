"""One shard of a token store: the tokens of some images, in one file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import TrainingError

_FORMAT: Final = "cytosae-tokens"
_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class ShardAbout:
    """What a shard says of itself.

    Parameters
    ----------
    path
        The file.
    key
        What made the tokens.
    ids
        Crops, in the order in which they lie.
    unread
        Crops that could not be read, and why.
    """

    path: Path
    key: str
    ids: tuple[str, ...]
    unread: dict[str, str]

    @property
    def covered(self) -> set[str]:
        """The crops that need no other shard."""
        return {*self.ids, *self.unread}


def write_shard(
    path: Path, key: str, ids: list[str], unread: dict[str, str], tokens: torch.Tensor
) -> None:
    """Write a shard, whole or not at all.

    Raises
    ------
    RunError
        It cannot be written, or the disk is full.
    """
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "key": key,
        "ids": json.dumps(ids),
        "unread": json.dumps(unread),
    }
    write_durably(
        path,
        lambda temporary: save_file({"tokens": tokens.contiguous()}, temporary, about),
        needed_bytes=tokens.nbytes,
    )


def read_about(path: Path) -> ShardAbout | None:
    """Read what a shard holds; None where it is damaged or no shard."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            shape = file.get_slice("tokens").get_shape()
        ids = tuple(json.loads(about["ids"]))
        unread = dict(json.loads(about["unread"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    if (about.get("format"), about.get("version")) != (_FORMAT, _VERSION) or shape[0] != len(ids):
        return None
    return ShardAbout(path, about["key"], ids, unread)


def read_rows(path: Path, rows: list[int]) -> torch.Tensor:
    """Read the tokens of some images of a shard: (n, tokens, d_model) float16.

    Parameters
    ----------
    path
        The file.
    rows
        Rising.

    Raises
    ------
    TrainingError
        It cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            tokens = file.get_slice("tokens")
            if rows[-1] - rows[0] == len(rows) - 1:
                found: torch.Tensor = tokens[rows[0] : rows[-1] + 1]
                return found
            return torch.cat([tokens[row : row + 1] for row in rows])
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}). Repeat the extraction: only what is missing or "
            "damaged is made anew."
        ) from error
