"""The command ``napari-cytosae``: the main job without a screen, and the way to the screen.

Only light modules are imported here; each command imports what it runs, so that ``--help`` is
there at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_cytosae import __version__
from napari_cytosae.errors import Cancelled, CytoSAEError


class _Commands(TyperGroup):
    """Puts the package's own errors into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CytoSAEError as error:
            if ctx.find_root().params.get("debug"):
                raise
            from napari_cytosae.cli_console import CANCELLED, complain

            complain(error)
            raise typer.Exit(CANCELLED if isinstance(error, Cancelled) else 1) from None


class PrecisionChoice(StrEnum):
    """Number formats that the models run in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


app = typer.Typer(
    cls=_Commands,
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
            metavar="detect|whole|FILE",
            help="Find nucleated cells, take the whole image as one, or read them from a label "
            "image, CSV or GeoJSON.",
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs that are there already.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Also draw overview.png and concepts.png of each run.")
    ] = True,
) -> None:
    """Find the cells of images and encode them to concepts.

    Each image gets a run folder, NAME.cytosae, with tables and pictures in its export/ folder.
    A run that was stopped goes on when the command is repeated; a finished one is reopened.
    """
    from napari_cytosae.cli_analyze import AnalyzeOptions, analyze_images, check_cells

    _check_pair(backbone, sae)
    if bundle is not None and backbone is not None:
        raise typer.BadParameter("Give --bundle, or --backbone with --sae, not both.")
    check_cells(cells, images)
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
        overwrite=overwrite,
        pictures=pictures,
    )
    status = analyze_images(images, out, options)
    raise typer.Exit(status)


def _check_pair(backbone: Path | None, sae: Path | None) -> None:
    if (backbone is None) != (sae is None):
        raise typer.BadParameter(
            "--backbone and --sae go together: an SAE reads one block of one backbone."
        )


@app.command()
def view(
    path: Annotated[
        Path,
        typer.Argument(metavar="RUN|IMAGE", help="A run folder, or an image.", show_default=False),
    ],
) -> None:
    """Open a run or an image in napari."""
    from napari_cytosae.cli_view import open_window

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
    from napari_cytosae.demo import run_demo

    raise typer.Exit(run_demo(image, out, view=view, overwrite=overwrite))


bundles = typer.Typer(
    cls=_Commands, help="List, fetch, add and describe model bundles.", rich_markup_mode=None
)
app.add_typer(bundles, name="bundles")


@bundles.callback(invoke_without_command=True)
def _bundles(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        bundles_list()


@bundles.command("list")
def bundles_list() -> None:
    """List the bundles that are known by name."""
    from napari_cytosae.cli_bundles import list_bundles

    list_bundles()


@bundles.command("info")
def bundles_info(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="A bundle's name, or its folder.")
    ],
) -> None:
    """Show what a bundle was made from.

    Its card, its sizes and its digest.
    """
    from napari_cytosae.cli_bundles import show_bundle

    show_bundle(name)


@bundles.command("fetch")
def bundles_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundle's name.")],
) -> None:
    """Download a bundle; repeat after a broken connection to go on."""
    from napari_cytosae.cli_bundles import fetch

    fetch(name)


@bundles.command("add")
def bundles_add(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A bundle folder.")
    ] = None,
    backbone: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Backbone checkpoint; goes with --sae.")
    ] = None,
    sae: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="SAE checkpoint; goes with --backbone.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name by which it is known from now on.")
    ] = None,
) -> None:
    """Give a bundle folder, or a backbone and an SAE, a name of your own."""
    from napari_cytosae.cli_bundles import add

    if (folder is None) == (backbone is None and sae is None):
        raise typer.BadParameter("Give a bundle's folder, or --backbone with --sae.")
    _check_pair(backbone, sae)
    if folder is None and name is None:
        raise typer.BadParameter("Give the pair a name: --name NAME.")
    add(folder, backbone, sae, name)


def main() -> None:
    """Run the command line; the console script's entry point."""
    app(prog_name="napari-cytosae")
