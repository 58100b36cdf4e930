"""What an analysis tells while it works; light enough for a window to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

if TYPE_CHECKING:
    from napari_cytosae.cells import LabelImage


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an analysis is.

    Parameters
    ----------
    stage
        ``"open"`` (image and model), ``"detect"``, ``"encode"``, ``"measure"`` or ``"write"``.
    done, total
        In cells (tiles of the slide while cells are looked for); 0 and 0 where a stage has no
        count.
    message
        What a person should know, mostly empty.
    approximate
        Whether the total is a guess: parts of the slide have not been looked through yet.
    """

    stage: Literal["open", "detect", "encode", "measure", "write"]
    done: int
    total: int
    message: str = ""
    approximate: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CellsFound:
    """The cells of the image, before any is encoded.

    Parameters
    ----------
    folder
        The run folder; `open_run` reads it from now on.
    labels
        (H, W) label image; what is found later is painted into that of a slide.
    table
        One row per cell, with its crop's box; those of a slide come later, as `MoreCells`.
    """

    folder: Path
    labels: "LabelImage"
    table: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class MoreCells:
    """Cells of another tile of a slide.

    Parameters
    ----------
    table
        One row per cell, with its crop's box.
    """

    table: pd.DataFrame
