"""A made slide from open to exported table: cells found, time of each stage, and memory.

    python benchmarks/slide.py [--side 30000] [--keep FOLDER]

One drawn smear of 2880 px with some 190 white cells is laid side by side to a tiled JPEG BigTIFF,
which at 30,000 × 30,000 px holds some 20,000. Memory is what the process takes beyond what it has with
the model loaded.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy.spatial import KDTree

import napari_cytosae as nc
from napari_cytosae.concepts import Progress, Run
from napari_cytosae.export import cell_table
from napari_cytosae.export.tables import write_table
from napari_cytosae.slides import Slide, sample_smear

BLOCK_PX = 2880
# A tile of the file divides the block, so that every block's tiles are the same.
TILE_PX = 480
MICRONS_PER_PIXEL = 0.155
# A planted cell counts as found where a cell's centre lies this near.
NEAR_UM = 5.0


def make_slide(path: Path, n_blocks: int) -> np.ndarray:
    """Write the slide; give the centres of the planted cells, (n, 2) y and x in px."""
    smear = sample_smear(seed=5, shape=(BLOCK_PX, BLOCK_PX), microns_per_pixel=MICRONS_PER_PIXEL)
    per_block = BLOCK_PX // TILE_PX

    def tiles() -> Iterator[np.ndarray]:
        for row in range(n_blocks * per_block):
            for column in range(n_blocks * per_block):
                y, x = (at % per_block * TILE_PX for at in (row, column))
                yield smear.image[y : y + TILE_PX, x : x + TILE_PX]

    side = n_blocks * BLOCK_PX
    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        bigtiff=True,
        tile=(TILE_PX, TILE_PX),
        compression="jpeg",
        photometric="rgb",
        resolution=(1e4 / MICRONS_PER_PIXEL, 1e4 / MICRONS_PER_PIXEL),
        resolutionunit="CENTIMETER",
    )
    of_block = np.argwhere(smear.nuclei > 0)
    ids = smear.nuclei[smear.nuclei > 0]
    count = np.bincount(ids)
    centres = np.stack([np.bincount(ids, of_block[:, axis]) for axis in (0, 1)], axis=1)
    centres = centres[count > 0] / count[count > 0, np.newaxis]
    corners = np.argwhere(np.ones((n_blocks, n_blocks))) * BLOCK_PX
    return (corners[:, np.newaxis] + centres).reshape(-1, 2)


def peak_mib() -> float:
    """Largest memory that the process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(run: Run, planted: np.ndarray, stages: dict[str, float], before_mib: float) -> None:
    """Print what was found, how long it took and how much memory it needed."""
    centres = run.table[["centroid_y", "centroid_x"]].to_numpy()
    near, _ = KDTree(centres).query(planted)
    hits = int((near * MICRONS_PER_PIXEL < NEAR_UM).sum())
    print(f"planted {len(planted):,}, found {len(run):,}, of the planted {hits / len(planted):.2%}")
    total = sum(stages.values())
    for stage, seconds in stages.items():
        print(f"{stage:>8} {seconds:8.1f} s  {seconds / total:6.1%}")
    print(f"{'all':>8} {total:8.1f} s, {1000 * total / max(len(run), 1):.1f} ms per cell")
    print(f"memory beyond the model's: {peak_mib() - before_mib:,.0f} MiB")
    on_disk = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    print(
        f"run folder: {on_disk / 2**20:,.0f} MiB, {on_disk / max(len(run), 1) / 1e3:.0f} kB per cell"
    )


def main() -> None:
    """Make the slide, analyse it, export its table and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=30_000, help="side in px, in steps of 2880")
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="folder that keeps the slide and its run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"made-{options.side}.tif"
        planted = make_slide(path, -(-options.side // BLOCK_PX))
        print(f"slide for {options.side:,} px, {path.stat().st_size / 2**20:,.0f} MiB")
        bundle = nc.load_bundle(options.bundle)
        nc.analyze(  # what a first forward pass takes belongs to the model
            sample_smear().image, bundle, out=folder / "warm.cytosae", device=options.device,
            microns_per_pixel=0.1, overwrite=True,
        )  # fmt: skip
        before_mib = peak_mib()
        stages: dict[str, float] = {}
        clock = {"at": time.perf_counter(), "stage": "open"}

        def lap(stage: str) -> None:
            now = time.perf_counter()
            stages[clock["stage"]] = stages.get(clock["stage"], 0.0) + now - clock["at"]
            clock.update(at=now, stage=stage)

        def note(step: Progress) -> None:
            if step.stage != clock["stage"]:
                lap(step.stage)

        with Slide.open(path, microns_per_pixel=MICRONS_PER_PIXEL) as slide:
            run = nc.analyze(
                slide, bundle, out=folder / "made.cytosae", device=options.device,
                overwrite=True, progress=note,
            )  # fmt: skip
        lap("export")
        write_table(cell_table(run), folder / "cells.csv")
        lap("")
        report(run, planted, stages, before_mib)


if __name__ == "__main__":
    main()
