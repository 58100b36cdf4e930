"""Where the package keeps what it makes and fetches for the user."""

import os
from pathlib import Path


def home_folder() -> Path:
    """Folder of the user's bundles, runs and caches; ``NAPARI_CYTOSAE_HOME`` names another."""
    chosen = os.environ.get("NAPARI_CYTOSAE_HOME")
    if chosen:
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("napari-cytosae"))
