"""Layers of pinned concepts' maps: one canvas of a field, a pyramid read where one looks of a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.layers import Image

from napari_cytosae.viewer.cell_layer_values import in_levels
from napari_cytosae.viewer.drawing_anew import draw_anew
from napari_cytosae.viewer.placement import placement, placement_of
from napari_cytosae.viewer.slide_maps import SlideMaps

if TYPE_CHECKING:
    from napari.utils.colormaps import Colormap

    from napari_cytosae.viewer.results import Results

_BLENDING = "translucent_no_depth"


class PinnedMaps:
    """Make the layers of concept maps and bring them up to date."""

    def __init__(self) -> None:
        self._slides: WeakKeyDictionary[Image, SlideMaps] = WeakKeyDictionary()

    def layer(
        self,
        results: Results,
        source: Image,
        concept_id: int,
        *,
        name: str,
        colormap: Colormap,
        smooth: bool,
    ) -> Image:
        """Make the layer of one concept's maps, on top of the image that was analysed."""
        look = {
            "name": name,
            "colormap": colormap,
            "contrast_limits": (0.0, results.full_scale(concept_id)),
            "blending": _BLENDING,
            "interpolation2d": "linear" if smooth else "nearest",
            "metadata": {"cytosae": {"concept_id": concept_id}},
        }
        if not in_levels(results.labels):
            canvas = results.canvas(concept_id, smooth=smooth)
            return Image(canvas.values, **look, **placement_of(source, canvas))
        maps = SlideMaps(results, concept_id)
        levels = maps.levels(smooth=smooth)
        step = float(levels[0].step)
        place = placement(source, offset_px=((step - 1) / 2,) * 2, pixel_px=(step, step))
        layer = Image(levels, multiscale=True, rgb=False, **look, **place)
        self._slides[layer] = maps
        return layer

    def renew(self, layer: Image, results: Results, concept_id: int, *, smooth: bool) -> None:
        """Show what has been encoded since, smoothly or as squares."""
        maps = self._slides.get(layer)
        if maps is None:
            layer.data = results.canvas(concept_id, smooth=smooth).values
        else:
            maps.renew()
            for level in layer.data:
                level.smooth = smooth
            draw_anew(layer)
        layer.contrast_limits = (0.0, results.full_scale(concept_id))
