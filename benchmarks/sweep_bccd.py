"""Sweep settings of the training over tokens of BCCD's cells, and draw the curves.

Run from the project's root::

    python benchmarks/sweep_bccd.py --data ../shared/data/bccd --work /tmp/sweep --figure sweep.png

Tokens are the starter's, of every annotated white cell and platelet and three red cells of each
field. Stopped, it goes on. A quarter of an hour on two cores.
"""

import argparse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage.io import imread

from napari_cytosae import load_bundle
from napari_cytosae.cells.crops import CropGeometry, crop_boxes, read_reflected
from napari_cytosae.models import Bundle
from napari_cytosae.slides import Slide
from napari_cytosae.training import SaeTrainingConfig
from napari_cytosae.training.sweep import SweepGrid, draw_sweep, run_sweep

MICRONS_PER_PIXEL = 0.075  # a red cell, 7.5 µm, is about 100 px wide
BLOCKS = (1, 3, 5)
KINDS = {"WBC": "white cell", "RBC": "red cell", "Platelets": "platelet"}
BASE = SaeTrainingConfig(
    expansion=8, l1=3e-4, lr=1e-3, warmup_steps=50, steps=400, batch_tokens=2048
)
AXES = {
    "expansion": (4, 8, 16),
    "l1": (1e-4, 3e-4, 1e-3),
    "lr": (1e-4, 1e-3, 4e-3),
    "block": BLOCKS,
    "ghost_gradients": (True, False),
    "b_dec_init": ("mean", "zeros"),
}


def crops_of(data: Path, step: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Cut 25 µm crops around annotated cells of every `step`-th field."""
    crops, labels = [], []
    for path in sorted((data / "JPEGImages").glob("*.jpg"))[::step]:
        rows, reds = [], 0
        for item in ElementTree.parse(data / "Annotations" / f"{path.stem}.xml").iter("object"):
            kind = item.findtext("name", "")
            x0, y0, x1, y1 = (
                int(item.findtext(f"bndbox/{key}", "0")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            reds += kind == "RBC"
            if kind in KINDS and x1 > x0 and y1 > y0 and (kind != "RBC" or reds <= 3):
                rows.append((y0, x0, y1, x1))
                labels.append(KINDS[kind])
        slide = Slide.from_array(np.asarray(imread(path)[..., :3], np.uint8))
        table = pd.DataFrame(rows, columns=["box_y0", "box_x0", "box_y1", "box_x1"])
        boxes = crop_boxes(table, CropGeometry(), MICRONS_PER_PIXEL, slide.shape)
        crops += [read_reflected(slide, box) for box in boxes]
    return crops, labels


def tokens_of(bundle: Bundle, crops: list[NDArray[np.uint8]], work: Path) -> dict[int, Path]:
    """Write the tokens of every block, once."""
    paths = {block: work / f"tokens-{block}.npy" for block in BLOCKS}
    if all(path.exists() for path in paths.values()):
        return paths
    stores = {
        block: np.lib.format.open_memmap(
            path.with_suffix(".part"),
            mode="w+",
            dtype=np.float16,
            shape=(len(crops), 257, bundle.d_model),
        )
        for block, path in paths.items()
    }
    seen: dict[int, torch.Tensor] = {}
    for block in BLOCKS:
        bundle.backbone.blocks[block].register_forward_hook(
            lambda module, given, out, block=block: seen.__setitem__(block, out)
        )
    for first in range(0, len(crops), 16):
        part = slice(first, first + 16)
        bundle.tokens(bundle.preprocess(crops[part]))
        for block in BLOCKS:
            stores[block][part] = seen[block].half().numpy()
    for block, path in paths.items():
        stores[block].flush()
        path.with_suffix(".part").rename(path)
    return paths


def main() -> None:
    """Cut crops, compute tokens, sweep, draw, and print the figures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--figure", type=Path, required=True)
    options.add_argument("--every", type=int, default=4, help="take every so-manieth field")
    job = options.parse_args()
    job.work.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle("starter").to("cpu", "float32")
    crops, labels = crops_of(job.data, job.every)
    paths = tokens_of(bundle, crops, job.work)
    result = run_sweep(
        SweepGrid(base=BASE, block=5, axes=AXES),
        lambda block: np.load(paths[block], mmap_mode="r"),
        job.work / "sweep",
        labels=labels,
        identity=f"{bundle.digest} {len(crops)}",
        progress=lambda s: s.step % 100 or print(s.done, s.total, s.point.values, s.step),
    )
    draw_sweep(result, job.figure)
    keys = ("l0_per_token", "explained_variance", "dead_share", "monosemanticity", "entropy")
    print(f"{len(crops)} crops")
    for found in result.points:
        figures = " ".join(f"{key} {found.measured[key]:.3f}" for key in keys)
        print(dict(found.point.values) or "base", figures)


if __name__ == "__main__":
    main()
