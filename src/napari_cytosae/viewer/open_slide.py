"""File ▸ IO Utilities ▸ Open Slide: any image that the package reads, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog

from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.slide_layers import layers_of, open_slides

_FILTER = (
    "Slides and fields (*.svs *.ndpi *.scn *.mrxs *.dcm *.bif *.czi *.qptiff *.svslide *.vms *.vmu "
    "*.tif *.tiff *.btf *.ptif *.png *.jpg *.jpeg *.bmp);;All files (*)"
)


def ask_and_open(viewer: napari.Viewer) -> None:
    """Ask for a file and open it; what is wrong with it is told as a notification."""
    parent = viewer.window._qt_window
    name, _ = QFileDialog.getOpenFileName(parent, "Open a slide", "", _FILTER)
    if name:
        open_in(viewer, Path(name))


def open_in(viewer: napari.Viewer, path: Path) -> None:
    """Open an image as layers of a viewer."""
    try:
        for data, settings, _ in layers_of(open_slides(path)):
            viewer.add_image(data, **settings)
    except CytoSAEError as error:
        show_error(str(error))
