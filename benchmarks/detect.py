"""Recall, precision and speed of the nucleated-cell detector on BCCD's white cells.

    python benchmarks/detect.py [FOLDER]
    python benchmarks/detect.py --slide MOSAIC [FOLDER]

FOLDER holds ``JPEGImages`` and ``Annotations`` (VOC boxes). A detection whose centre lies in a white
cell's box is a hit, one per box; further ones in the same box, and all others, are false.

With ``--slide``, the same fields are looked at twice: one by one, and as one slide on which they
lie side by side (field k at row k // 8, column k % 8), gone through in tiles of several sizes.
"""

import argparse
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from PIL import Image

from napari_cytosae.cells import Cells, detect_cells
from napari_cytosae.slides import Slide

MOSAIC_COLUMNS = 8
FIELD_HEIGHT, FIELD_WIDTH = 480, 640


def white_cell_boxes(path: Path) -> list[tuple[float, float, float, float]]:
    """Read the boxes (x0, y0, x1, y1) of white cells; degenerate ones are left out."""
    boxes = []
    for item in ET.parse(path).iter("object"):
        if item.findtext("name") != "WBC":
            continue
        box = [float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        if box[2] > box[0] and box[3] > box[1]:
            boxes.append(tuple(box))
    return boxes


def score(cells: Cells, boxes: list[tuple[float, ...]]) -> tuple[int, int, int]:
    """Count hits, false detections and missed boxes."""
    table = cells.table
    open_boxes, false = list(boxes), 0
    for y, x in zip(table["centroid_y"], table["centroid_x"], strict=True):
        inside = [b for b in open_boxes if b[0] <= x <= b[2] and b[1] <= y <= b[3]]
        if inside:
            open_boxes.remove(inside[0])
        else:
            false += 1
    return len(boxes) - len(open_boxes), false, len(open_boxes)


def changes() -> dict[str, object]:
    """Name the changes of light and position that should make no difference."""
    return {
        "as it is": lambda image: (image, lambda box, shape: box),
        "brightness x 0.8": lambda image: (_scaled(image, (0.8,) * 3), lambda box, shape: box),
        "warmer": lambda image: (_scaled(image, (1.0, 0.95, 0.88)), lambda box, shape: box),
        "turned by 90 degrees": lambda image: (
            np.rot90(image).copy(),
            lambda b, shape: (b[1], shape[1] - b[2], b[3], shape[1] - b[0]),
        ),
    }


def _scaled(image: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    return np.clip(image * np.array(factors), 0, 255).astype(np.uint8)


def score_slide(slide_path: Path, folder: Path, files: list[Path]) -> None:
    """Print one row for the fields one by one, and one for the slide in tiles of each size."""
    one_by_one, boxes_on_slide = np.zeros(3, int), []
    with Slide.open(slide_path) as slide:
        n_fields = (slide.shape[0] // FIELD_HEIGHT) * (slide.shape[1] // FIELD_WIDTH)
        began = time.perf_counter()
        for place, file in enumerate(files[:n_fields]):
            boxes = white_cell_boxes(folder / "Annotations" / f"{file.stem}.xml")
            image = np.asarray(Image.open(file).convert("RGB"))
            one_by_one += score(detect_cells(image), boxes)
            top = FIELD_HEIGHT * (place // MOSAIC_COLUMNS)
            left = FIELD_WIDTH * (place % MOSAIC_COLUMNS)
            boxes_on_slide += [(a + left, b + top, c + left, d + top) for a, b, c, d in boxes]
        print_row(f"{n_fields} fields one by one", one_by_one, time.perf_counter() - began)
        first = None
        for tile_px in (max(slide.shape), 1280, 1777, 2560):
            began = time.perf_counter()
            cells = detect_cells(slide, tile_px=tile_px)
            seconds = time.perf_counter() - began
            first = first or cells
            same = "identical table" if cells.table.equals(first.table) else "OTHER TABLE"
            counts = np.array(score(cells, boxes_on_slide))
            print_row(f"slide, tiles of {tile_px} px", counts, seconds, same)


def print_row(name: str, counts: np.ndarray, seconds: float, remark: str = "") -> None:
    """Print recall and precision."""
    hits, false, missed = counts
    print(
        f"{name:26} recall {hits / (hits + missed):.4f}  "
        f"precision {hits / max(hits + false, 1):.4f}  {seconds:5.1f} s  {remark}"
    )


def main() -> None:
    """Print one row for the images as they are, and one for each change of a tenth of them."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/bccd"))
    options.add_argument("--slide", type=Path, help="the mosaic of the first 64 fields")
    arguments = options.parse_args()
    folder = arguments.folder
    files = sorted((folder / "JPEGImages").glob("*.jpg"))
    if not files:
        raise SystemExit(f"{folder / 'JPEGImages'} holds no .jpg files")
    if arguments.slide is not None:
        score_slide(arguments.slide, folder, files)
        return
    for name, change in changes().items():
        total, seconds, wrong = np.zeros(3, int), [], []
        for file in files if name == "as it is" else files[::8]:
            plain = np.asarray(Image.open(file).convert("RGB"))
            image, moved = change(plain)
            boxes = white_cell_boxes(folder / "Annotations" / f"{file.stem}.xml")
            began = time.perf_counter()
            counts = score(detect_cells(image), [moved(box, plain.shape) for box in boxes])
            seconds.append(time.perf_counter() - began)
            total += counts
            if counts[1] or counts[2]:
                wrong.append(f"{file.stem[-5:]} (+{counts[1]} -{counts[2]})")
        hits, false, missed = total
        print(
            f"{name:22} fields {len(seconds):3}  recall {hits / (hits + missed):.4f}  "
            f"precision {hits / max(hits + false, 1):.4f}  "
            f"seconds per field: median {np.median(seconds):.2f}, 95 % {np.quantile(seconds, 0.95):.2f}"
        )
        if name == "as it is":
            print("  false (+) and missed (-):", ", ".join(wrong) or "none")


if __name__ == "__main__":
    main()
