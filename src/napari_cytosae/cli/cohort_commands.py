"""The commands ``napari-cytosae cohort …``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.group import Commands

cohort = typer.Typer(
    cls=Commands,
    help="Patients and diseases: barcodes, what differs between groups, and why.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


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


@cohort.command("extract")
def cohort_extract(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE|FOLDER",
            help="A table (CSV) with the columns patient, diagnosis and image, further ones being "
            "covariates; or a folder disease/patient/images.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The cohort's folder.", show_default=False),
    ],
    bundle: Annotated[
        str, typer.Option("--bundle", "-b", metavar="NAME|DIR", help="Which model bundle to use.")
    ] = "starter",
    backbone: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Backbone checkpoint, with --sae.")
    ] = None,
    sae: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="Its autoencoder, instead of a bundle.")
    ] = None,
    cells: Annotated[
        str,
        typer.Option(
            metavar="detect|red|whole",
            help="Where cells come from: nucleated cells, red cells, or every image is one cell.",
        ),
    ] = "detect",
    threshold: Annotated[
        float, typer.Option(min=0, help="Tokens above this activation are counted (the paper's τ).")
    ] = 0.2,
    crop_um: Annotated[float, typer.Option(min=1, help="Side of the crop around a cell, µm.")] = 25,
    microns_per_pixel: Annotated[
        float | None, typer.Option(min=0.001, help="Pixel size, where the files do not say.")
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    batch_cells: Annotated[int, typer.Option(min=1, help="Cells per forward pass.")] = 16,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Dask workers to start on this machine; 0: one per GPU, or per four cores. "
            "[default: none, one image after another]",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler that runs already."),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out images that fail and patients without cells."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs made with other settings.")
    ] = False,
) -> None:
    """Analyse the images of all patients and count each patient's barcode.

    Stopped or killed, the same command goes on where it was; the same cohort gives the same
    integers, however many workers there are.
    """
    from napari_cytosae.cli.bundle_commands import check_pair
    from napari_cytosae.cli.cohort import extract

    check_pair(backbone, sae)
    extract(
        source,
        out,
        bundle=bundle if backbone is None or sae is None else (backbone, sae),
        cells=cells,
        threshold=threshold,
        crop_um=crop_um,
        microns_per_pixel=microns_per_pixel,
        precision=precision,
        device=device,
        batch_cells=batch_cells,
        workers=workers,
        scheduler=scheduler,
        skip_bad=skip_bad,
        overwrite=overwrite,
    )


@cohort.command("compare")
def cohort_compare(
    folder: CohortArgument,
    first: Annotated[str, typer.Argument(metavar="GROUP", help="A diagnosis, or a value of --by.")],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[OTHER]", help="Another one. [default: all others]", show_default=False
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="diagnosis, or a covariate.")] = "diagnosis",
    within: Annotated[
        str | None,
        typer.Option(metavar="COVARIATE", help="Compare patients of the same value only."),
    ] = None,
    statistic: Annotated[
        StatisticChoice, typer.Option(help="Tokens above τ, cells that have one, mean or maximum.")
    ] = StatisticChoice.tokens,
    permutations: Annotated[int, typer.Option(min=0, help="Deals of patients to groups.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the deals.")] = 0,
    q: Annotated[float, typer.Option(min=0, max=1, help="False discovery rate.")] = 0.05,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Concepts to list.")] = 20,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="All of them, as CSV.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Scatter, volcano, heatmap and how patients correlate, as SVG."
        ),
    ] = None,
) -> None:
    """List the concepts that differ most between two groups of patients."""
    from napari_cytosae.cli.cohort import compare

    compare(
        folder,
        first,
        second,
        by=by,
        within=within,
        statistic=statistic.value,
        permutations=permutations,
        seed=seed,
        q=q,
        top=top,
        out=out,
        figures=figures,
    )


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
        help="Another description of the same patients (CSV with a column patient, or NPY with a row "
        "for each in the cohort's order): raw tokens, or a random decoder's barcodes.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of folds and shuffles.")]


@cohort.command("classify")
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


@cohort.command("predict")
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


@cohort.command("explain")
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


@cohort.command("cells")
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


@cohort.command("report")
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
