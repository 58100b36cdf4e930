"""How fast a window answers at the size of a slide: colouring, picking, and pauses during a run.

    python scripts/with_display.py python benchmarks/viewer.py [--cells 100000] [--run-side 5760]

The run of many cells is made, without a model: a label pyramid on disk, profiles, and the file by
concepts. The pauses are those of a timer in the event loop while a made slide is analysed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_cytosae.cells.found import cell_table
from napari_cytosae.cells.outline import Outline
from napari_cytosae.concepts import Run
from napari_cytosae.concepts.by_concept import write_by_concept
from napari_cytosae.concepts.cell import CellSummary
from napari_cytosae.concepts.folder import BOX_COLUMNS, RunFolder
from napari_cytosae.concepts.label_writer import LabelWriter
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.profile_file import write_profiles
from napari_cytosae.slides import Slide
from napari_cytosae.viewer.result_layers import result_layers_of
from napari_cytosae.viewer.results import Results
from napari_cytosae.viewer.session import session_of
from napari_cytosae.viewer.slide_layers import slide_layer
from slide import BLOCK_PX, MICRONS_PER_PIXEL, make_slide

D_SAE = 4096
ACTIVE_PER_CELL = 60
PITCH_PX = 128
CELL_PX = 80
ROUNDS = 9


def made_run(path: Path, n_cells: int) -> Run:
    """Write a finished run of cells in rows, of which nothing was encoded."""
    folder = RunFolder(path)
    folder.create()
    per_row = int(np.ceil(np.sqrt(n_cells)))
    side = per_row * PITCH_PX
    labels = np.arange(1, n_cells + 1)
    y, x = (at * PITCH_PX for at in np.divmod(labels - 1, per_row))
    centre = (np.arange(CELL_PX) - CELL_PX / 2 + 0.5) ** 2
    disc = centre[:, np.newaxis] + centre < (CELL_PX / 2) ** 2
    writer = LabelWriter(path / "labels.zarr", (side, side), 0.1)
    for first in range(0, n_cells, 8 * per_row):
        rows = slice(first, first + 8 * per_row)
        pairs = zip(y[rows].tolist(), x[rows].tolist(), strict=True)
        writer.paint(labels[rows], [Outline(at_y, at_x, disc) for at_y, at_x in pairs])
    half = (CELL_PX - 1) / 2
    table = cell_table(
        [
            (n, b + half, a + half, b, a, b + CELL_PX, a + CELL_PX, int(disc.sum()), 0.0, "detect")
            for n, a, b in zip(labels.tolist(), x.tolist(), y.tolist(), strict=True)
        ]
    )
    boxes = zip(BOX_COLUMNS, (y - 60, x - 60, y + 190, x + 190), strict=True)
    table = table.assign(**{name: values.astype(float) for name, values in boxes})
    folder.write_table([table])
    manifest = RunManifest(
        state="finished",
        key=RunKey("0" * 64, "detect", 25.0, 0.5, False, 0.1, "random", "float32"),
        bundle_name="random", d_sae=D_SAE, slide_name="made", slide_path=None,
        slide_shape=(side, side), n_cells=n_cells, shard_cells=64, batch_cells=16, threshold=0.2,
        device="cpu", software_version="0", created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    write_profiles(folder.profiles_path, manifest, table, summaries(n_cells))
    write_by_concept(folder.profiles_path, folder.by_concept_path)
    for index in range(-(-n_cells // manifest.shard_cells)):  # a run asks only whether it is there
        folder.shard_path(f"shard-{index:06d}.safetensors").touch()
    manifest.write(path)
    return Run(path)


def summaries(n_cells: int) -> Iterator[CellSummary]:
    """Draw the concepts of each cell."""
    rng = np.random.default_rng(0)
    for _ in range(n_cells):
        ids = np.unique(rng.integers(0, D_SAE, ACTIVE_PER_CELL))
        values = rng.gamma(1.0, 0.3, len(ids)).astype(np.float32)
        ones = np.ones(len(ids), np.int64)
        yield CellSummary(ids, values, 2 * values, ones, ones)


def median_ms(act: Callable[[int], object]) -> tuple[float, float]:
    """Time an act that the window has to show: median and largest of several, in ms."""
    times = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        act(number)
        QApplication.processEvents()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), max(times)


class Pauses:
    """A timer that should fire every 5 ms, and notes when it could not."""

    def __init__(self) -> None:
        self.longest_ms, self._last = 0.0, time.perf_counter()
        self.timer = QTimer()
        self.timer.timeout.connect(self._tick)
        self.timer.start(5)
        self.all_ms: list[float] = []

    def _tick(self) -> None:
        now = time.perf_counter()
        self.all_ms.append(1000 * (now - self._last))
        self._last = now


def at_rest(folder: Path, n_cells: int) -> None:
    """Time what a person does with a finished run."""
    run = made_run(folder / "made.cytosae", n_cells)
    side = run.manifest.slide_shape[0]
    slide = Slide.from_array(np.zeros((64, 64, 3), np.uint8), microns_per_pixel=0.1)
    viewer = napari.Viewer(show=True)
    small = np.full((side // 64, side // 64, 3), 200, np.uint8)
    image = viewer.add_image(small, rgb=True, scale=(64, 64), name="slide")
    image.scale = (1, 1)
    layers, session = result_layers_of(viewer), session_of(viewer)
    began = time.perf_counter()
    session.show(Results.of_run(run, slide), image)
    QApplication.processEvents()
    print(f"showing {n_cells:,} cells: {1000 * (time.perf_counter() - began):.0f} ms, once")
    viewer.reset_view()
    layers.colour_by(0)
    QApplication.processEvents()
    rng = np.random.default_rng(1)
    places = rng.integers(0, side, (ROUNDS, 2))
    for name, act in (
        ("colouring by a concept", lambda number: layers.colour_by(number + 1)),
        ("picking a cell", lambda number: session.results.label_at(*places[number])),
    ):
        median, largest = median_ms(act)
        print(f"{name}: median {median:.0f} ms, largest {largest:.0f} ms")
    viewer.close()


def in_a_run(folder: Path, side: int) -> None:
    """Measure the event loop's pauses while a slide is analysed."""
    path = folder / "slide.tif"
    make_slide(path, -(-side // BLOCK_PX))
    viewer = napari.Viewer(show=True)
    data, settings, _ = slide_layer(Slide.open(path))
    viewer.add_image(data, **settings)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    dock.form.pixel.setValue(MICRONS_PER_PIXEL)
    dock.form.folder.setText(str(folder))
    dock.form.device.setCurrentText("cpu")
    dock.run_bar.run.click()
    while dock.session.results is None:  # model and viewer are loaded
        QApplication.processEvents()
    pauses = Pauses()
    while dock.jobs.busy:
        QApplication.processEvents()
        time.sleep(0.001)
    times = pd.Series(pauses.all_ms)
    print(
        f"run of {len(dock.session.results):,} cells: longest pause {times.max():.0f} ms, "
        f"99.9 % below {times.quantile(0.999):.0f} ms; {(times > 100).sum()} above 100 ms"
    )
    viewer.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--run-side", type=int, default=BLOCK_PX, help="0 leaves the run out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        at_rest(Path(temporary), options.cells)
        if options.run_side:
            in_a_run(Path(temporary), options.run_side)


if __name__ == "__main__":
    main()
