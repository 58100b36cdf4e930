"""Arguments and options that commands ``napari-cytosae cohort …`` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class StatisticChoice(StrEnum):
    """What a barcode counts."""

    tokens = "count"
    cells = "presence"
    mean = "mean"
    maximum = "max"


CohortArgument = Annotated[
    Path,
    typer.Argument(metavar="COHORT", help="A folder of `cohort extract`.", show_default=False),
]
ByOption = Annotated[str, typer.Option(help="What is told apart: diagnosis, or a covariate.")]
GroupsOption = Annotated[
    str | None,
    typer.Option(
        metavar="COVARIATE",
        help="Patients of one value (a site) are never on both sides of a fold.",
    ),
]
StatisticOption = Annotated[
    StatisticChoice, typer.Option(help="Tokens above τ, cells that have one, mean or maximum.")
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Repeats of the cross-validation.")]
FoldsOption = Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")]
ShufflesOption = Annotated[
    int, typer.Option(min=0, help="Shuffles of the diagnoses, for what chance gives.")
]
BesideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--beside",
        metavar="NAME=FILE",
        help="Another description of the same patients: CSV with a column patient, barcodes (H5AD), "
        "or NPY with a row for each in the cohort's order.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of folds and shuffles.")]
BaselinesOption = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        help="Whether to hold barcodes against the baselines of `cohort extract --baselines`.",
    ),
]
