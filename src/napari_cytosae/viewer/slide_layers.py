"""A slide as layers of the viewer: read where it is looked at, and tied to its slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cytosae.errors import ChannelsError
from napari_cytosae.slides import Slide, image_stem
from napari_cytosae.slides.level_array import LevelArray
from napari_cytosae.viewer.level_making import make_levels_beside
from napari_cytosae.viewer.slide_key import SLIDE_KEY

if TYPE_CHECKING:
    from napari.layers import Image

LayerData = tuple[Any, dict[str, Any], str]

# An image of one level that is no larger than this is shown as one array in memory.
_IN_MEMORY_PX = 1 << 24

# Of the channels of a fluorescence scan, in their order.
_COLORMAPS = ("blue", "green", "red", "magenta", "cyan", "yellow")


def open_slides(path: str | Path) -> list[Slide]:
    """Open an image file: one slide, or one for each channel where there are stains.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    try:
        return [Slide.open(path)]
    except ChannelsError as error:
        return [Slide.open(path, channels=(channel,)) for channel in range(error.channels)]


def layers_of(slides: list[Slide]) -> list[LayerData]:
    """Describe the layers that show the slides of one file."""
    if len(slides) == 1:
        return [slide_layer(slides[0])]
    layers = []
    for channel, slide in enumerate(slides):
        data, settings, kind = slide_layer(slide)
        settings |= {
            "name": f"{settings['name']} [channel {channel}]",
            "colormap": _COLORMAPS[channel % len(_COLORMAPS)],
            "blending": "additive",
        }
        layers.append((data, settings, kind))
    return layers


def slide_layer(slide: Slide) -> LayerData:
    """Describe the layer that shows a slide: in µm where the pixel size is known.

    Colour is shown as it is analysed, in 8 bits; grey values are shown as they are stored, so that
    their contrast can be set.
    """
    settings: dict[str, Any] = {
        "name": slide.name if slide.path is None else image_stem(slide.path),
        "axis_labels": ("y", "x"),
        "metadata": {SLIDE_KEY: slide},
        "rgb": not slide.is_grey,
    }
    if slide.pixel_size_um is not None:
        settings |= {"scale": slide.pixel_size_um, "units": ("um", "um")}
    # Outside a window, whoever reads the layer waits for what it reads.
    beside = not slide.levels_made and make_levels_beside(slide)
    if slide.is_grey:
        settings["contrast_limits"] = slide.rough_value_range if beside else slide.value_range
    levels = slide.pyramid(values=slide.is_grey, wait=not beside)
    if len(levels) == 1 and slide.shape[0] * slide.shape[1] <= _IN_MEMORY_PX:
        return levels[0][:], settings, "image"
    return levels, settings | {"multiscale": True}, "image"


def slide_behind(layer: Image) -> Slide | None:
    """Return the slide that a layer shows; None for layers of other readers, or changed ones."""
    slide = layer.metadata.get(SLIDE_KEY)
    if not isinstance(slide, Slide) or not layer.multiscale:
        return None
    levels = list(layer.data)
    ours = len(levels) == len(slide.level_shapes) and isinstance(levels[0], LevelArray)
    return slide if ours else None
