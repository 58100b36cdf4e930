"""The commands ``napari-cytosae bundles …``."""

from pathlib import Path
from typing import Annotated

import typer

from napari_cytosae.cli.group import Commands

bundles = typer.Typer(
    cls=Commands, help="List, fetch, add and describe model bundles.", rich_markup_mode=None
)


@bundles.callback(invoke_without_command=True)
def _bundles(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        bundles_list()


@bundles.command("list")
def bundles_list() -> None:
    """List the bundles that are known by name."""
    from napari_cytosae.cli.bundles import list_bundles

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
    from napari_cytosae.cli.bundles import show_bundle

    show_bundle(name)


@bundles.command("fetch")
def bundles_fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundle's name.")],
) -> None:
    """Download a bundle; repeat after a broken connection to go on."""
    from napari_cytosae.cli.bundles import fetch

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
    from napari_cytosae.cli.bundles import add

    if (folder is None) == (backbone is None and sae is None):
        raise typer.BadParameter("Give a bundle's folder, or --backbone with --sae.")
    check_pair(backbone, sae)
    if folder is None and name is None:
        raise typer.BadParameter("Give the pair a name: --name NAME.")
    add(folder, backbone, sae, name)


def check_pair(backbone: Path | None, sae: Path | None) -> None:
    """Refuse half a pair of weight files."""
    if (backbone is None) != (sae is None):
        raise typer.BadParameter(
            "--backbone and --sae go together: an SAE reads one block of one backbone."
        )
