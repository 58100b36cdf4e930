"""The command ``napari-cytosae``: the same jobs without a screen."""

from napari_cytosae.cli.root import app, main

__all__ = ["app", "main"]
