"""The export folder of a run: its tables and pictures, for whoever has no napari at hand."""

from pathlib import Path

from napari_cytosae.concepts import Run
from napari_cytosae.errors import ImageError
from napari_cytosae.export.tables import cell_table, concept_table, write_table
from napari_cytosae.slides import Slide

EXPORT_FOLDER = "export"
"""Name of the folder inside the run folder."""

_FILES = ("cells.csv", "concepts.csv", "overview.png", "concepts.png")


def export_run(run: Run, slide: Slide | None = None, *, pictures: bool = True) -> list[Path]:
    """Write a run's tables, and its pictures, into ``export/`` of its folder.

    Parameters
    ----------
    run
        A finished run.
    slide
        The image that it analysed; opened from where it lay where not given.
    pictures
        Whether to draw the pictures too.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    RunError
        Where the folder cannot be written to.
    ImageError
        Where the pictures need an image that is no longer there.
    """
    folder = run.path / EXPORT_FOLDER
    folder.mkdir(exist_ok=True)
    files = [folder / "cells.csv", folder / "concepts.csv"]
    write_table(cell_table(run), files[0])
    write_table(concept_table(run), files[1])
    if pictures:
        from napari_cytosae.export.pictures import write_pictures

        files += write_pictures(run, slide or _open_slide(run), folder)
    return files


def remove_exports(run_path: Path) -> None:
    """Delete the files that `export_run` wrote, and its folder where nothing else lies in it."""
    folder = run_path / EXPORT_FOLDER
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _open_slide(run: Run) -> Slide:
    if run.slide_path is None:
        raise ImageError(
            f"{run.path.name} was made from an image in memory; give the image to draw pictures of it."
        )
    return Slide.open(run.slide_path, microns_per_pixel=run.microns_per_pixel, associated=False)
