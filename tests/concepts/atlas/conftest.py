from pathlib import Path

import pytest

from napari_cytosae.concepts.atlas import DataSet, read_published

SETS = ("mll23", "acevedo", "bmc", "hehr")


@pytest.fixture(scope="session")
def published_folder(shared) -> Path:
    """Folder of the four published feature-data folders."""
    return shared / "data" / "cytosae-feature-data"


@pytest.fixture(scope="session")
def published(published_folder) -> dict[str, DataSet]:
    """The four published data sets, by name."""
    return {name: read_published(published_folder / name) for name in SETS}
