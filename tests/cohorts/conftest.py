from functools import partial

import pytest
import torch
from PIL import Image
from random_barcodes import single_cell
from safetensors.torch import save_file

from napari_cytosae.cohorts.baselines.random_decoder import draw_decoder
from napari_cytosae.models import SparseAutoencoder, load_bundle, save_sae
from napari_cytosae.models.backbone import Backbone
from napari_cytosae.models.layouts import BackboneShape


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models here are so small that a second thread only gets in the way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bundle_files(tmp_path_factory):
    """Backbone and SAE files of a random ViT of width 64 with one block, and 96 concepts."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    backbone = Backbone(BackboneShape(d_model=64, depth=1, d_mlp=128, gated=False), block=0)
    sae = SparseAutoencoder(d_model=64, d_sae=96, block=0)
    with torch.no_grad():
        for parameter in [*backbone.parameters(), *sae.parameters()]:
            parameter.normal_(std=0.2)
        sae.b_enc.sub_(1.0)
    file = folder / "backbone.safetensors"
    save_file({key: value.contiguous() for key, value in backbone.dinov2_state().items()}, file)
    save_sae(sae, folder / "sae")
    return file, folder / "sae"


@pytest.fixture(scope="session")
def bundle(bundle_files):
    backbone, sae = bundle_files
    return load_bundle(backbone=backbone, sae=sae)


@pytest.fixture
def patients(tmp_path):
    """A folder of two diagnoses with two patients each, of 2, 3, 4 and 5 single-cell images."""
    folder = tmp_path / "patients"
    for number in range(4):
        place = folder / ("healthy", "AML")[number % 2] / f"patient {number}"
        place.mkdir(parents=True)
        for cell in range(2 + number):
            picture = single_cell(100 * number + cell, 40 * (number % 2))
            Image.fromarray(picture).save(place / f"{cell}.png")
    return folder


@pytest.fixture
def short_training(monkeypatch):
    """Train random dictionaries for a few steps only: so few tokens are soon learned by heart."""
    monkeypatch.setattr(
        "napari_cytosae.cohorts.baselines.make.draw_decoder", partial(draw_decoder, steps=20)
    )
