"""What the table of concepts can show: one column of numbers or words per line below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.viewer.concept_list import percent

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas import Atlas

Kind = Literal["id", "text", "share", "number", "count", "flag", "star"]

IN_CELL = "in_cell"
IN_SLIDE = "in_slide"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Parameters
    ----------
    key
        Name of its values.
    title, tooltip
        What its head says.
    kind
        How values are written and aligned.
    shown
        Whether it is on show until a person says otherwise.
    """

    key: str
    title: str
    tooltip: str
    kind: Kind
    shown: bool = True

    def text(self, value: Any) -> str:
        """Write a value as the table shows it; empty where nothing is known."""
        if self.kind == "text":
            return str(value)
        if self.kind == "flag":
            return "●" if value else ""
        if self.kind == "star":
            return "★" if value else "☆"
        if value != value:
            return ""
        if self.kind == "id":
            return f"#{int(value)}"
        if self.kind == "count":
            return f"{int(value):,}"
        if self.kind == "share":
            return percent(float(value))
        return f"{float(value):.3g}"


STAR = Column("star", "★", "A concept that you marked. Click to mark; Space does so too.", "star")
COLUMNS = (
    Column("concept_id", "#", "Number of the concept in the SAE.", "id"),
    STAR,
    Column("name", "Name", "Name in the dictionary; suggested names are in italics.", "text"),
    Column("evidence", "Labels say", "What the labels of the reference cells say.", "text"),
    Column(
        IN_CELL, "this cell", "Mean activation over the tokens of the selected cells.", "number"
    ),
    Column(
        IN_SLIDE, "this slide", "Share of the cells of this run in which it is active.", "share"
    ),
    Column(
        "frequency", "frequency", "Share of the atlas's cells with a mean activation above 0.",
        "share",
    ),
    Column(
        "mean_activation", "mean", "Mean activation over the cells that have the concept.", "number"
    ),
    Column(
        "entropy", "entropy", "Of the reference cells' labels, in nats; 0: all of one class.",
        "number", shown=False,
    ),
    Column(
        "purity", "purity", "Share of the references' most frequent class.", "share", shown=False
    ),
    Column(
        "agreement", "sets agree", "In how many data sets the suggested class is enriched.",
        "count", shown=False,
    ),
    Column(
        "mass_share", "mass", "Share of all activation of the atlas.", "share", shown=False
    ),
    Column(
        "patch_frequency", "patches", "Share of all patches where it is active.", "share",
        shown=False,
    ),
    Column("in_focus", "focus", "In focus: its mean activation is in the upper mode.", "flag",
           shown=False),
    Column("noisy", "noisy", "Too common to tell much; ranked down.", "flag", shown=False),
)  # fmt: skip
"""Columns of every atlas; those of single data sets come behind them."""


EVIDENCE_COLUMNS = (
    Column("seen", "Cells say", "What the measured cells suggest; no person's words.", "text"),
    Column("compartment", "where", "The compartment that tells it best, if any does.", "text",
           shown=False),
    Column("compartment_share", "share there", "Share of its activation in that compartment.", "share",
           shown=False),
    Column("compartment_enrichment", "× area", "That share over the compartment's share of the area.",
           "number", shown=False),
    Column("correlates", "goes with", "Measures of the cells with the largest rank correlation ρ.", "text",
           shown=False),
)  # fmt: skip
"""Columns of atlases of measured cells."""


def columns_of(atlas: Atlas | None) -> list[Column]:
    """List the columns that there are values for."""
    if atlas is None:
        known = {"concept_id", "star", "name", IN_CELL, IN_SLIDE, "frequency", "mean_activation"}
        return [column for column in COLUMNS if column.key in known and column.key != "frequency"]
    columns = list(COLUMNS)
    if not any(data.info.classes for data in atlas.data_sets):
        columns = [replace(c, shown=c.shown and c.key != "evidence") for c in columns]
    if "seen" in atlas.table:
        after = [column.key for column in columns].index("evidence") + 1
        columns[after:after] = EVIDENCE_COLUMNS
    if len(atlas) > 1:
        for data in atlas.data_sets:
            name = data.name
            columns += [
                Column(f"class {name}", f"{name} class", f"Most frequent class of the references in {name}.",
                       "text", shown=False),
                Column(f"frequency {name}", f"{name} freq.", f"Share of the cells of {name}.", "share",
                       shown=False),
                Column(f"mean_activation {name}", f"{name} mean", f"Mean activation in {name}.",
                       "number", shown=False),
            ]  # fmt: skip
    return columns


def values_of(table: pd.DataFrame, columns: Iterable[Column]) -> dict[str, NDArray[Any]]:
    """Take the columns' values out of a table, as arrays that sort."""
    values: dict[str, NDArray[Any]] = {}
    for column in columns:
        if column.key not in table:
            continue
        series = table[column.key]
        if column.kind == "text":
            values[column.key] = series.fillna("").to_numpy(object)
        elif column.kind in ("flag", "star"):
            values[column.key] = series.to_numpy(bool)
        else:
            values[column.key] = series.to_numpy(np.float64, na_value=np.nan)
    return values
