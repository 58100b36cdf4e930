"""Which images a training takes, and what they are labelled."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_cytosae.cohorts.image_files import images_in, is_image, is_run, sub_folders
from napari_cytosae.errors import TrainingError
from napari_cytosae.slides.zarrs import is_zarr

_PATH_COLUMNS = ("path", "image", "file", "filename")
_LABEL_COLUMNS = ("label", "class", "diagnosis")
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file, a slide or a run.

    Parameters
    ----------
    path
        Where it lies.
    label
        Its class; empty where nobody says.
    """

    path: Path
    label: str = ""


def gather_images(paths: Iterable[str | Path]) -> list[LabelledImage]:
    """List images, in the order of their paths; each once.

    Parameters
    ----------
    paths
        Image files, slides and run folders; tables with a column ``path`` and, if wished,
        ``label`` (CSV, TSV), whose paths are relative to the table; and folders of all these. A
        folder's subfolders are classes: what lies in them, however deep, is labelled with their
        name.

    Raises
    ------
    TrainingError
        A path does not exist, a table cannot be read, or there are no images.
    """
    found: dict[Path, LabelledImage] = {}
    for path in map(Path, paths):
        for image in _images_of(path):
            found.setdefault(image.path.resolve(), image)
    if not found:
        raise TrainingError("There are no images: give image files, folders, tables or runs.")
    return list(found.values())


def _images_of(path: Path) -> Iterable[LabelledImage]:
    if not path.exists():
        raise TrainingError(f"{path} does not exist; check its name and folder.")
    if path.is_file() and path.suffix.lower() in _TABLES:
        return _read_table(path)
    if path.is_file() or is_run(path) or is_zarr(path):
        return [LabelledImage(path)]
    images = [LabelledImage(image) for image in images_in(path)]
    for folder in sub_folders(path):
        if is_zarr(folder):
            images.append(LabelledImage(folder))
        else:
            images += [LabelledImage(image, folder.name) for image in _below(folder)]
    if not images:
        raise TrainingError(f"{path} holds no images, and its subfolders hold none.")
    return images


def _below(folder: Path) -> Iterable[Path]:
    yield from images_in(folder)
    for inner in sub_folders(folder):
        if is_zarr(inner):
            yield inner
        else:
            yield from _below(inner)


def _read_table(path: Path) -> list[LabelledImage]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            rows = [row for row in text if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read as a table: {error}.") from None
    if not rows:
        raise TrainingError(f"{path} is empty.")
    header = [cell.strip().casefold() for cell in rows[0]]
    where = next((header.index(name) for name in _PATH_COLUMNS if name in header), None)
    if where is None:
        raise TrainingError(
            f"{path} has no column {' or '.join(_PATH_COLUMNS)}; its first row is "
            f"{', '.join(rows[0])}."
        )
    labelled = next((header.index(name) for name in _LABEL_COLUMNS if name in header), None)
    found = []
    for number, row in enumerate(rows[1:], start=2):
        cells = [*(cell.strip() for cell in row), *[""] * (len(header) - len(row))]
        if not cells[where]:
            raise TrainingError(f"{path}: row {number} names no image.")
        image = path.parent / cells[where]
        if not (is_image(image) or is_run(image) or is_zarr(image) or image.is_file()):
            raise TrainingError(f"{path}: row {number}: there is no {image}.")
        found.append(LabelledImage(image, "" if labelled is None else cells[labelled]))
    return found
