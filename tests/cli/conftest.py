import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from napari_cytosae.cli import app
from napari_cytosae.models import SparseAutoencoder, save_sae
from napari_cytosae.models.backbone import Backbone
from napari_cytosae.models.layouts import BackboneShape
from napari_cytosae.slides import sample_smear


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Options that name a random ViT of width 64 with one block, and 96 concepts."""
    folder = tmp_path_factory.mktemp("model")
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
    return ["--backbone", str(file), "--sae", str(folder / "sae")]


@pytest.fixture(scope="session")
def smear():
    return sample_smear(seed=3, shape=(420, 640))


@pytest.fixture
def images(smear, tmp_path):
    """Three images: two smears with a truncated one between them."""
    folder = tmp_path / "images"
    folder.mkdir()
    good = [folder / "a.png", folder / "c.png"]
    Image.fromarray(smear.image).save(good[0])
    Image.fromarray(smear.image[:, ::-1]).save(good[1])
    broken = folder / "b.png"
    broken.write_bytes(good[0].read_bytes()[:5000])
    return [good[0], broken, good[1]]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep what a test writes for the user out of the user's folders."""
    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def invoke():
    """Run the command in this process."""

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke
