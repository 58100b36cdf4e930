"""The commands ``napari-cytosae cohort explain`` and ``cells``."""

from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.cohort_options import CohortArgument


def cohort_explain(
    folder: CohortArgument,
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="Whose prediction.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of `cohort classify`. [default: model.safetensors in the cohort's folder]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--for", metavar="CLASS", help="What speaks for it. [default: the predicted]"),
    ] = None,
    without: Annotated[
        list[int] | None,
        typer.Option(
            metavar="CONCEPT",
            help="What if this concept were absent; may be repeated. [default: the largest, each]",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", "-k", min=1, help="Concepts and cells to list.")
    ] = 12,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Whether to draw cells.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Tables as CSV, figures as SVG, cells as PNG."
        ),
    ] = None,
) -> None:
    """Take a patient's prediction apart: concepts, cells and patches, and what if."""
    from napari_cytosae.cli.explain import explain

    explain(
        folder,
        patient,
        model=model,
        name=name,
        without=without or [],
        top=top,
        pictures=pictures,
        out=out,
    )


def cohort_cells(
    folder: CohortArgument,
    group: Annotated[
        str, typer.Argument(metavar="DISEASE", help="A diagnosis, or a value of --by.")
    ],
    by: Annotated[str, typer.Option(help="diagnosis, or a covariate.")] = "diagnosis",
    patient: Annotated[
        list[str] | None,
        typer.Option(metavar="PATIENT", help="Whose cells; may be repeated. [default: DISEASE's]"),
    ] = None,
    q: Annotated[float, typer.Option(min=0, max=1, help="False discovery rate.")] = 0.05,
    min_delta: Annotated[float, typer.Option(min=0, max=1, help="Cliff's delta at least.")] = 0.3,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Cells to list.")] = 20,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Whether to draw cells.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Tables as CSV, cells as PNG.")
    ] = None,
) -> None:
    """Rank cells by the concepts that one disease shows and the others hardly do."""
    from napari_cytosae.cli.explain import cells

    cells(
        folder,
        group,
        by=by,
        patients=patient or [],
        q=q,
        min_delta=min_delta,
        top=top,
        pictures=pictures,
        out=out,
    )
