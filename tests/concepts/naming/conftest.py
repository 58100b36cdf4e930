from pathlib import Path

import pytest

from napari_cytosae.concepts.naming import Dictionary

SAE = "cbd9" * 16


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test writes for the user out of the user's folders."""
    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NAPARI_CYTOSAE_NAMES", raising=False)
    return tmp_path / "home"


@pytest.fixture
def dictionary(tmp_path: Path) -> Dictionary:
    return Dictionary(tmp_path / "names.jsonl", SAE)
