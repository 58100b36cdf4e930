"""The cells that stand behind a concept, in both groups of a comparison."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.cohorts import Barcodes, Comparison
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.overlay import heat_over, resize_crop
from napari_cytosae.export.palette import HUES

SIDE_PX = 112


@dataclass(frozen=True, slots=True, eq=False)
class CellPicture:
    """One cell.

    Parameters
    ----------
    patient, diagnosis
        Whose.
    label
        The cell in its run.
    activation
        Mean of the concept over its tokens.
    source
        ``data:`` JPEG of the crop beside the crop with the concept's map.
    """

    patient: str
    diagnosis: str
    label: int
    activation: float
    source: str


def best_cells_of_groups(
    barcodes: Barcodes,
    comparison: Comparison,
    concept_id: int,
    pictures: ReferencePictures,
    folder: Path | None,
    k: int = 4,
) -> tuple[list[CellPicture], list[CellPicture], str]:
    """Cut a concept's best cells of both groups out of their images.

    Returns
    -------
    first, second : list of CellPicture
        Those whose images are at hand; both groups on one scale.
    missing : str
        Why some are not; empty where all are.
    """
    found: list[list[tuple[dict[str, object], NDArray[np.uint8], NDArray[np.float32]]]] = []
    missing = ""
    for rows in (comparison.in_first, comparison.in_second):
        seen = []
        for cell in barcodes.best_cells(concept_id, rows, k).to_dict("records"):
            run = Path(str(cell["run"]))
            run = run if folder is None else folder / run
            try:
                if not str(cell["run"]):
                    raise CytoSAEError("Runs were not kept.")
                seen_map = pictures.concept_map(run, int(cell["label"]), concept_id)
                crop = pictures.crop(run, int(cell["label"]), str(cell["image"]))
            except (CytoSAEError, OSError) as error:
                missing = str(error)
                continue
            seen.append(({str(key): value for key, value in cell.items()}, crop, seen_map))
        found.append(seen)
    top = max((float(one.max()) for seen in found for _, _, one in seen), default=0.0)
    first, second = (
        [
            CellPicture(
                str(cell["patient"]),
                str(cell["diagnosis"]),
                int(str(cell["label"])),
                float(str(cell["activation"])),
                _pair(crop, seen_map, top),
            )
            for cell, crop, seen_map in seen
        ]
        for seen in found
    )
    return first, second, missing


def _pair(crop: NDArray[np.uint8], concept_map: NDArray[np.float32], top: float) -> str:
    small = resize_crop(crop, SIDE_PX)
    heat = heat_over(small, concept_map, top, HUES[0])
    both = np.concatenate([small, np.full((SIDE_PX, 3, 3), 255, np.uint8), heat], axis=1)
    stream = io.BytesIO()
    Image.fromarray(both).save(stream, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
