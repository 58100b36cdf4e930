"""Figures that only the Cohort dock shows."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from napari_cytosae.export.cohort.style import FIRST, GREY, SMALL, shorten, tidy


def draw_what_if(axes: Axes, table: pd.DataFrame) -> None:
    """Draw each class's probability before and after concepts were changed.

    Parameters
    ----------
    axes
        Empty.
    table
        Of `what_if`.
    """
    places = np.arange(len(table))[::-1]
    for column, shift, hue, words in (
        ("before", 0.19, GREY, "as it is"),
        ("after", -0.19, FIRST, "if changed"),
    ):
        values = table[column].to_numpy(np.float64)
        axes.barh(places + shift, values, height=0.34, color=hue, label=words)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.015, place + shift, f"{value:.1%}", va="center", fontsize=SMALL)
    axes.set_yticks(places, [shorten(str(name), 22) for name in table.index])
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.legend(
        fontsize=SMALL, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2
    )
    tidy(axes, "probability", "")
