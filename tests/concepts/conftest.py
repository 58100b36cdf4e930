from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_cytosae.models import Bundle, SparseAutoencoder, load_bundle, save_sae
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
def bundle_files(tmp_path_factory) -> tuple[Path, Path]:
    """Backbone and SAE files of a ViT of width 64 with two blocks, and 96 concepts."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    backbone = Backbone(BackboneShape(d_model=64, depth=2, d_mlp=128, gated=False), block=1)
    sae = SparseAutoencoder(d_model=64, d_sae=96, block=1)
    with torch.no_grad():
        for name, parameter in [*backbone.named_parameters(), *sae.named_parameters()]:
            parameter.normal_(std=0.2)
            if name.endswith(("norm1.weight", "norm2.weight", "gamma")):
                parameter.add_(1.0)
        sae.b_enc.sub_(10.0)  # some ten concepts per token
    save_file(
        {key: value.contiguous() for key, value in backbone.dinov2_state().items()},
        folder / "backbone.safetensors",
    )
    save_sae(sae, folder / "sae")
    return folder / "backbone.safetensors", folder / "sae"


@pytest.fixture(scope="session")
def bundle(bundle_files) -> Bundle:
    backbone, sae = bundle_files
    return load_bundle(backbone=backbone, sae=sae)
