"""Recall and speed of the red-cell detector on Chula's marked fields.

    python benchmarks/red_cells.py [FOLDER] [--picture FILE]

FOLDER holds ``N.jpg`` and ``N.txt`` (x, y, class). Each marked point is to be met by a detection of
its own, whose centre lies within 16 px. Many fields mark the cells of one class only, so what else is
found is counted but not held against the detector; ``--picture`` draws ten fields to judge it by eye.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.segmentation import find_boundaries

from napari_cytosae.cells import Cells, detect_red_cells

REACH_PX = 16.0
CLASSES = (
    "normal", "macrocyte", "microcyte", "spherocyte", "target", "stomatocyte", "ovalocyte",
    "teardrop", "burr", "schistocyte", "other", "hypochromia", "elliptocyte",
)  # fmt: skip


def marked(path: Path) -> tuple[np.ndarray, list[int]]:
    """Read the marked points, (n, 2) y and x, and their classes."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    points = np.array([[float(row[1]), float(row[0])] for row in rows]).reshape(-1, 2)
    return points, [int(row[2]) for row in rows]


def centres(cells: Cells) -> np.ndarray:
    """Give the centres of what was found, (n, 2) y and x."""
    return cells.table[["centroid_y", "centroid_x"]].to_numpy(float)


def hits(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Tell which points have a detection of their own within reach."""
    met = np.zeros(len(points), bool)
    if len(points) and len(found):
        distance = cdist(points, found)
        rows, columns = linear_sum_assignment(np.where(distance <= REACH_PX, distance, 1e6))
        met[rows] = distance[rows, columns] <= REACH_PX
    return met


def draw(image: np.ndarray, cells: Cells, points: np.ndarray, met: np.ndarray) -> Image.Image:
    """Outline what was found; ring the points that were missed."""
    shown = image.copy()
    outline = find_boundaries(cells.labels, mode="inner")
    outline |= find_boundaries(cells.labels, mode="outer") & (cells.labels > 0)
    shown[outline] = (0, 140, 60)
    picture = Image.fromarray(shown)
    pen = ImageDraw.Draw(picture)
    for y, x in points[~met]:
        pen.ellipse((x - 16, y - 16, x + 16, y + 16), outline=(213, 94, 0), width=3)
    return picture


def main() -> None:
    """Print recall over all fields and by class; draw ten fields where asked to."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "folder", type=Path, nargs="?", default=Path("../shared/data/chula-rbc12/fields")
    )
    options.add_argument("--picture", type=Path, metavar="FILE")
    options.add_argument("--fields", nargs="*", help="draw these instead of ten spread out")
    chosen = options.parse_args()
    files = sorted(chosen.folder.glob("*.jpg"), key=lambda file: int(file.stem))
    if not files:
        raise SystemExit(f"{chosen.folder} holds no .jpg files")
    drawn = chosen.fields or [file.stem for file in files[:: len(files) // 10][:10]]
    total, met_by_class, n_found, seconds, wrong, pictures = Counter(), Counter(), 0, [], [], []
    for file in files:
        image = np.asarray(Image.open(file).convert("RGB"))
        points, classes = marked(file.with_suffix(".txt"))
        began = time.perf_counter()
        cells = detect_red_cells(image)
        seconds.append(time.perf_counter() - began)
        met = hits(points, centres(cells))
        total.update(classes)
        met_by_class.update(c for c, m in zip(classes, met, strict=True) if m)
        n_found += len(cells)
        if not met.all():
            wrong.append((int((~met).sum()), file.stem))
        if chosen.picture and file.stem in drawn:
            pictures.append(draw(image, cells, points, met))
    n_met, n_points = sum(met_by_class.values()), sum(total.values())
    print(
        f"fields {len(files)}  points {n_points}  recall {n_met / n_points:.4f}  "
        f"found in all {n_found}  seconds per field: median {np.median(seconds):.2f}, "
        f"95 % {np.quantile(seconds, 0.95):.2f}"
    )
    for number, name in enumerate(CLASSES):
        if total[number]:
            share = met_by_class[number] / total[number]
            print(f"  {name:12} {total[number]:5}  recall {share:.3f}")
    worst = sorted(wrong, reverse=True)[:12]
    print("  most missed:", ", ".join(f"{stem} ({n})" for n, stem in worst))
    if chosen.picture:
        width, height = pictures[0].size
        sheet = Image.new("RGB", (2 * width, -(-len(pictures) // 2) * height), "white")
        for place, picture in enumerate(pictures):
            sheet.paste(picture, (place % 2 * width, place // 2 * height))
        sheet.resize((sheet.width * 3 // 4, sheet.height * 3 // 4)).save(chosen.picture)
        print(f"  fields {', '.join(drawn)} are drawn in {chosen.picture}")


if __name__ == "__main__":
    main()
