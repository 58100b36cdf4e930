"""The survey of a slide, kept with its run: a run that is gone on with measures against the same."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells import StainReference, Survey
from napari_cytosae.cells.glass import OccupiedMap
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import RunError


def write_survey(survey: Survey, path: Path) -> None:
    """Write a survey durably."""
    reference = survey.reference
    content: dict[str, NDArray[Any]] = {
        "glass": np.array(reference.glass, np.float64),
        "red_cell_density": np.array(reference.red_cell_density),
        "red_cells_seen": np.array(reference.red_cells_seen),
        "microns_per_pixel": _optional(survey.microns_per_pixel),
        "estimated_microns_per_pixel": _optional(survey.estimated_microns_per_pixel),
    }
    if survey.occupied is not None:
        content["occupied"] = survey.occupied.squares
        content["side_px"] = np.array(survey.occupied.side_px, np.float64)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # by its name, numpy would add a suffix
            np.savez_compressed(file, allow_pickle=False, **content)

    write_durably(path, write)


def read_survey(path: Path) -> Survey:
    """Read a survey.

    Raises
    ------
    RunError
        Where it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            glass = [float(value) for value in content["glass"]]
            occupied = None
            if "occupied" in content:
                side = [float(value) for value in content["side_px"]]
                occupied = OccupiedMap(content["occupied"], (side[0], side[1]))
            return Survey(
                StainReference(
                    (glass[0], glass[1], glass[2]),
                    float(content["red_cell_density"]),
                    bool(content["red_cells_seen"]),
                ),
                _read_optional(content["microns_per_pixel"]),
                _read_optional(content["estimated_microns_per_pixel"]),
                occupied,
            )
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise RunError(f"{path} cannot be read ({error}). Analyse the image again.") from error


def _optional(value: float | None) -> NDArray[np.float64]:
    return np.array(np.nan if value is None else value)


def _read_optional(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)
