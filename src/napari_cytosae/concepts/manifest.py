"""run.json: what a run was made from, and whether it is finished."""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from napari_cytosae.concepts.durable import write_json_durably
from napari_cytosae.errors import RunError

FORMAT_VERSION = 1
TILED_FORMAT_VERSION = 2
"""Of runs whose cells were looked for tile by tile: version 1 knows nothing of such shards."""
MANIFEST_NAME = "run.json"

_WHAT_DIFFERS = {
    "image": "another image",
    "cells": "other cells",
    "crop_um": "another crop size",
    "cell_fraction": "another crop size",
    "whole": "crops of another kind",
    "microns_per_pixel": "another pixel size",
    "bundle": "another bundle",
    "precision": "another precision",
    "focus": "another focus",
    "region": "another region",
}


@dataclass(frozen=True, slots=True)
class RunKey:
    """What decides a run's numbers. Two analyses with the same key are the same run.

    Parameters
    ----------
    image
        Digest of the slide's content.
    cells
        How cells were found: ``"detect"``, ``"red"``, ``"whole"``, or a digest of the cells that were given.
    crop_um, cell_fraction, whole
        The crop geometry.
    microns_per_pixel
        Pixel size that crops were cut with; None where it is unknown.
    bundle
        Digest of backbone, SAE and preprocessing.
    precision
        ``"float32"`` or ``"bfloat16"``.
    focus
        Digest of the concepts that are encoded; None where all are. The ids are in ``focus.csv``.
    region
        Digest of the part of the slide that is analysed; None for all of it. Its corners are in
        ``region.json``.
    """

    image: str
    cells: str
    crop_um: float
    cell_fraction: float
    whole: bool
    microns_per_pixel: float | None
    bundle: str
    precision: Literal["float32", "bfloat16"]
    focus: str | None = None
    region: str | None = None

    def differences(self, wanted: "RunKey") -> list[str]:
        """Say in words in what this run differs from the wanted one; empty where it does not."""
        words = (
            f"{_WHAT_DIFFERS[name]} ({_short(name, mine)} there, {_short(name, theirs)} now)"
            for name, mine in asdict(self).items()
            if mine != (theirs := getattr(wanted, name))
        )
        return list(words)


@dataclass(frozen=True, slots=True)
class RunManifest:
    """The content of run.json.

    Parameters
    ----------
    state
        ``"detecting"`` while a slide is still looked through for cells (and those found are
        encoded), ``"encoding"`` until the profiles are written, then ``"finished"``.
    key
        What decides the run's numbers.
    bundle_name, d_sae
        The bundle, in a person's words, and its number of concepts.
    slide_name, slide_path, slide_shape
        The slide; the path is relative to the run folder where both lie on one drive, None for an
        array.
    n_cells, shard_cells, batch_cells
        Cells in all (0 while they are looked for), per shard and per forward pass. A resumed run
        keeps to them.
    threshold
        τ: ``layers["count"]`` counts the tokens above it.
    device, software_version, created, finished
        Where, with what and when (ISO 8601, UTC).
    note
        What a person should know, for example that no cells were found.
    sae_digest
        Digest of the SAE alone, by which the names of its concepts are found; None in runs of
        versions that did not write it.
    tile_px
        Side of the tiles that the slide was looked through in; None where cells were known from
        the start.
    """

    state: Literal["detecting", "encoding", "finished"]
    key: RunKey
    bundle_name: str
    d_sae: int
    slide_name: str
    slide_path: str | None
    slide_shape: tuple[int, int]
    n_cells: int
    shard_cells: int
    batch_cells: int
    threshold: float
    device: str
    software_version: str
    created: str
    finished: str | None = None
    note: str = ""
    sae_digest: str | None = None
    tile_px: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the content as plain, nested values."""
        version = FORMAT_VERSION if self.tile_px is None else TILED_FORMAT_VERSION
        return {"format": "napari-cytosae run", "format_version": version, **asdict(self)}

    def write(self, folder: Path) -> None:
        """Write run.json durably."""
        write_json_durably(folder / MANIFEST_NAME, self.as_dict())

    @classmethod
    def read(cls, folder: Path) -> "RunManifest":
        """Read run.json.

        Raises
        ------
        RunError
            Where the folder is no run, a damaged one, or one of a later version of the format.
        """
        path = folder / MANIFEST_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(
                f"{folder} is no run: it holds no {MANIFEST_NAME}. Choose a folder that an "
                "analysis has written."
            ) from error
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error
        version = content.get("format_version") if isinstance(content, dict) else None
        if version not in (FORMAT_VERSION, TILED_FORMAT_VERSION):
            raise RunError(
                f"{path} has format version {version}, and this napari-cytosae reads versions up "
                f"to {TILED_FORMAT_VERSION}. Open it with the version that wrote it, or analyse the image "
                "again."
            )
        try:
            # What has a default may be missing: earlier versions did not write all of it.
            known = {
                field.name: content[field.name]
                for field in fields(cls)
                if field.name in content or field.default is MISSING
            }
            known["key"] = RunKey(**known["key"])
            known["slide_shape"] = tuple(known["slide_shape"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}). Analyse the image again.") from error
        return cls(**known)


def _short(name: str, value: object) -> str:
    unknown = {"focus": "all concepts", "region": "the whole image"}.get(name, "unknown")
    text = unknown if value is None else str(value)
    return text if len(text) <= 12 else f"{text[:8]}…"
