"""The command ``analyze``: many images, one run folder each, whatever happens to one of them."""

import difflib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.text import Text

from napari_cytosae.cli.console import CANCELLED, complain, note, plain_table, results
from napari_cytosae.cli.progress import Display, stop_on_ctrl_c
from napari_cytosae.errors import Cancelled, CytoSAEError, ImageError
from napari_cytosae.slides import image_stem, is_image_folder
from napari_cytosae.slides.files import SLIDE_SUFFIXES

if TYPE_CHECKING:
    from napari_cytosae.cells import Region
    from napari_cytosae.concepts import Run
    from napari_cytosae.models import Bundle

# What is taken from a folder; a file that is named itself may be called anything.
_SUFFIXES = {
    ".bmp", ".btf", ".czi", ".jpeg", ".jpg", ".png", ".ptif", ".ptiff", ".tf8", ".tif", ".tiff",
    ".zarr", *SLIDE_SUFFIXES,
}  # fmt: skip
N_TOP_CONCEPTS = 3
# Cells that the summary of a run looks at; more would not change its three concepts.
_MOST_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """What the command's options say, the same for all images.

    Parameters
    ----------
    bundle
        Name or folder of a bundle; not used where `backbone` and `sae` are given.
    backbone, sae
        Checkpoints of a bundle's two parts.
    cells
        ``"detect"``, ``"red"``, ``"whole"`` or a file of cells.
    focus
        A file of the concept ids to encode; None for all.
    region
        The part of the image whose cells are wanted; None for all of it.
    precision, device, microns_per_pixel, crop_um, threshold, overwrite
        As in `napari_cytosae.analyze`.
    pictures
        Whether to draw pictures too.
    """

    bundle: str = "starter"
    backbone: Path | None = None
    sae: Path | None = None
    cells: str = "detect"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    microns_per_pixel: float | None = None
    crop_um: float = 25.0
    threshold: float = 0.2
    focus: Path | None = None
    region: "Region | None" = None
    overwrite: bool = False
    pictures: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image: its run, or the error that stopped it."""

    image: Path
    folder: Path
    seconds: float
    run: "Run | None"
    error: CytoSAEError | None = None


def check_cells(cells: str, images: list[Path]) -> None:
    """Refuse a source of cells that cannot be meant, before any model is loaded.

    Raises
    ------
    typer.BadParameter
        With what could have been meant.
    """
    from napari_cytosae.cells.read import NAMED_SOURCES

    if cells in NAMED_SOURCES:
        return
    if not Path(cells).is_file():
        close = difflib.get_close_matches(cells, NAMED_SOURCES, n=1)
        hint = f"did you mean {close[0]}?" if close else "give detect, red, whole, or a file."
        raise typer.BadParameter(f"--cells {cells}: there is no such file; {hint}")
    if len(images) > 1 or images[0].is_dir():
        raise typer.BadParameter(
            f"--cells {cells} holds the cells of one image; give one image with it."
        )


def check_region(text: str | None, images: list[Path]) -> "Region | None":
    """Read the part of the image that is wanted, before any model is loaded.

    Raises
    ------
    typer.BadParameter
        Where it is none, or there are several images.
    """
    from napari_cytosae.cells import read_region

    if text is None:
        return None
    if len(images) > 1 or (images[0].is_dir() and not is_image_folder(images[0])):
        raise typer.BadParameter("--region marks a part of one image; give one image with it.")
    try:
        return read_region(text)
    except CytoSAEError as error:
        raise typer.BadParameter(f"--region: {error}") from error


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Put the images of folders in their place, and leave out what is named twice.

    Raises
    ------
    ImageError
        Where a folder holds no images, or is a run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        images = [path]
        if path.is_dir() and not is_image_folder(path):
            if (path / "run.json").is_file():
                raise ImageError(
                    f"{path} is a run, not an image. Look at it with: napari-cytosae view {path}"
                )
            images = sorted(
                entry
                for entry in path.iterdir()
                if entry.suffix.lower() in _SUFFIXES and not entry.name.startswith(".")
            )
            if not images:
                raise ImageError(f"{path} holds no images ({', '.join(sorted(_SUFFIXES))}).")
        for image in images:
            found.setdefault(image.resolve(), image)
    return list(found.values())


def run_folders(images: list[Path], out: Path) -> list[Path]:
    """Name each image's run folder: NAME.cytosae, with what tells images of one name apart.

    That is their suffix (``field-png.cytosae``), else their folder (``monday-field.cytosae``), so
    that the same images get the same names when the command is repeated; numbers are the last
    resort.
    """
    names = [image_stem(image) for image in images]
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):  # some file systems do not tell case apart
        groups.setdefault(name.casefold(), []).append(place)
    taken = set(groups)
    for places in groups.values():
        if len(places) == 1:
            continue
        alike = [(names[place], images[place].absolute()) for place in places]
        candidates = [
            [f"{name}-{image.suffix[1:]}" for name, image in alike],
            [f"{image.parent.name}-{name}" for name, image in alike],
            [f"{image.parent.name}-{name}-{image.suffix[1:]}" for name, image in alike],
            [f"{name}-{number}" for number, (name, _) in enumerate(alike, start=1)],
        ]
        chosen = next(
            distinct
            for distinct in candidates
            if len(folded := {name.casefold() for name in distinct}) == len(places)
            and not folded & taken
        )
        taken |= {name.casefold() for name in chosen}
        for place, name in zip(places, chosen, strict=True):
            names[place] = name
    return [out / f"{name}.cytosae" for name in names]


def load(options: AnalyzeOptions) -> "Bundle":
    """Load the bundle that the options name.

    Raises
    ------
    CytoSAEError
        Where there is no such bundle, it is not what it should be, or it has not the concepts to
        focus on.
    """
    from napari_cytosae.concepts import read_focus
    from napari_cytosae.models import load_bundle

    ids = None if options.focus is None else read_focus(options.focus)
    if options.backbone is not None:
        bundle = load_bundle(backbone=options.backbone, sae=options.sae)
    else:
        bundle = load_bundle(options.bundle)
    return bundle if ids is None else bundle.focused(ids)


def analyze_images(paths: list[Path], out: Path, options: AnalyzeOptions) -> int:
    """Analyse images one after another, and say at the end what became of each.

    One that fails does not stop the others.

    Returns
    -------
    int
        Exit status: 0, 1 where an image failed, 130 after Ctrl-C.
    """
    images = find_images(paths)
    folders = run_folders(images, out)
    for image, folder in zip(images, folders, strict=True):
        if folder.stem != image_stem(image):
            note(f"{image}: others have its name, so its run folder is {folder.name}.")
    outcomes: list[Outcome] = []
    with stop_on_ctrl_c() as cancelled, Display(len(images)) as display:
        display.stage("open")
        bundle = load(options)
        for image, folder in zip(images, folders, strict=True):
            display.begin(image.name)
            outcome = analyze_one(image, folder, bundle, options, display, cancelled)
            outcomes.append(outcome)
            if isinstance(outcome.error, Cancelled):
                break
    print_summary(outcomes, out)
    return exit_status(outcomes, len(images))


def analyze_one(
    image: Path,
    folder: Path,
    bundle: "Bundle",
    options: AnalyzeOptions,
    display: Display,
    cancelled: Callable[[], bool],
) -> Outcome:
    """Analyse one image and write its tables and pictures; an error becomes part of the outcome."""
    from napari_cytosae.concepts import analyze
    from napari_cytosae.export import export_run, remove_exports
    from napari_cytosae.slides import Slide

    start = time.monotonic()

    def outcome(run: "Run | None", error: CytoSAEError | None = None) -> Outcome:
        return Outcome(image, folder, time.monotonic() - start, run, error)

    try:
        if cancelled():
            raise Cancelled("Stopped.")
        display.stage("open")
        with Slide.open(
            image, microns_per_pixel=options.microns_per_pixel, associated=False
        ) as slide:
            if options.overwrite:
                remove_exports(folder)
            run = analyze(
                slide,
                bundle=bundle,
                cells=options.cells,
                out=folder,
                precision=options.precision,
                device=options.device,
                microns_per_pixel=options.microns_per_pixel,
                crop_um=options.crop_um,
                threshold=options.threshold,
                progress=display.show,
                cancelled=cancelled,
                overwrite=options.overwrite,
                region=options.region,
            )
            display.stage("export")
            export_run(run, slide, pictures=options.pictures)
    except Cancelled as error:
        return outcome(None, error)
    except CytoSAEError as error:
        complain(error if image.name in str(error) else f"{image.name}: {error}")
        return outcome(None, error)
    return outcome(run)


def top_concepts(run: "Run", k: int = N_TOP_CONCEPTS) -> str:
    """Name the concepts that are strongest on a run's cells, taken together."""
    from napari_cytosae.export import strongest_on_cell

    strength: dict[str, float] = {}
    every = max(1, len(run) // _MOST_LOOKED_AT)
    for label in run.table["label"].iloc[::every]:
        for ranked in strongest_on_cell(run, int(label), 2 * k):
            name = ranked.concept.title
            strength[name] = strength.get(name, 0.0) + ranked.on_cell
    return ", ".join(sorted(strength, key=lambda name: -strength[name])[:k])


def print_summary(outcomes: list[Outcome], out: Path) -> None:
    """Print one line for each image that was begun."""
    table = plain_table(
        "image", "cells", "seconds", "top concepts", "run folder", right=("cells", "seconds")
    )
    for outcome in outcomes:
        if outcome.run is not None:
            cells, concepts = f"{len(outcome.run):,}", top_concepts(outcome.run)
        elif isinstance(outcome.error, Cancelled):
            cells, concepts = "", "stopped"
        else:
            cells, concepts = "", "failed"
        folder = outcome.folder.name if outcome.folder.exists() else ""
        table.add_row(
            Text(outcome.image.name),
            cells,
            f"{outcome.seconds:.1f}",
            Text(concepts),
            Text(folder),
        )
    console = results()
    console.print(table)
    if any(outcome.run is not None for outcome in outcomes):
        words = f"Run folders are in {out}; their tables and pictures in export/ of each."
        console.print(Text(words), soft_wrap=True)


def exit_status(outcomes: list[Outcome], n_images: int) -> int:
    """Say on stderr what is left to do, and give the exit status."""
    failed = [outcome for outcome in outcomes if outcome.run is None]
    if failed and isinstance(failed[-1].error, Cancelled):
        complain(
            Cancelled(
                f"Stopped with {len(outcomes) - len(failed)} of {n_images} images finished. "
                "What is done is kept: repeat the command, and it goes on from there."
            )
        )
        return CANCELLED
    if failed:
        names = ", ".join(outcome.image.name for outcome in failed)
        complain(f"{len(failed)} of {n_images} images failed: {names}")
        return 1
    return 0
