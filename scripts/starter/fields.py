"""Read BCCD and Chula RBC-12, and keep the images aside that nothing is trained on."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

HELD_OUT_BCCD = 64
"""The first images of BCCD by sorted name are never trained on."""

HELD_OUT_SHARE = 0.2
"""Share of the other folders that is never trained on: their last images by sorted name."""


@dataclass(frozen=True, slots=True)
class Field:
    """One microscope field and where its cells are.

    Attributes
    ----------
    path
        Image file.
    source
        ``bccd``, ``chula-fields`` or ``chula-diseases``.
    held_out
        Whether the field is kept for evaluation.
    red_cell_px
        Typical diameter of a red cell (about 7.5 µm) in this source, in pixels.
    boxes
        Annotated boxes by kind (``WBC``, ``RBC``, ``Platelets``): rows of y0, x0, y1, x1, px.
    """

    path: Path
    source: str
    held_out: bool
    red_cell_px: float
    boxes: dict[str, NDArray[np.float64]]

    def read(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8."""
        return np.asarray(imread(self.path)[..., :3], dtype=np.uint8)


def bccd_boxes(annotation: Path) -> dict[str, NDArray[np.float64]]:
    """Read one VOC file of BCCD; boxes without area are left out."""
    boxes: dict[str, list[list[float]]] = {"WBC": [], "RBC": [], "Platelets": []}
    for item in ElementTree.parse(annotation).iter("object"):
        corner = {key: float(item.findtext(f"bndbox/{key}", "0")) for key in _CORNERS}
        box = [corner[key] for key in _CORNERS]
        if box[2] > box[0] and box[3] > box[1]:
            boxes[item.findtext("name", "")].append(box)
    return {kind: np.array(rows, dtype=float).reshape(-1, 4) for kind, rows in boxes.items()}


_CORNERS = ("ymin", "xmin", "ymax", "xmax")


def read_fields(data: Path) -> list[Field]:
    """List every field of the two data sets, in a fixed order, with the held-out ones marked.

    Parameters
    ----------
    data
        Folder with ``bccd/`` (``JPEGImages``, ``Annotations``) and ``chula-rbc12/``
        (``fields``, ``diseases``).
    """
    fields = []
    for index, path in enumerate(sorted((data / "bccd" / "JPEGImages").glob("*.jpg"))):
        boxes = bccd_boxes(data / "bccd" / "Annotations" / f"{path.stem}.xml")
        fields.append(Field(path, "bccd", index < HELD_OUT_BCCD, 100.0, boxes))
    # The cameras differ: a red cell is about 40 px wide in the 640 × 480 fields, twice that in
    # the 1280 × 960 ones, whatever folder they lie in.
    chula = data / "chula-rbc12"
    folders = [chula / "fields", *sorted((chula / "diseases").iterdir())]
    for folder in folders:
        source = "chula-fields" if folder.name == "fields" else "chula-diseases"
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg")
        first_held_out = len(paths) - round(HELD_OUT_SHARE * len(paths))
        for index, path in enumerate(paths):
            boxes = {}
            points = path.with_suffix(".txt")
            red_cell_px = 80.0 if source == "chula-diseases" and folder.name != "hs" else 40.0
            if points.is_file():
                xy = np.loadtxt(points, ndmin=2)[:, :2]
                half = red_cell_px / 2
                boxes["RBC"] = np.column_stack(
                    [xy[:, 1] - half, xy[:, 0] - half, xy[:, 1] + half, xy[:, 0] + half]
                )
            fields.append(Field(path, source, index >= first_held_out, red_cell_px, boxes))
    return fields
