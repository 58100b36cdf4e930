from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cytosae.models import Bundle, SparseAutoencoder
from napari_cytosae.models.backbone import Backbone
from napari_cytosae.models.layouts import BackboneShape


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """A ViT of width 64 with two blocks, read after the first, and 96 concepts."""
    torch.manual_seed(0)
    backbone = Backbone(BackboneShape(d_model=64, depth=2, d_mlp=128, gated=False), block=0)
    sae = SparseAutoencoder(d_model=64, d_sae=96, block=0)
    with torch.no_grad():
        for parameter in [*backbone.parameters(), *sae.parameters()]:
            parameter.normal_(std=0.2)
    return Bundle("small", backbone, sae)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three classes with three small images each, no two of them alike."""
    folder = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in ("blast", "eosinophil", "monocyte"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
