"""How soon a click on a cell is answered: list of concepts, crop with its map, and the window drawn.

    python scripts/with_display.py python benchmarks/click.py [IMAGE] [--bundle NAME] [--rounds 3]

The image (by default the project's own sample smear) is analysed in the window; then every cell is
clicked on with the mouse, and a concept of it hovered over. A click counts as answered once the
event loop has nothing left to do.
"""

import argparse
import statistics
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cytosae.slides import Slide, sample_smear

SETTLE_S = 0.05


def settle(seconds: float = SETTLE_S) -> None:
    """Let the window do what it has to."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        QApplication.processEvents()
        time.sleep(0.001)


def analysed(viewer: napari.Viewer, image: Path | None, bundle: str, microns: float | None):
    """Open an image, press Run, and wait for its end."""
    if image is None:
        smear = sample_smear()
        pixels, size = smear.image, smear.microns_per_pixel
    else:
        slide = Slide.open(image)
        pixels, size = slide.read_region(0, 0, *slide.shape), microns or slide.microns_per_pixel
    layer = viewer.add_image(pixels, rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    settle()
    if size is not None:
        dock.form.pixel.setValue(size)
    dock.form.device.setCurrentText("cpu")
    dock.run_bar.run.click()
    while dock.jobs.busy or dock.session.results is None:
        settle()
    settle(0.5)
    return layer, dock


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, nargs="?")
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--microns-per-pixel", type=float)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 950)
    layer, dock = analysed(viewer, options.image, options.bundle, options.microns_per_pixel)
    viewer.reset_view()
    settle(0.5)
    canvas = viewer.window._qt_viewer.canvas
    native, camera = canvas.native, viewer.camera
    cells = dock.session.results.table
    clicks_ms, hovers_ms, missed = [], [], 0
    for _ in range(options.rounds):
        for label, y, x in zip(
            cells["label"], cells["centroid_y"], cells["centroid_x"], strict=True
        ):
            world = np.asarray(layer.data_to_world((y, x)))
            offset = (world - np.asarray(camera.center)[-2:]) * camera.zoom
            at = QPoint(
                round(native.width() / 2 + offset[1]), round(native.height() / 2 + offset[0])
            )
            QTest.mouseMove(native, at)
            settle()
            began = time.perf_counter()
            QTest.mouseClick(native, Qt.MouseButton.LeftButton, pos=at)
            QApplication.processEvents()
            clicks_ms.append(1000 * (time.perf_counter() - began))
            settle()
            if dock.session.selected != label:
                missed += 1
                continue
            concepts = dock.session.results.active_concepts(int(label))
            began = time.perf_counter()
            dock.session.look_at(concepts[min(3, len(concepts) - 1)].concept_id)
            QApplication.processEvents()
            hovers_ms.append(1000 * (time.perf_counter() - began))
    for name, times in (("click on a cell", clicks_ms), ("hover over a concept", hovers_ms)):
        if times:
            worst = sorted(times)[int(0.95 * len(times))]
            print(
                f"{name}: median {statistics.median(times):.0f} ms, 95 % below {worst:.0f} ms, "
                f"largest {max(times):.0f} ms, of {len(times)}"
            )
    print(f"{missed} clicks chose another cell, or none")
    viewer.close()


if __name__ == "__main__":
    main()
