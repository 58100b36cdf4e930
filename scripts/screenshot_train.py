"""Make the picture of the Train dock that the docs show.

    python scripts/with_display.py python scripts/screenshot_train.py FOLDER docs/_static/train.png

It trains on the images of a folder, with the quick preset, and shows the dock when it is done.
"""

import os
import sys
import tempfile
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_cytosae.viewer.sample_data import add_sample_smear
from napari_cytosae.viewer.train_dock import TrainDock

WINDOW_PX = (1366, 860)


def main(images: Path, target: Path) -> None:
    """Open, train, save."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_PX)
    add_sample_smear(viewer)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Train")
    assert isinstance(dock, TrainDock)
    with tempfile.TemporaryDirectory() as folder:
        # Short names: where this machine keeps things is nobody's business.
        (Path(folder) / "BCCD").symlink_to(images.resolve())
        target = target.resolve()
        os.chdir(folder)
        dock.images.setText("BCCD")
        dock.cells.setCurrentIndex(dock.cells.findText("nucleated and red cells"))
        dock.pixel.setValue(0.075)
        dock.out.setText("my-sae")
        while not dock.cost.text().endswith("of them."):
            QTest.qWait(50)
        dock.train()
        while dock.jobs.busy:
            QTest.qWait(50)
        QTest.qWait(1000)
        viewer.screenshot(str(target), canvas_only=False, flash=False)
        viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
