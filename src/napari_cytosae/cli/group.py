"""Groups of commands that put the package's own errors into one line."""

from typing import Any

import typer
from typer.core import TyperGroup

from napari_cytosae.errors import Cancelled, CytoSAEError


class Commands(TyperGroup):
    """Puts the package's own errors into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except CytoSAEError as error:
            if ctx.find_root().params.get("debug"):
                raise
            from napari_cytosae.cli.console import CANCELLED, complain

            complain(error)
            raise typer.Exit(CANCELLED if isinstance(error, Cancelled) else 1) from None
