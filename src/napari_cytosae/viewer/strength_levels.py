"""Cells of a slide coloured by strength: looked up where the canvas looks, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap, ensure_colormap
from numpy.typing import NDArray

from napari_cytosae.concepts.stored_labels import StoredLabels

# Shades from no strength to the largest; 0 is what lies between cells.
_SHADES = 255


class Shades:
    """Shade of each cell, 1 to 255; all levels of a slide look it up here.

    Parameters
    ----------
    strengths
        Strength of each cell, by label.
    """

    def __init__(self, strengths: dict[int, float]) -> None:
        self.set(strengths)

    def set(self, strengths: dict[int, float]) -> None:
        """Take other strengths; views are to be read anew."""
        labels = np.fromiter(strengths.keys(), np.int64, len(strengths))
        values = np.fromiter(strengths.values(), np.float64, len(strengths))
        order = np.argsort(labels, kind="stable")
        top = values.max(initial=0.0) or 1.0
        shades = 1 + np.rint(np.clip(values / top, 0, 1) * (_SHADES - 1))
        self._labels, self._shades = labels[order], shades[order].astype(np.uint8)

    def of(self, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Look up a piece of the label image; cells without a strength are left out."""
        shaded = np.zeros(labels.shape, np.uint8)
        if not len(self._labels):
            return shaded
        inside = labels > 0
        wanted = labels[inside]
        at = np.minimum(np.searchsorted(self._labels, wanted), len(self._labels) - 1)
        shaded[inside] = np.where(self._labels[at] == wanted, self._shades[at], 0)
        return shaded


class ShadedLevel:
    """One level of a slide's labels, as shades; slices like an array."""

    ndim = 2
    dtype = np.dtype(np.uint8)

    def __init__(self, labels: Any, shades: Shades) -> None:
        self._labels, self._shades = labels, shades
        self.shape: tuple[int, int] = tuple(labels.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        return self._shades.of(np.atleast_2d(np.asarray(self._labels[key])))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


def shaded_levels(labels: StoredLabels, shades: Shades) -> list[ShadedLevel]:
    """Give the levels of a slide's label image as shades."""
    return [ShadedLevel(level, shades) for level in labels.levels]


def shades_colormap() -> Colormap:
    """Colours of the shades: clear between cells, then viridis."""
    colors = ensure_colormap("viridis").map(np.linspace(0, 1, _SHADES))
    return Colormap(
        np.vstack([np.zeros((1, 4)), colors]), name="cells by strength", interpolation="zero"
    )


def shades_layer(labels: StoredLabels, shades: Shades, **settings: Any) -> Image:
    """Make the layer of a slide's cells by strength; ``settings`` are its name, place and look."""
    return Image(
        shaded_levels(labels, shades),
        multiscale=True,
        rgb=False,
        colormap=shades_colormap(),
        contrast_limits=(0, _SHADES),
        interpolation2d="nearest",
        **settings,
    )
