"""Fixtures for the models' tests."""

from pathlib import Path

import pytest
from safetensors.torch import save_file
from tiny_models import dinov2_state, sae_state, write_zenodo


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    return write_zenodo(tmp_path / "tiny.pth", dinov2_state())


@pytest.fixture
def sae_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sae"
    folder.mkdir()
    save_file(sae_state(), folder / "sae.safetensors")
    (folder / "sae.json").write_text(
        '{"format": "cytosae-sae", "version": 1, "architecture": "relu", "d_model": 64, '
        '"d_sae": 256, "block": -2, "hook": "resid", "dtype": "float32"}'
    )
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of bundles that is not the real one."""
    folder = tmp_path / "home"
    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(folder))
    return folder
