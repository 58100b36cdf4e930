"""The report's pictures: curves as SVG, crops with a concept's map as JPEG."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.svg import as_svg

_BLUE: Final = "#0072B2"
_GLOW: Final = np.array([255, 176, 0], np.float32)
"""Okabe and Ito's orange, lighter: it shows on purple nuclei and on red cells."""

_CURVES: Final = (
    ("loss", "loss", True),
    ("mse", "reconstruction", True),
    ("l0", "active concepts per token (L0)", False),
    ("dead", "silent concepts (share)", False),
    ("explained_variance", "explained variance", False),
    ("lr", "learning rate", False),
)


def curves_svg(history: Sequence[Mapping[str, float]]) -> str:
    """Draw what the training logged, against its steps, as one SVG element."""
    there = [
        (key, said, log)
        for key, said, log in _CURVES
        if sum(key in record for record in history) > 1
    ]
    if not there:
        return ""
    columns = min(3, len(there))
    rows = -(-len(there) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (key, said, log) in zip(grid, there, strict=False):
        points = [(r["step"], r[key]) for r in history if key in r and np.isfinite(r[key])]
        steps, values = np.array(points, float).reshape(-1, 2).T
        axes.plot(steps, values, color=_BLUE, linewidth=0.7, alpha=0.4)
        axes.plot(*_smooth(steps, values), color=_BLUE, linewidth=1.6)
        axes.set_title(said, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if log and len(values) and values.min() > 0:
            axes.set_yscale("log")
        elif len(values) and values.min() >= 0:
            axes.set_ylim(bottom=0)
    for axes in grid[len(there) :]:
        axes.set_axis_off()
    return as_svg(figure)


def bars_svg(cuts: Sequence[float], rows: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Draw how many concepts lie above each mean activation, for each dictionary."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    hues = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
    for index, (name, counts) in enumerate(rows):
        axes.plot(cuts, counts, marker="o", markersize=4, color=hues[index % 6], label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("mean activation", fontsize=9)
    axes.set_ylabel("concepts above", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    return as_svg(figure)


def crop_with_map(
    crop: NDArray[np.uint8], values: NDArray[np.float32], strongest: float, side_px: int = 112
) -> str:
    """Draw a crop beside itself with a concept's map over it, as a ``data:`` JPEG.

    Parameters
    ----------
    crop
        (height, width, 3) uint8.
    values
        (side, side): the concept's activations.
    strongest
        The activation at which the glow is full.
    side_px
        Side of each of the two squares.
    """
    picture = Image.fromarray(crop).convert("RGB")
    small = picture.resize((side_px, side_px), Image.Resampling.LANCZOS)
    bare = np.asarray(small, np.float32)
    share = np.clip(values / strongest if strongest > 0 else values * 0, 0, 1)
    glow = Image.fromarray(np.asarray(share, np.float32)).resize(
        (side_px, side_px), Image.Resampling.BILINEAR
    )
    alpha = np.asarray(glow, np.float32)[..., None] * 0.85
    grey = bare.mean(-1, keepdims=True) * 0.55 + bare * 0.25
    over = grey * (1 - alpha) + _GLOW * alpha
    pair = np.concatenate([bare, np.full((side_px, 3, 3), 255, np.float32), over], axis=1)
    out = io.BytesIO()
    Image.fromarray(np.rint(pair.clip(0, 255)).astype(np.uint8)).save(out, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _smooth(
    steps: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average over a fiftieth of the training."""
    width = max(1, len(values) // 50)
    count = len(values) // width * width
    if count == 0:
        return steps, values
    return (
        steps[:count].reshape(-1, width).mean(1),
        values[:count].reshape(-1, width).mean(1),
    )
