"""The command ``napari-cytosae``: the main job without a screen, and the way to the screen.

Only light modules are imported here; each command imports what it runs, so that ``--help`` is
there at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae import __version__
from napari_cytosae.cli.atlas_commands import atlas
from napari_cytosae.cli.bundle_commands import bundles, check_pair
from napari_cytosae.cli.cohort_commands import cohort
from napari_cytosae.cli.group import Commands
from napari_cytosae.cli.train_commands import train


class PrecisionChoice(StrEnum):
    """Number formats that the models run in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # Plain help: panels cut long option names off on a narrow terminal.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-cytosae {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", hidden=True, help="Show tracebacks of errors.")
    ] = False,
) -> None:
    """Show what a vision transformer sees in blood and marrow cells, concept by concept."""


@app.command()
def analyze(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE", help="Image files, or folders of them.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder that gets a run folder for each image."
        ),
    ],
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="Bundle of backbone and SAE: a name that `bundles list` shows, or a folder. "
            "[default: starter]",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Backbone checkpoint; goes with --sae.", dir_okay=False),
    ] = None,
    sae: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="SAE checkpoint; goes with --backbone."),
    ] = None,
    cells: Annotated[
        str,
        typer.Option(
            metavar="detect|red|whole|FILE",
            help="Find nucleated cells, or red cells, take the whole image as one, or read them from "
            "a label image, CSV or GeoJSON.",
        ),
    ] = "detect",
    precision: Annotated[
        PrecisionChoice,
        typer.Option(help="bfloat16 is faster where the processor has it; auto decides."),
    ] = PrecisionChoice.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    microns_per_pixel: Annotated[
        float | None,
        typer.Option(
            metavar="µM", min=0.001, help="Pixel size, where the file does not say or is wrong."
        ),
    ] = None,
    crop_um: Annotated[
        float,
        typer.Option(
            metavar="µM", min=1, help="Side of the square cut around a cell, with known pixel size."
        ),
    ] = 25.0,
    threshold: Annotated[
        float,
        typer.Option(min=0, help="Tokens above this activation are counted (the paper's τ)."),
    ] = 0.2,
    focus: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Encode only these concepts, which is faster: a text or CSV file of ids, or .npy. "
            "[default: all concepts]",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="Y0,X0,Y1,X1|FILE",
            help="Only the cells in a box of pixels, or in the polygons of a GeoJSON file. "
            "[default: all of the image]",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs that are there already.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Also draw overview.png and concepts.png of each run.")
    ] = True,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only say about how many cells there are, how long it will take, and how much disk.",
        ),
    ] = False,
) -> None:
    """Find the cells of images and encode them to concepts.

    Each image gets a run folder, NAME.cytosae, with tables and pictures in its export/ folder.
    A run that was stopped goes on when the command is repeated; a finished one is reopened.
    """
    from napari_cytosae.cli.analyze import AnalyzeOptions, analyze_images, check_cells, check_region
    from napari_cytosae.cli.estimate import estimate_images

    check_pair(backbone, sae)
    if bundle is not None and backbone is not None:
        raise typer.BadParameter("Give --bundle, or --backbone with --sae, not both.")
    check_cells(cells, images)
    part = check_region(region, images)
    options = AnalyzeOptions(
        bundle=bundle or "starter",
        backbone=backbone,
        sae=sae,
        cells=cells,
        precision=precision.value,
        device=device,
        microns_per_pixel=microns_per_pixel,
        crop_um=crop_um,
        threshold=threshold,
        focus=focus,
        region=part,
        overwrite=overwrite,
        pictures=pictures,
    )
    work = estimate_images if estimate else analyze_images
    status = work(images, out, options)
    raise typer.Exit(status)


@app.command()
def view(
    path: Annotated[
        Path,
        typer.Argument(metavar="RUN|IMAGE", help="A run folder, or an image.", show_default=False),
    ],
) -> None:
    """Open a run or an image in napari."""
    from napari_cytosae.cli.view import open_window

    open_window(path)


@app.command()
def demo(
    image: Annotated[
        Path | None,
        typer.Argument(help="An image of your own instead of the sample smear."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where it goes.")] = Path(
        "cytosae-demo"
    ),
    view: Annotated[
        bool, typer.Option("--view/--no-view", help="Open napari where there is a screen.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew instead of reopening.")
    ] = False,
) -> None:
    """Run the main job on a sample smear, or on an image.

    With the starter bundle, which comes with the package; nothing is downloaded. What is there
    already is reopened.
    """
    from napari_cytosae.cli.demo import run_demo

    raise typer.Exit(run_demo(image, out, view=view, overwrite=overwrite))


app.add_typer(atlas, name="atlas")
app.add_typer(bundles, name="bundles")
app.add_typer(cohort, name="cohort")
app.add_typer(train, name="train")


def main() -> None:
    """Run the command line; the console script's entry point."""
    app(prog_name="napari-cytosae")
