"""What to build an atlas from and how: a build as data."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_cytosae.concepts.atlas.data_set import Tissue
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.concepts.atlas.partners import SAMPLE_CELLS
from napari_cytosae.errors import AtlasError

if TYPE_CHECKING:
    from napari_cytosae.concepts.encode import Precision
    from napari_cytosae.models import Bundle


def usable_processors() -> int:
    """Threads that reading runs can use: more than four would wait for the one that counts."""
    return min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is.

    Parameters
    ----------
    stage
        ``"open"``, ``"count"`` (stored runs), ``"encode"`` (images) or ``"write"``.
    done, total
        Cells or images; 0 and 0 where a stage has no count.
    message
        What a person should know, mostly empty.
    """

    stage: Literal["open", "count", "encode", "write"]
    done: int
    total: int
    message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class BuildJob:
    """One build of one data set, as data.

    Parameters
    ----------
    sources
        Run folders or folders of them, or images or a folder of images with one folder for each
        class.
    name
        The data set's name; that of the folder without it.
    labels
        The cells' classes.
    tissue
        ``"blood"``, ``"bone marrow"`` or empty.
    out
        Folder of the atlas; None for memory only. A build that was stopped goes on there.
    k
        References for each concept.
    threshold
        τ: tokens above it are counted.
    sample_cells
        Cells kept for co-activation; 0 for none.
    evidence
        Whether to collect evidence from cells that were measured, see `Evidence`.
    workers
        Threads that read runs.
    bundle, precision, device, batch_cells
        For images: the model, and how it runs.
    overwrite
        Replace another atlas in the folder.
    """

    sources: tuple[str | Path, ...]
    name: str | None = None
    labels: Labels = field(default_factory=Labels)
    tissue: Tissue = ""
    out: Path | None = None
    k: int = 10
    threshold: float = 0.2
    sample_cells: int = SAMPLE_CELLS
    evidence: bool = True
    workers: int = field(default_factory=usable_processors)
    bundle: "str | Path | Bundle" = "starter"
    precision: "Precision" = "auto"
    device: str = "auto"
    batch_cells: int = 16
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise AtlasError("Give at least one run, or a folder of runs or images.")
        if self.k < 1:
            raise AtlasError(f"{self.k} references are not possible; give 1 or more.")
        if not self.threshold >= 0:
            raise AtlasError(f"The threshold {self.threshold} is not possible; give 0 or more.")
        if self.sample_cells < 0 or self.workers < 1 or self.batch_cells < 1:
            raise AtlasError("Give 1 or more workers and cells per batch, and 0 or more to sample.")

    @property
    def data_set_name(self) -> str:
        """What the data set is called."""
        if self.name:
            return self.name
        place = Path(self.sources[0]) if len(self.sources) == 1 else self.out
        return place.resolve().name.removesuffix(".cytosae") if place is not None else "cells"
