"""What the Concepts dock does beside the window: open, import and build atlases."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from napari_cytosae.concepts.atlas import Atlas, BuildProgress, is_atlas, is_published
from napari_cytosae.errors import AtlasError
from napari_cytosae.models.registry import bundle_folders
from napari_cytosae.viewer.jobs import told

SHIPPED_ATLAS = "atlas"
"""Folder of an atlas within a bundle's."""


def open_atlas_job(folder: Path, cancelled: Callable[[], bool]) -> Generator[Atlas, None, None]:
    """Open an atlas, or read a folder of published feature data, or a folder of such folders."""
    if is_atlas(folder):
        atlas = Atlas.open(folder)
    else:
        published = [folder] if is_published(folder) else _published_in(folder)
        if not published:
            raise AtlasError(
                f"{folder} holds neither an atlas nor published feature data. Choose a folder that "
                "was saved as an atlas, or one with sae_mean_acts.pt and its fellows."
            )
        atlas = Atlas.from_published(published)
    _ = atlas.table  # what takes time is done here, not in the window
    yield atlas


def build_atlas_job(
    sources: Path, out: Path, cancelled: Callable[[], bool]
) -> Generator[BuildProgress | Atlas, None, None]:
    """Count the concepts of all runs in a folder into an atlas; stopped, it goes on next time."""

    def work(tell: Callable[[Any], None]) -> Atlas:
        atlas = Atlas.build(sources, out=out, progress=tell, cancelled=cancelled)
        _ = atlas.table
        return atlas

    yield from told(work)


def _published_in(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and is_published(inner))


def shipped_atlas(sae_digest: str | None) -> Path | None:
    """Find the atlas that a bundle on this computer brings along for its SAE.

    An atlas that cannot be read is passed over: a damaged bundle must not hide another's.
    """
    if sae_digest is None:
        return None
    for folder in bundle_folders():
        path = folder / SHIPPED_ATLAS
        try:
            if is_atlas(path) and Atlas.open(path).sae_digest == sae_digest:
                return path
        except AtlasError:
            continue
    return None
