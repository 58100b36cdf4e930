"""What an analysis tells while it works; light enough for a window to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an analysis is.

    Parameters
    ----------
    stage
        ``"open"`` (image and model), ``"detect"``, ``"encode"``, ``"measure"`` or ``"write"``.
    done, total
        In cells; 0 and 0 where a stage has no count.
    message
        What a person should know, mostly empty.
    """

    stage: Literal["open", "detect", "encode", "measure", "write"]
    done: int
    total: int
    message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class CellsFound:
    """The cells of the image, before any is encoded.

    Parameters
    ----------
    folder
        The run folder; `open_run` reads it from now on.
    labels
        (H, W) label image.
    table
        One row per cell, with its crop's box.
    """

    folder: Path
    labels: NDArray[np.int32]
    table: pd.DataFrame
