"""Build the atlas that ships with the starter: statistics of two data sets, pictures of drawn cells.

Run from the project's root, after the starter has changed::

    python scripts/build_starter_atlas.py --data ../shared/data

BCCD's and Chula's cells are counted; of their images nothing is kept, since they are not ours to
ship. The reference cells that can be shown are drawn by the software itself. With ``--keep`` the
runs stay in the working folder: an atlas with the real pictures is built of them by
``napari-cytosae atlas build``. Ten minutes on two cores.
"""

import argparse
import csv
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import napari_cytosae as nc
from napari_cytosae.cells import CropGeometry, cells_from_boxes, crop_boxes
from napari_cytosae.cells.crops import read_reflected
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.durable import LOCK_NAME
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide, sample_smear
from starter.fields import bccd_boxes

BCCD_UM, CHULA_UM = 0.075, 0.1875  # a red cell, 7.5 µm, is 100 px or 40 px wide
BCCD_KINDS = {"WBC": "white cell", "RBC": "red cell", "Platelets": "platelet"}
CHULA_KINDS = (
    "normal red cell", "macrocyte", "microcyte", "spherocyte", "target cell", "stomatocyte",
    "ovalocyte", "teardrop", "burr cell", "schistocyte", "uncategorised", "hypochromic red cell",
    "elliptocyte",
)  # fmt: skip
RED_CELLS_PER_FIELD, PER_CLASS = 3, 2
DRAWN_SEEDS, DRAWN_PX, DRAWN_PER_KIND = range(2000, 2012), 112, 20


def main() -> None:
    """Analyse, count, draw, merge, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--bundle", type=Path, default=Path(nc.__file__).parent / "models/starter")
    options.add_argument("--work", type=Path, help="keeps runs between calls")
    options.add_argument("-k", type=int, default=10, help="references per concept")
    job = options.parse_args()
    work = job.work or Path(tempfile.mkdtemp(prefix="cytosae-atlas-"))
    work.mkdir(parents=True, exist_ok=True)
    bundle = nc.load_bundle(job.bundle)

    note = "Most of these images were used to train the starter."
    counted = []
    for name, rows in (("BCCD", bccd(job.data)), ("Chula RBC-12", chula(job.data))):
        runs = work / name
        analyse(rows, bundle, runs)
        atlas = Atlas.build(runs, name=name, labels=runs / "classes.csv", tissue="blood", k=job.k)
        print(f"{name}: {atlas.data_sets[0].info.n_images:,} cells", flush=True)
        counted.append(Atlas([without_pictures(atlas.data_sets[0], note)]))
    whole = counted[0].merge(counted[1])
    target = job.bundle / "atlas"
    shutil.rmtree(target, ignore_errors=True)
    whole.save(target)
    # The pictures lie within the atlas, which has to be one before it takes other files in.
    draw(target / "drawn")
    drawn = Atlas.build(
        target / "drawn", name="drawn cells", tissue="blood", bundle=bundle, k=job.k
    )
    whole.merge(drawn).save(target, overwrite=True)
    (target / LOCK_NAME).unlink(missing_ok=True)  # says which computer wrote it
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")
    if job.work is None:
        shutil.rmtree(work)


def bccd(data: Path) -> list[tuple[Path, float, np.ndarray, list[str]]]:
    """List BCCD's white cells and platelets, and some red cells of each field."""
    found = []
    for path in sorted((data / "bccd" / "JPEGImages").glob("*.jpg")):
        boxes = bccd_boxes(data / "bccd" / "Annotations" / f"{path.stem}.xml")
        parts, kinds = [], []
        for kind, name in BCCD_KINDS.items():
            few = boxes[kind][:RED_CELLS_PER_FIELD] if kind == "RBC" else boxes[kind]
            parts.append(few)
            kinds += [name] * len(few)
        if kinds:
            found.append((path, BCCD_UM, np.concatenate(parts), kinds))
    return found


def chula(data: Path) -> list[tuple[Path, float, np.ndarray, list[str]]]:
    """List a few red cells of each class of each field of Chula RBC-12."""
    found = []
    for path in sorted((data / "chula-rbc12" / "fields").glob("*.jpg")):
        points = path.with_suffix(".txt")
        if not points.is_file() or not points.stat().st_size:
            continue
        table = pd.DataFrame(np.loadtxt(points, ndmin=2), columns=["x", "y", "kind"])
        few = table.groupby("kind").head(PER_CLASS)
        x, y = few["x"].to_numpy(), few["y"].to_numpy()
        boxes = np.column_stack([y - 20, x - 20, y + 20, x + 20])
        kinds = [CHULA_KINDS[int(kind)] for kind in few["kind"]]
        found.append((path, CHULA_UM, boxes, kinds))
    return found


def analyse(
    rows: list[tuple[Path, float, np.ndarray, list[str]]], bundle: Bundle, out: Path
) -> None:
    """Make a run of each field, and a table of the cells' classes."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "cell", "class"])
        for path, um, boxes, kinds in rows:
            slide = Slide.open(path, microns_per_pixel=um)
            height, width = slide.shape
            inside = (boxes[:, 0] < height - 2) & (boxes[:, 1] < width - 2)
            inside &= (boxes[:, 2] > 2) & (boxes[:, 3] > 2)
            if not inside.any():
                continue
            cells = cells_from_boxes(boxes[inside], slide.shape, microns_per_pixel=um)
            run = nc.analyze(slide, bundle, cells, out / f"{path.stem}.cytosae")
            chosen = [kind for kind, kept in zip(kinds, inside, strict=True) if kept]
            for label, kind in zip(run.table["label"], chosen, strict=True):
                writer.writerow([f"{path.stem}.cytosae", int(label), kind])


def without_pictures(data: DataSet, note: str) -> DataSet:
    """Forget where images and runs lie, which are nobody else's, and the single cells."""
    names = tuple(Path(image).name for image in data.sources.images)
    parts: dict[str, Any] = {
        "counts": data.counts,
        "references": data.references,
        "sources": replace(data.sources, paths=("",) * len(names), images=names),
        "sample": None,
        "partners": data.partners,
        "where": data.where,
        "measured": None,
        "correlations": data.correlations,
    }
    info = replace(data.info, notes=(*data.info.notes, note))
    return DataSet(info, parts.__getitem__)


def draw(folder: Path) -> None:
    """Write crops of drawn cells, one folder for each kind."""
    counts: dict[str, int] = {}
    for seed in DRAWN_SEEDS:
        smear = sample_smear(seed, shape=(768, 1024))
        slide = Slide.from_array(smear.image, microns_per_pixel=smear.microns_per_pixel)
        boxes = smear.cells[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy(float)
        cells = list(zip(boxes, smear.cells["kind"], strict=True))
        for row in smear.others.itertuples():
            reach = row.radius_px
            box = (
                row.centre_y - reach,
                row.centre_x - reach,
                row.centre_y + reach,
                row.centre_x + reach,
            )
            cells.append((np.array(box), row.kind))
        for box, kind in cells:
            if counts.get(kind, 0) >= DRAWN_PER_KIND:
                continue
            table = pd.DataFrame([box], columns=["box_y0", "box_x0", "box_y1", "box_x1"])
            (place,) = crop_boxes(table, CropGeometry(), smear.microns_per_pixel, slide.shape)
            pixels = read_reflected(slide, place)
            counts[kind] = counts.get(kind, 0) + 1
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels).resize((DRAWN_PX, DRAWN_PX), Image.Resampling.BOX)
            picture.save(folder / kind / f"{counts[kind]:02d}.jpg", quality=88)


if __name__ == "__main__":
    main()
