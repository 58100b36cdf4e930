"""Where a result layer lies: on the pixels of the image that it explains, in the same units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap

from napari_cytosae.concepts import Canvas, PlacedMap
from napari_cytosae.errors import ImageError
from napari_cytosae.slides import Slide, is_image_folder
from napari_cytosae.viewer.slide_layers import SLIDE_KEY, slide_behind


def placement(
    source: Image,
    *,
    offset_px: tuple[float, float] = (0.0, 0.0),
    pixel_px: tuple[float, float] = (1.0, 1.0),
) -> dict[str, Any]:
    """Arguments that put a layer on top of an image layer.

    Parameters
    ----------
    source
        The image; two spatial dimensions.
    offset_px
        (y, x) centre of the result's first pixel, in pixels of the image. napari counts from the
        centre of a pixel: 0 is the middle of the first one.
    pixel_px
        Height and width of one pixel of the result, in pixels of the image.

    Returns
    -------
    dict
        ``scale``, ``translate``, ``rotate``, ``shear``, ``affine``, ``units`` and ``axis_labels``.
    """
    scale = np.asarray(source.scale, float)
    # rotate and shear act on what scale gives, so an offset has to pass through them.
    linear = np.asarray(source.rotate) @ _shear_matrix(np.asarray(source.shear))
    translate = np.asarray(source.translate) + linear @ (scale * np.asarray(offset_px, float))
    return {
        "scale": scale * np.asarray(pixel_px, float),
        "translate": translate,
        "rotate": np.asarray(source.rotate),
        "shear": np.asarray(source.shear),
        "affine": np.asarray(source.affine),
        "units": source.units,
        "axis_labels": source.axis_labels,
    }


def placement_of(source: Image, placed: PlacedMap | Canvas) -> dict[str, Any]:
    """Arguments that put a concept map, or the canvas of many, on top of an image layer."""
    return placement(source, offset_px=placed.translate, pixel_px=placed.scale)


def settle(layer: Layer, **wanted: Any) -> None:
    """Set what differs: every setting of a layer draws it anew, even one that changes nothing."""
    for name, value in wanted.items():
        if not _same(getattr(layer, name), value):
            setattr(layer, name, value)


def _same(before: Any, value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return np.array_equal(np.asarray(before), value)  # an Affine is one too, so read
    if isinstance(value, Colormap):
        return before.name == value.name
    if isinstance(value, tuple):
        return tuple(before) == value
    return bool(before == value)


def _shear_matrix(shear: np.ndarray) -> np.ndarray:
    if shear.ndim == 2:
        return shear
    matrix = np.eye(2)
    matrix[0, 1] = shear[0]
    return matrix


def pixel_at(source: Image, world: Any) -> tuple[int, int]:
    """Pixel (y, x) of an image under a point in world coordinates; it may lie outside."""
    position = np.asarray(source.world_to_data(np.asarray(world, float)[-2:]))
    return int(np.round(position[-2])), int(np.round(position[-1]))


def microns_per_pixel(layer: Layer) -> float | None:
    """Pixel size in µm that a layer's scale and units state; None where they state none.

    Raises
    ------
    ImageError
        The pixels are not square.
    """
    unit, scale = layer.units[-1], np.abs(np.asarray(layer.scale, float)[-2:])
    if not unit.is_compatible_with("micrometer"):
        return None
    factor = float((1 * unit).to("micrometer").magnitude)
    if not np.isclose(scale[0], scale[1], rtol=0.01):
        raise ImageError(
            f"The pixels of “{layer.name}” are not square ({scale[0]:g} × {scale[1]:g} {unit}); "
            "resample the image or correct its scale."
        )
    return float(scale[1] * factor)


def slide_of(layer: Image, pixel_um: float | None) -> Slide:
    """Open what an image layer shows as a slide; multiscale layers stay lazy.

    Raises
    ------
    ImageError
        The layer has more than two spatial dimensions, or pixels that are no image.
    """
    if not layer.rgb and layer.ndim == 3 and 3 in _planes(layer):
        raise ImageError(
            f"“{layer.name}” is three planes, not one image. If they are red, green and blue, choose "
            "Split Stack, then Merge to RGB in the menu of the layer list, and analyse that."
        )
    if layer.ndim != 2:
        raise ImageError(
            f"“{layer.name}” has {layer.ndim} dimensions; choose a two-dimensional image "
            "(Layers ▸ Split Stack makes one of each plane)."
        )
    if (slide := slide_behind(layer)) is not None:
        return slide.with_pixel_size(pixel_um)
    levels = list(layer.data) if layer.multiscale else [layer.data]
    if layer.multiscale or not isinstance(layer.data, np.ndarray):
        return Slide.from_levels(levels, name=layer.name, microns_per_pixel=pixel_um)
    path = layer.source.path
    return Slide.from_array(
        np.asarray(layer.data),
        name=layer.name,
        microns_per_pixel=pixel_um,
        path=path,
    )


def _planes(layer: Image) -> tuple[int, int]:
    """Length of the first and of the last axis, either of which may be the channels."""
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    return int(shape[0]), int(shape[-1])


def file_of(layer: Layer) -> Path | None:
    """File that a layer was opened from; None for one made in memory, or a file that is gone."""
    slide = layer.metadata.get(SLIDE_KEY)
    path = slide.path if isinstance(slide, Slide) else layer.source.path
    if path is None or not (Path(path).is_file() or is_image_folder(Path(path))):
        return None
    return Path(path)
