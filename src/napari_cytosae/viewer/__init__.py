"""Everything that knows napari or Qt: docks, layers, clicks and workers."""

from napari_cytosae.viewer.open_window import open_in_napari

__all__ = ["open_in_napari"]
