"""The two pictures of a run: the slide with its cells, and typical cells with their concepts."""

from pathlib import Path

import numpy as np

from napari_cytosae.cells import CropGeometry, iter_crops
from napari_cytosae.concepts import Run
from napari_cytosae.export.contact_sheet import (
    N_CELLS,
    N_CONCEPTS,
    ShownCell,
    ShownConcept,
    draw_contact_sheet,
)
from napari_cytosae.export.on_cell import strongest_on_cell
from napari_cytosae.export.overview import draw_overview
from napari_cytosae.export.typical import typical_cells
from napari_cytosae.slides import Slide

# Cells that are looked through for a concept's largest value at a patch.
_MOST_SEARCHED = 64


def write_pictures(run: Run, slide: Slide, folder: Path) -> list[Path]:
    """Draw ``overview.png`` and ``concepts.png`` into a folder.

    Parameters
    ----------
    run
        A finished run.
    slide
        The image that it analysed.
    folder
        An existing folder.

    Returns
    -------
    list of Path
        The files: the overview, and the concepts where the run has cells.
    """
    files = [folder / "overview.png"]
    draw_overview(run, slide, files[0])
    if len(run):
        files.append(folder / "concepts.png")
        draw_contact_sheet(
            show_cells(run, slide), f"{slide.name}   ·   bundle {run.bundle_name}", files[1]
        )
    return files


def show_cells(run: Run, slide: Slide) -> list[ShownCell]:
    """Take typical cells of a run, with their crops and the maps of their strongest concepts.

    Strongest on the cell itself, see `strongest_on_cell`.
    """
    rows = typical_cells(run.adata.X, N_CELLS)
    key = run.manifest.key
    batches = iter_crops(
        slide,
        run.table.iloc[rows],
        CropGeometry(crop_um=key.crop_um, cell_fraction=key.cell_fraction, whole=key.whole),
        batch_cells=N_CELLS,
        microns_per_pixel=run.microns_per_pixel,
    )
    crops = [crop for batch in batches for crop in batch.pixels]
    shown = []
    for row, crop in zip(rows, crops, strict=True):
        label = int(run.table["label"].iloc[row])
        cell = run.cell(label)
        shown.append(
            ShownCell(
                label,
                crop,
                [
                    ShownConcept(
                        ranked.concept,
                        ranked.on_cell,
                        cell.concept_map(ranked.concept.concept_id),
                        patch_maximum(run, ranked.concept.concept_id),
                    )
                    for ranked in strongest_on_cell(run, label, N_CONCEPTS)
                ],
            )
        )
    return shown


def patch_maximum(run: Run, concept_id: int) -> float:
    """Find a concept's largest activation at any patch of the run.

    The profiles' maxima include the class token, which is no patch and lies on no map. Cells are
    read from the largest such maximum on, until no other can have a larger patch.
    """
    bounds = run.strengths(concept_id, "max")
    largest = 0.0
    for row in np.argsort(-bounds, kind="stable")[:_MOST_SEARCHED]:
        if bounds[row] <= largest:
            break
        concept_map = run.concept_map(int(run.table["label"].iloc[row]), concept_id)
        largest = max(largest, float(concept_map.max()))
    return largest
