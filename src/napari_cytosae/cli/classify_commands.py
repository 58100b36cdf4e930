"""The commands ``napari-cytosae cohort classify``, ``predict`` and ``report``."""

from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.cohort_options import (
    BaselinesOption,
    BesideOption,
    ByOption,
    CohortArgument,
    FoldsOption,
    GroupsOption,
    RepeatsOption,
    SeedOption,
    ShufflesOption,
    StatisticChoice,
    StatisticOption,
)


def cohort_classify(
    folder: CohortArgument,
    by: ByOption = "diagnosis",
    groups: GroupsOption = None,
    statistic: StatisticOption = StatisticChoice.tokens,
    folds: FoldsOption = 5,
    repeats: RepeatsOption = 10,
    permutations: ShufflesOption = 100,
    min_mean_activation: Annotated[
        float, typer.Option(min=0, help="Leave out concepts whose mean activation is below.")
    ] = 0.0,
    most_concepts: Annotated[
        int | None, typer.Option(min=1, help="Keep those that differ most, chosen in each fold.")
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve/--no-curve", help="F1 against the number of concepts kept.")
    ] = True,
    baselines: BaselinesOption = True,
    beside: BesideOption = None,
    seed: SeedOption = 0,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="Where the model goes. [default: model.safetensors in the cohort's folder]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Tables, as CSV.")
    ] = None,
) -> None:
    """Tell patients apart by their barcodes, and find out what that is worth.

    Every patient is predicted by models that have not seen them. The model that is saved is made of
    all patients.
    """
    from napari_cytosae.cli.classify import classify

    classify(
        folder,
        model=model,
        out=out,
        baselines=baselines,
        beside=beside or [],
        settings={
            "by": by,
            "groups": groups,
            "statistic": statistic.value,
            "folds": folds,
            "repeats": repeats,
            "n_permutations": permutations,
            "min_mean_activation": min_mean_activation,
            "most_concepts": most_concepts,
            "seed": seed,
            **({} if curve else {"curve": ()}),
        },
    )


def cohort_predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Of `cohort classify`.", show_default=False)
    ],
    folder: CohortArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The predictions, as CSV.")
    ] = None,
) -> None:
    """Apply a model to the patients of another cohort, and tell who is unlike those it knows."""
    from napari_cytosae.cli.classify import predict

    predict(model, folder, out)


def cohort_report(
    folder: CohortArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The report's folder.")],
    by: ByOption = "diagnosis",
    within: Annotated[
        str | None,
        typer.Option(metavar="COVARIATE", help="Compare patients of the same value only."),
    ] = None,
    groups: GroupsOption = None,
    statistic: StatisticOption = StatisticChoice.tokens,
    classify: Annotated[
        bool, typer.Option("--classify/--no-classify", help="Whether to tell diagnoses apart.")
    ] = True,
    folds: FoldsOption = 5,
    repeats: RepeatsOption = 10,
    permutations: ShufflesOption = 100,
    baselines: BaselinesOption = True,
    beside: BesideOption = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Whether to show cells.")
    ] = True,
    title: Annotated[str | None, typer.Option(help="[default: the cohort's name]")] = None,
    seed: SeedOption = 0,
) -> None:
    """Write one HTML page with figures, tables and methods; also SVG, CSV and AnnData."""
    from napari_cytosae.cli.classify import report

    report(
        folder,
        out,
        within=within,
        classified=classify,
        pictures=pictures,
        title=title,
        baselines=baselines,
        beside=beside or [],
        settings={
            "by": by,
            "groups": groups,
            "statistic": statistic.value,
            "folds": folds,
            "repeats": repeats,
            "n_permutations": permutations,
            "seed": seed,
        },
    )
