"""The commands ``napari-cytosae cohort …``."""

from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.classify_commands import cohort_classify, cohort_predict, cohort_report
from napari_cytosae.cli.cohort_options import CohortArgument, StatisticChoice
from napari_cytosae.cli.explain_commands import cohort_cells, cohort_explain
from napari_cytosae.cli.group import Commands

cohort = typer.Typer(
    cls=Commands,
    help="Patients and diseases: barcodes, what differs between groups, and why.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@cohort.command("extract")
def cohort_extract(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE|FOLDER",
            help="A table (CSV) with the columns patient, diagnosis and image, further ones being "
            "covariates, microns_per_pixel each image's pixel size; or a folder "
            "disease/patient/images.",
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
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also describe the patients by raw tokens and by a random dictionary, which takes "
            "about as long again; `classify` and `report` hold the barcodes against them.",
        ),
    ] = False,
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
        baselines=baselines,
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


cohort.command("classify")(cohort_classify)
cohort.command("predict")(cohort_predict)
cohort.command("explain")(cohort_explain)
cohort.command("cells")(cohort_cells)
cohort.command("report")(cohort_report)
