"""Read BCCD and Chula RBC-12, draw smears, and split them into train, choose and test."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from napari_cytosae.slides.sample import SampleSmear, sample_smear

Split = Literal["train", "choose", "test"]

TEST_BCCD = 64
"""The first images of BCCD by sorted name are measured once, at the end."""

CHOOSE_BCCD = (8, 6)
"""Of the others, one run of 8 in 6 is kept for choosing between versions: neighbours by name come
from the same slide, so single images would be too like those that are trained on."""

TEST_SHARE, CHOOSE_SHARE = 0.2, 0.1
"""Shares of Chula's folders, from the end by sorted name."""

DRAWN_TRAIN, DRAWN_CHOOSE, DRAWN_TEST = range(1000, 1016), range(1016, 1019), range(1019, 1022)
"""Seeds of the drawn smears; the sample smear's own, 7, is in none of them."""


@dataclass(frozen=True, slots=True)
class Field:
    """One microscope field and where its cells are.

    Attributes
    ----------
    path
        Image file; of a drawn smear, the seed.
    source
        ``bccd``, ``chula-fields``, ``chula-diseases`` or ``drawn``.
    split
        What it is for: ``train``, ``choose`` (between versions) or ``test`` (once, at the end).
    red_cell_px
        Typical diameter of a red cell (about 7.5 µm) in this source, in pixels.
    boxes
        Annotated boxes by kind (``WBC``, ``RBC``, ``Platelets``): rows of y0, x0, y1, x1, px.
    """

    path: Path
    source: str
    split: Split
    red_cell_px: float
    boxes: dict[str, NDArray[np.float64]]

    def drawn(self) -> SampleSmear | None:
        """Draw the smear; None for a photograph."""
        return _smear(int(self.path.name)) if self.source == "drawn" else None

    def read(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8."""
        smear = self.drawn()
        if smear is not None:
            return smear.image
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
    """List every field of the two data sets and the drawn smears, in a fixed order.

    Parameters
    ----------
    data
        Folder with ``bccd/`` (``JPEGImages``, ``Annotations``) and ``chula-rbc12/``
        (``fields``, ``diseases``).
    """
    fields = []
    for index, path in enumerate(sorted((data / "bccd" / "JPEGImages").glob("*.jpg"))):
        boxes = bccd_boxes(data / "bccd" / "Annotations" / f"{path.stem}.xml")
        run, every = CHOOSE_BCCD
        chosen = (index - TEST_BCCD) // run % every == 0
        split: Split = "test" if index < TEST_BCCD else "choose" if chosen else "train"
        fields.append(Field(path, "bccd", split, 100.0, boxes))
    # The cameras differ: a red cell is about 40 px wide in the 640 × 480 fields, twice that in
    # the 1280 × 960 ones, whatever folder they lie in.
    chula = data / "chula-rbc12"
    folders = [chula / "fields", *sorted((chula / "diseases").iterdir())]
    for folder in folders:
        source = "chula-fields" if folder.name == "fields" else "chula-diseases"
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg")
        test = len(paths) - round(TEST_SHARE * len(paths))
        choose = test - round(CHOOSE_SHARE * len(paths))
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
            split = "test" if index >= test else "choose" if index >= choose else "train"
            fields.append(Field(path, source, split, red_cell_px, boxes))
    for split, seeds in _DRAWN.items():
        fields += [_drawn_field(seed, split) for seed in seeds]
    return fields


_DRAWN: dict[Split, range] = {"train": DRAWN_TRAIN, "choose": DRAWN_CHOOSE, "test": DRAWN_TEST}


@lru_cache(maxsize=2)
def _smear(seed: int) -> SampleSmear:
    return sample_smear(seed, shape=(768, 1024))


def _drawn_field(seed: int, split: Split) -> Field:
    smear = _smear(seed)
    white = smear.cells[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy(np.float64)
    boxes = {"WBC": white}
    for kind, name in (("red cell", "RBC"), ("platelet", "Platelets")):
        of_kind = smear.others[smear.others.kind == kind]
        centre, radius = (
            of_kind[["centre_y", "centre_x"]].to_numpy(),
            of_kind[["radius_px"]].to_numpy(),
        )
        boxes[name] = np.hstack([centre - radius, centre + radius])
    return Field(Path(str(seed)), "drawn", split, 7.5 / smear.microns_per_pixel, boxes)
