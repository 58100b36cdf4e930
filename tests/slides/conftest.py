"""Files as cameras and scanners write them, made for one test each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

MakePicture = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test caches out of the user's folders."""
    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """A small picture whose every row, column and channel differs."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path: Path, pixels: NDArray[np.uint8]) -> MakePicture:
    """Write `pixels`, or another image, under a name; return the path."""

    def write(name: str, image: Image.Image | NDArray[np.generic] | None = None, **how: object):
        if image is None:
            image = pixels
        if not isinstance(image, Image.Image):
            image = Image.fromarray(np.asarray(image))
        path = tmp_path / name
        image.save(path, **how)
        return path

    return write
