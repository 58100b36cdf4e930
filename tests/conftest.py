"""Fixtures that every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, or that something was compiled.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def no_home_of_a_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests from a user's own folders; a test may choose others for itself."""
    before = {name: os.environ.get(name) for name in _FOLDERS}
    os.environ["NAPARI_CYTOSAE_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("NAPARI_CYTOSAE_NAMES", None)
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


_FOLDERS = ("NAPARI_CYTOSAE_HOME", "NAPARI_CYTOSAE_NAMES")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images and reference numbers that lies beside a developer's checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the reference material (../shared) is not beside this checkout")
    return folder
