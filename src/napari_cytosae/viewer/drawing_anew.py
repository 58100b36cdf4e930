"""Layers whose pixels change where they are stored, drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Image, Labels


def draw_anew(layer: Image | Labels) -> None:
    """Read a layer once more and draw it.

    napari keeps the coarsest level of a multiscale layer in memory from the first time that it was
    read, and `refresh` draws that again: what was blank would stay so. It has no public way to
    forget it, short of setting the data, which leaps to the coarsest level for a moment.
    """
    forget = getattr(layer, "_reset_thumbnail_level_data", None)  # not in all versions of napari
    if forget is not None:
        forget()
    layer.refresh()
