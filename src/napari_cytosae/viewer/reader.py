"""napari's way to open scanners' files with this plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides.files import SLIDE_SUFFIXES, holds_image
from napari_cytosae.viewer.slide_layers import LayerData, layers_of, open_slides

Reader = Callable[[Any], list[LayerData]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Return a function that reads a slide, or None where another reader should.

    A scanner's file is this plugin's wherever its content is an image's, and where it is damaged
    the error says so. OME-TIFF and Zarr hold stacks, labels and much else too: of these only what
    is one image, in colour or in channels, is taken.
    """
    if not isinstance(path, str) and len(path) != 1:
        return None  # a stack of several files
    file = Path(path if isinstance(path, str) else path[0])
    if not holds_image(file):
        return None
    if file.name.lower().endswith(tuple(SLIDE_SUFFIXES)):
        return lambda _path: layers_of(open_slides(file))
    try:
        slides = open_slides(file)
    except CytoSAEError:
        return None
    return lambda _path: layers_of(slides)
