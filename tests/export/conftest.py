import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_cytosae.concepts import Run, analyze
from napari_cytosae.models import Bundle, SparseAutoencoder, load_bundle, save_sae
from napari_cytosae.models.backbone import Backbone
from napari_cytosae.models.layouts import BackboneShape
from napari_cytosae.slides import Slide, sample_smear
from napari_cytosae.slides.sample import SampleSmear


@pytest.fixture(scope="session")
def smear() -> SampleSmear:
    return sample_smear(seed=3, shape=(420, 640))


@pytest.fixture(scope="session")
def slide(smear, tmp_path_factory) -> Slide:
    return Slide.open(smear.save(tmp_path_factory.mktemp("smear")))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Bundle:
    """A ViT of width 64 with one block, and 96 concepts, all random."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    backbone = Backbone(BackboneShape(d_model=64, depth=1, d_mlp=128, gated=False), block=0)
    sae = SparseAutoencoder(d_model=64, d_sae=96, block=0)
    with torch.no_grad():
        for parameter in [*backbone.parameters(), *sae.parameters()]:
            parameter.normal_(std=0.2)
        sae.b_enc.sub_(1.0)
    save_file(
        {key: value.contiguous() for key, value in backbone.dinov2_state().items()},
        folder / "backbone.safetensors",
    )
    save_sae(sae, folder / "sae")
    return load_bundle(backbone=folder / "backbone.safetensors", sae=folder / "sae")


@pytest.fixture(scope="session")
def run(slide, smear, bundle, tmp_path_factory) -> Run:
    """A finished run whose cells are those that were drawn."""
    out = tmp_path_factory.mktemp("runs") / "smear.cytosae"
    return analyze(slide, bundle, cells=smear.labels, out=out)


@pytest.fixture(scope="session")
def empty_run(bundle, tmp_path_factory) -> Run:
    """A run of an image without cells and without a pixel size."""
    out = tmp_path_factory.mktemp("runs") / "empty.cytosae"
    image = np.full((90, 120, 3), 240, np.uint8)
    return analyze(image, bundle, out=out)
