"""How the cohort's figures look."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_cytosae.concepts.naming.names import SUGGESTED_MARK
from napari_cytosae.export.palette import HUES, rgb

GREY = "#8a8d91"
INK = "#1d1d1f"
FIRST, SECOND = HUES[0], HUES[1]
DIVERGING = "PuOr_r"  # told apart by the colour-blind
SMALL = 8


def hue_of(classes: Sequence[str]) -> dict[str, str]:
    """Give each class a hue; beyond six they repeat, and names tell them apart."""
    return {name: HUES[place % len(HUES)] for place, name in enumerate(classes)}


def new_figure(width: float, height: float) -> Figure:
    """Start a figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, x: str, y: str) -> None:
    """Label the axes and take away what is not needed."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def shorten(words: str, most: int = 38) -> str:
    """Cut a long name; that it is a suggestion stays to be seen."""
    if len(words) <= most:
        return words
    mark = SUGGESTED_MARK if words.endswith(SUGGESTED_MARK) else ""
    return words[: most - 1 - len(mark)].rstrip() + "…" + mark


def class_strip(
    axes: Axes, labels: NDArray[np.object_], hues: dict[str, str], *, upright: bool = False
) -> None:
    """Draw a strip of colours, one field per patient, with the classes' names at their runs."""
    numbers = np.array([rgb(hues.get(str(label), GREY)) for label in labels])
    axes.imshow(numbers[:, None] if upright else numbers[None], aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    ends = np.r_[starts[1:], len(labels)]
    if len(starts) > 2 * len(set(labels.tolist())):
        return  # clustered: a legend says more
    turned = False
    for start, end in zip(starts, ends, strict=True):
        middle = (start + end - 1) / 2
        words = shorten(str(labels[start]) or "unknown", 22)
        if upright:
            axes.set_yticks([*axes.get_yticks(), middle])
            axes.text(-0.8, middle, words, ha="right", va="center", fontsize=SMALL)
        else:
            # What stands to the right of a turned name is turned too, or it would lie over it.
            turned = turned or 3 * (end - start) < len(labels) * 0.03 * len(words)
            axes.text(
                middle, -0.7, words, ha="left" if turned else "center", va="bottom",
                fontsize=SMALL, rotation=35 if turned else 0,
            )  # fmt: skip
    if upright:
        axes.set_yticks([])
