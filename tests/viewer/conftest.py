"""A small made model and a small drawn smear, in a real window."""

from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import pytest
import torch
from qtpy.QtCore import QThreadPool
from window_actions import until

from napari_cytosae.models import Bundle, SparseAutoencoder
from napari_cytosae.models.backbone import Backbone
from napari_cytosae.models.layouts import BackboneShape
from napari_cytosae.slides import SampleSmear, sample_smear
from napari_cytosae.viewer.analysis_work import ModelChoice
from napari_cytosae.viewer.main_dock import CytoSAEDock


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle with random weights: the real code path at a hundredth of the cost."""
    torch.manual_seed(0)
    backbone = Backbone(BackboneShape(d_model=64, depth=2, d_mlp=128, gated=False), block=1)
    sae = SparseAutoencoder(64, 96, block=1)
    with torch.no_grad():
        for name, parameter in [*backbone.named_parameters(), *sae.named_parameters()]:
            parameter.normal_(std=0.2)
            if name.endswith(("norm1.weight", "norm2.weight", "gamma")):
                parameter.add_(1.0)
        sae.b_enc.sub_(10.0)  # some ten concepts per token
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    Bundle("tiny", backbone, sae).save(folder)
    return folder


@pytest.fixture(scope="session")
def smear() -> SampleSmear:
    return sample_smear(seed=3, shape=(420, 640))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test writes for the user out of the user's folders."""
    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., napari.Viewer]) -> napari.Viewer:
    return make_napari_viewer(show=True)


Open = Callable[..., CytoSAEDock]


@pytest.fixture
def open_dock(viewer: napari.Viewer, tiny_bundle: Path) -> Iterator[Open]:
    """Open the dock on a viewer, with the made model chosen."""
    docks = []

    def open_(on: napari.Viewer = viewer) -> CytoSAEDock:
        _, dock = on.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
        choice = ModelChoice(name=str(tiny_bundle))
        dock.form.model.insertItem(0, "tiny", choice)
        dock.form.model.setCurrentIndex(0)
        docks.append(dock)
        until(dock.isVisible)
        return dock

    yield open_
    for dock in docks:
        dock.jobs.abandon()
    QThreadPool.globalInstance().waitForDone(60_000)
