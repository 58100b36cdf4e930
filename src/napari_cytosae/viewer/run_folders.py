"""Where the window keeps a run: beside the image, or with the user's data where it cannot."""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_cytosae.home import home_folder
from napari_cytosae.slides import image_stem


def run_folder_for(name: str, file: Path | None, parent: Path | None = None) -> Path:
    """Name the folder of a run.

    Parameters
    ----------
    name
        The image layer's name, used where there is no file.
    file
        The image's file.
    parent
        Folder that the user chose; without it the image's own, and where that cannot be written
        or there is none, ``runs`` in the user's data folder.
    """
    stem = image_stem(file) if file is not None else name
    stem = re.sub(r"[^\w.\- ]+", "_", stem).strip(" .") or "image"
    if parent is None and file is not None and os.access(file.parent, os.W_OK):
        parent = file.parent
    if parent is None:
        parent = home_folder() / "runs"
    return parent / f"{stem}.cytosae"
