"""Figures and tables beside the report's page."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from napari_cytosae.concepts.durable import explain_write_error, write_durably
from napari_cytosae.export.cohort.page import figure
from napari_cytosae.svg import as_svg


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Writes a report's files, each whole or not at all.

    Parameters
    ----------
    folder
        Where they go.
    """

    folder: Path

    def create(self) -> None:
        """Make the folders.

        Raises
        ------
        RunError
            Where they cannot be made.
        """
        try:
            for part in ("figures", "tables"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.folder) from error

    def figure(self, name: str, drawn: Figure, caption: str) -> str:
        """Write a figure as SVG; give it as a part of the page."""
        return figure(write_svg(self.folder / "figures" / f"{name}.svg", drawn), caption)

    def csv(self, name: str, content: pd.DataFrame, *, index: bool = True) -> None:
        """Write a table as CSV."""
        target = self.folder / "tables" / f"{name}.csv"
        write_durably(target, lambda part: content.to_csv(part, index=index))


def write_svg(target: Path, drawn: Figure) -> str:
    """Write a figure as an SVG file; give its element."""
    svg = as_svg(drawn)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    write_durably(target, lambda part: part.write_text(head + svg, encoding="utf-8"))
    return svg


def file_name(words: str) -> str:
    """Make words a part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")[:40] or "group"
