"""One shard of a token store: the tokens of some images, in one file."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import TrainingError
from napari_cytosae.models.tensor_files import write_tensors

_FORMAT: Final = "cytosae-tokens"
_VERSION: Final = "1"
_REPEAT: Final = "Repeat the extraction: only what is missing or damaged is made anew."


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
    sums
        CRC-32 of each crop's tokens; none in shards of older versions.
    """

    path: Path
    key: str
    ids: tuple[str, ...]
    unread: dict[str, str]
    sums: tuple[int, ...]

    @property
    def covered(self) -> set[str]:
        """The crops that need no other shard."""
        return {*self.ids, *self.unread}

    @property
    def seal(self) -> str:
        """What tells this shard's content from any other's; empty where it has no sums."""
        return _seal(self.key, self.ids, self.sums)


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
        "crc32": json.dumps([_sum(image) for image in tokens]),
    }
    write_durably(
        path,
        lambda temporary: write_tensors({"tokens": tokens.contiguous()}, temporary, about),
        needed_bytes=tokens.nbytes,
    )


def read_about(path: Path) -> ShardAbout | None:
    """Read what a shard holds; None where it is damaged or no shard."""
    try:
        with safe_open(path, "pt") as file:
            return _about(path, file)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def is_whole(about: ShardAbout) -> bool:
    """Read all of a shard, and tell whether every token is as it was written."""
    try:
        with safe_open(about.path, "pt") as file:
            tokens = file.get_slice("tokens")
            return all(_sum(tokens[n : n + 1]) == kept for n, kept in enumerate(about.sums))
    except (OSError, SafetensorError):
        return False


def read_rows(path: Path, rows: list[int], seal: str = "") -> torch.Tensor:
    """Read the tokens of some images of a shard: (n, tokens, d_model) float16.

    Parameters
    ----------
    path
        The file.
    rows
        Rising.
    seal
        That of the shard that is meant; empty where nobody knows.

    Raises
    ------
    TrainingError
        It cannot be read, is not as it was written, or is another one than is meant.
    """
    try:
        with safe_open(path, "pt") as file:
            about = _about(path, file)
            if seal and about.seal != seal:
                raise TrainingError(
                    f"{path} has changed since the tokens were opened; open them again."
                )
            tokens = file.get_slice("tokens")
            if rows[-1] - rows[0] == len(rows) - 1:
                found: torch.Tensor = tokens[rows[0] : rows[-1] + 1]
            else:
                found = torch.cat([tokens[row : row + 1] for row in rows])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). {_REPEAT}") from error
    if about.sums:
        for row, image in zip(rows, found, strict=True):
            if _sum(image) != about.sums[row]:
                raise TrainingError(
                    f"{path} is damaged: the tokens of its crop {row} are not those that were "
                    f"written. {_REPEAT}"
                )
    return found


def _about(path: Path, file: Any) -> ShardAbout:
    about = file.metadata() or {}
    if (about.get("format"), about.get("version")) != (_FORMAT, _VERSION):
        raise ValueError("it holds no tokens")
    ids = tuple(json.loads(about["ids"]))
    sums = tuple(int(value) for value in json.loads(about.get("crc32", "[]")))
    if file.get_slice("tokens").get_shape()[0] != len(ids) or len(sums) not in (0, len(ids)):
        raise ValueError("it does not hold the tokens that it lists")
    return ShardAbout(path, about["key"], ids, dict(json.loads(about["unread"])), sums)


def _sum(tokens: torch.Tensor) -> int:
    return zlib.crc32(tokens.contiguous().view(torch.uint8).numpy().data)


def _seal(key: str, ids: Sequence[str], sums: Sequence[int]) -> str:
    if not sums:
        return ""
    return hashlib.sha256(json.dumps([key, list(ids), list(sums)]).encode()).hexdigest()
