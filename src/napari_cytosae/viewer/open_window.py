"""Open a run or an image in a napari window of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_cytosae.errors import ImageError, RunError
from napari_cytosae.slides import Slide, is_image_folder
from napari_cytosae.viewer.slide_layers import layers_of, open_slides

if TYPE_CHECKING:
    import napari

    from napari_cytosae.concepts import Run


def open_in_napari(path: str | Path, *, block: bool = True) -> napari.Viewer:
    """Open a run folder, or an image, in napari with the CytoSAE dock.

    Parameters
    ----------
    path
        A run folder (``NAME.cytosae``) or an image file.
    block
        Keep the window open until the user closes it.

    Raises
    ------
    CytoSAEError
        The path is neither, or the run's image is not where it was.
    """
    from napari_cytosae.concepts import open_run

    path = Path(path)
    run = open_run(path) if path.is_dir() and not is_image_folder(path) else None
    slides = [_slide_of(run)] if run is not None else open_slides(path)
    import napari

    viewer = napari.Viewer(title=f"CytoSAE – {slides[0].name}")
    show_in(viewer, slides, run)
    if block:
        napari.run()
    return viewer


def show_in(viewer: napari.Viewer, slides: list[Slide], run: Run | None) -> None:
    """Show the slides of a file in a viewer with the CytoSAE dock, and a run where there is one."""
    from napari_cytosae.viewer.main_dock import CytoSAEDock

    layers = [viewer.add_image(data, **settings) for data, settings, _ in layers_of(slides)]
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    assert isinstance(dock, CytoSAEDock)
    if run is not None:
        dock.show_run(run, slides[0], layers[0])


def show_run_in(viewer: napari.Viewer, run: Run) -> None:
    """Show a run and its image in a viewer.

    Raises
    ------
    RunError
        Where the image is not where it was.
    """
    show_in(viewer, [_slide_of(run)], run)


def _slide_of(run: Run) -> Slide:
    """Open the slide that a run was made from."""
    file = run.slide_path
    if file is None:
        raise RunError(
            f"{run.path.name} was made from an image in memory, which is not kept; open it from "
            "Python with napari_cytosae.open_run."
        )
    try:
        slide = Slide.open(file, microns_per_pixel=run.microns_per_pixel)
    except ImageError as error:
        raise RunError(
            f"The image of this run is not where it was ({error}). Put it back at {file}."
        ) from error
    if slide.digest != run.manifest.key.image:
        raise RunError(
            f"{file} has changed since {run.path.name} was made; analyse it again for a new run."
        )
    return slide
