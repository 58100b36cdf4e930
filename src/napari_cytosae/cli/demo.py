"""The main job from beginning to end, for a first look: on a drawn smear, or on one's own image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.text import Text

from napari_cytosae.cli.analyze import AnalyzeOptions, Outcome, analyze_one, exit_status, load
from napari_cytosae.cli.console import note, plain_table, results
from napari_cytosae.cli.progress import Display, stop_on_ctrl_c
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides import Slide, image_stem, sample_smear

if TYPE_CHECKING:
    from napari_cytosae.concepts import Run
    from napari_cytosae.slides.sample import SampleSmear

SAMPLE_FOLDER = "sample-smear"
N_TOP_CONCEPTS = 3
_MOST_LISTED = 30


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the cells that were found go with those that were drawn.

    Parameters
    ----------
    kinds
        For each found cell, by label, the kind of the white cell that its centre lies in.
    n_found
        How many drawn cells hold the centre of a found one.
    n_drawn
        How many white cells were drawn.
    n_false
        How many found cells have their centre in no white cell, or in one that another has found.
    """

    kinds: dict[int, str]
    n_found: int
    n_drawn: int
    n_false: int


def compare(found: pd.DataFrame, sample: "SampleSmear") -> Comparison:
    """Compare the table of found cells with what was drawn."""
    height, width = sample.labels.shape
    rows = np.clip(found["centroid_y"].round().astype(int), 0, height - 1)
    columns = np.clip(found["centroid_x"].round().astype(int), 0, width - 1)
    hit = sample.labels[rows, columns]
    kind_of = dict(zip(sample.cells["label"], sample.cells["kind"], strict=True))
    kinds = {
        int(label): str(kind_of[drawn])
        for label, drawn in zip(found["label"], hit, strict=True)
        if drawn
    }
    n_found = len(np.unique(hit[hit > 0]))
    return Comparison(kinds, n_found, len(sample.cells), len(found) - n_found)


def run_demo(image: Path | None, out: Path, *, view: bool, overwrite: bool) -> int:
    """Analyse the sample smear or an image with the starter bundle, and show what came of it.

    Parameters
    ----------
    image
        An image; None for the sample smear, which is then written into `out` too.
    out
        Folder that gets the run, or has it from before.
    view
        Whether to open napari where that is possible.
    overwrite
        Whether to start anew.

    Returns
    -------
    int
        Exit status.
    """
    sample = None
    if image is None:
        note("Drawing the sample smear.")
        sample = sample_smear()
        image, is_new = place_sample(sample, out / SAMPLE_FOLDER)
        overwrite |= is_new
    name = image_stem(image)
    options = AnalyzeOptions(overwrite=overwrite)
    with stop_on_ctrl_c() as cancelled, Display(n_images=1) as display:
        display.begin(image.name)
        display.stage("open")
        bundle = load(options)
        outcome = analyze_one(image, out / f"{name}.cytosae", bundle, options, display, cancelled)
    run = outcome.run
    if run is None:
        return exit_status([outcome], 1)
    comparison = None if sample is None else compare(run.table, sample)
    print_cells(run, comparison)
    print_places(image, outcome)
    if view:
        show(run.path)
    return 0


def place_sample(sample: "SampleSmear", folder: Path) -> tuple[Path, bool]:
    """Write the sample into a folder, unless the very same picture is there; tell whether it is new."""
    path = folder / "smear.ome.tif"
    if path.exists():
        try:
            with Slide.open(path) as slide:
                if np.array_equal(slide.read(), sample.image):
                    return path, False
        except CytoSAEError:
            note(f"{path} is damaged and is written anew.")
    return sample.save(folder), True


def print_cells(run: "Run", comparison: Comparison | None) -> None:
    """Print each cell with its strongest concepts, and its kind where the truth is known."""
    from napari_cytosae.export import strongest_on_cell

    headings = ["cell", "drawn as", f"its {N_TOP_CONCEPTS} strongest concepts (mean on the cell)"]
    if comparison is None:
        headings.remove("drawn as")
    table = plain_table(*headings, right=("cell",))
    labels = [int(label) for label in run.table["label"]]
    for label in labels[:_MOST_LISTED]:
        concepts = "   ".join(
            ranked.concept.title + f" ({ranked.on_cell:.2g})"
            for ranked in strongest_on_cell(run, label, N_TOP_CONCEPTS)
        )
        kind = [] if comparison is None else [comparison.kinds.get(label, "no white cell")]
        table.add_row(str(label), *kind, Text(concepts))
    console = results()
    if labels:
        console.print(table)
    if len(labels) > _MOST_LISTED:
        console.print(f"and {len(labels) - _MOST_LISTED:,} more cells")
    if comparison is not None:
        console.print(
            f"Found {comparison.n_found} of the {comparison.n_drawn} white cells that were drawn, "
            f"and {comparison.n_false} others."
        )


def print_places(image: Path, outcome: Outcome) -> None:
    """Print where everything lies."""
    export = outcome.folder / "export"
    places = {
        "image": image,
        "run": outcome.folder,
        "pictures": export / "overview.png",
        "": export / "concepts.png",
        "tables": export / "cells.csv",
        " ": export / "concepts.csv",
    }
    console = results()
    for what, path in places.items():
        if path.exists():
            console.print(Text(f"{what.strip():<10}{path}"), soft_wrap=True)
    console.print(
        Text(f"Look at it again with: napari-cytosae view {outcome.folder}"), soft_wrap=True
    )


def show(run_folder: Path) -> None:
    """Open napari where it can be; otherwise say in one line why not."""
    from napari_cytosae.cli.view import open_window, window_hindrance

    hindrance = window_hindrance(asked_for=False)
    if not hindrance:
        try:
            open_window(run_folder)
        except (ImportError, CytoSAEError) as error:
            hindrance = str(error)
    if hindrance:
        note(f"napari is not opened: {hindrance}")
