"""What was found on each tile of a slide so far: one small file per tile, until all are done."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from napari_cytosae.concepts.durable import write_json_durably

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in level-0 px, half-open."""


@dataclass(frozen=True, slots=True, eq=False)
class TileRecord:
    """The cells of one tile, and what of the tile and its surroundings could not be read.

    Attributes
    ----------
    number
        The tile.
    table
        One row per cell, with its crop's box.
    damaged
        Boxes in level-0 px.
    n_lost
        Cells that were left out because they, or their crops, lie on damaged places.
    """

    number: int
    table: pd.DataFrame
    damaged: tuple[Box, ...] = ()
    n_lost: int = 0

    def write(self, path: Path) -> None:
        """Write the record durably."""
        columns = {
            str(name): {"dtype": str(column.dtype), "values": column.to_list()}
            for name, column in self.table.items()
        }
        write_json_durably(
            path, {"columns": columns, "damaged": self.damaged, "n_lost": self.n_lost}, indent=None
        )

    @classmethod
    def read(cls, path: Path, number: int) -> "TileRecord | None":
        """Read a record; None where there is none, or it is damaged: the tile is done once more."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            table = pd.DataFrame(
                {
                    name: pd.Series(column["values"], dtype=column["dtype"])
                    for name, column in content["columns"].items()
                }
            )
            damaged = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in content["damaged"])
            return cls(number, table, damaged, int(content["n_lost"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def merged_boxes(boxes: Iterable[Box]) -> list[Box]:
    """List boxes from top to bottom, without those that lie within another."""
    unique = sorted(set(boxes))
    return [
        box for box in unique if not any(other != box and _covers(other, box) for other in unique)
    ]


def _covers(outer: Box, inner: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def damage_note(slide_name: str, damaged: list[Box], n_lost: int) -> str:
    """Say what of a slide could not be read, and where; empty where all could."""
    if not damaged:
        return ""
    y0, x0, y1, x1 = damaged[0]
    first = f"y {y0} … {y1}, x {x0} … {x1} px"
    places = f"The place {first}" if len(damaged) == 1 else f"{len(damaged)} places"
    more = "" if len(damaged) == 1 else f" (the first: {first})"
    cells = "1 cell" if n_lost == 1 else f"{n_lost:,} cells"
    return (
        f"{places} of {slide_name} cannot be read{more}: the file is damaged there. "
        f"{cells} on or beside damaged places {'was' if n_lost == 1 else 'were'} left out; "
        "problems.csv lists the places."
    )
