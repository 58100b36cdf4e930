"""An autoencoder is trained in the Train dock, stopped, gone on with, and used."""

from pathlib import Path

import napari
import numpy as np
import pytest
from PIL import Image
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_actions import until

import napari_cytosae as nc
from napari_cytosae.models import add_bundle
from napari_cytosae.training import PRESETS, SaeTrainingConfig
from napari_cytosae.viewer.train_dock import TrainDock

pytestmark = pytest.mark.gui


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("blast", "monocyte"):
        folder = tmp_path / "cells" / name
        folder.mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "cells"


@pytest.fixture
def dock(viewer: napari.Viewer, tiny_bundle: Path, home: Path, monkeypatch) -> TrainDock:
    small = SaeTrainingConfig(
        expansion=1, steps=12, batch_images=2, warmup_steps=2, b_dec_init="mean"
    )
    monkeypatch.setitem(PRESETS, "quick", small)
    add_bundle(tiny_bundle, name="tiny")
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Train")
    assert isinstance(dock, TrainDock)
    dock.model.setCurrentText("tiny")
    QApplication.processEvents()
    yield dock
    until(lambda: dock.jobs.idle and dock.estimates.idle)


def finished(dock: TrainDock) -> None:
    until(lambda: not dock.jobs.busy and dock.jobs.idle)


def test_it_says_what_to_do_and_what_it_costs(dock: TrainDock, cells: Path) -> None:
    assert "Choose a folder" in dock.cost.text()
    dock.train()
    assert "Choose a folder of images first" in dock.bar.message.text()
    dock.images.setText(str(cells / "none"))
    assert "There is no" in dock.cost.text()
    dock.images.setText(str(cells))
    until(lambda: "10 images, about 10 crops" in dock.cost.text())
    assert "GB of disk" in dock.cost.text()


def test_a_training_becomes_the_model_of_the_main_dock(
    viewer: napari.Viewer, dock: TrainDock, cells: Path, tmp_path: Path
) -> None:
    dock.images.setText(str(cells))
    dock.out.setText(str(tmp_path / "mine"))
    assert not dock.use.isEnabled()
    dock.train()
    finished(dock)
    assert "Done" in dock.bar.message.text(), dock.bar.message.text()
    assert dock.curves.steps == 12
    assert nc.load_bundle(dock.bundle).d_sae == 64
    dock.use.click()
    _, main = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    assert main.form.model.currentData().name == str(dock.bundle.resolve())
    main.form.model.setCurrentIndex(main.form.model.count() - 1)
    dock.use.click()
    assert main.form.model.currentData().name == str(dock.bundle.resolve())


def test_a_stopped_training_is_gone_on_with(dock: TrainDock, cells: Path, tmp_path: Path) -> None:
    dock.images.setText(str(cells))
    dock.out.setText(str(tmp_path / "mine"))
    dock.steps.setValue(100_000)
    dock.train()
    until(lambda: dock.curves.steps > 3)
    dock.stop()
    finished(dock)
    assert "Stopped" in dock.bar.message.text()
    before = dock.curves.steps
    assert "Go on" in dock.bar.run.text()
    dock.steps.setValue(before + 5)
    QTest.qWait(50)
    dock.train()
    finished(dock)
    assert "Done" in dock.bar.message.text(), dock.bar.message.text()
    assert dock.curves.steps >= before


def test_what_fails_is_said_and_nothing_is_lost(dock: TrainDock, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    dock.images.setText(str(folder))
    dock.train()
    finished(dock)
    assert "None of these images can be used" in dock.bar.message.text()
    assert dock.bar.run.isVisible()
