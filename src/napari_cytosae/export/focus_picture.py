"""The two modes of mean activation, and which concepts lie above the threshold."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_cytosae.concepts.atlas import Focus
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.export.palette import HUES

_KEPT, _LEFT = HUES[1], "#b8b8b8"


def draw_focus(focus: Focus, title: str, path: Path) -> None:
    """Write a PNG of the histogram of mean activation, with the threshold.

    Parameters
    ----------
    focus
        What `Atlas.focus` gave.
    title
        Which data.
    path
        Where the picture goes.

    Raises
    ------
    RunError
        Where it cannot be written.
    """
    figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    middles = (focus.edges[:-1] + focus.edges[1:]) / 2
    at = np.log10(focus.threshold) if focus.threshold > 0 else -np.inf
    colours = [_KEPT if middle > at else _LEFT for middle in middles]
    width = float(focus.edges[1] - focus.edges[0])
    # A bin of one concept must be seen beside one of thousands.
    axes.bar(middles, focus.counts, width=0.92 * width, color=colours, log=True)
    axes.plot(middles, np.maximum(focus.density, 0.5), color="#444444", linewidth=1.2)
    top = max(10.0, float(focus.counts.max()) * 3)
    axes.set_ylim(0.7, top)
    axes.set_xlim(focus.edges[0], focus.edges[-1])
    if focus.threshold > 0:
        axes.axvline(at, color=HUES[0], linewidth=1.6)
        axes.annotate(
            f"threshold {focus.threshold:.2g}",
            (at, top * 0.8),
            xytext=(5, 0),
            textcoords="offset points",
            color=HUES[0],
            verticalalignment="top",
        )
    if np.isfinite(focus.noisy_above) and focus.noisy_above > 0:
        noisy = float(np.log10(focus.noisy_above))
        axes.axvline(noisy, color="#666666", linewidth=1, linestyle=":")
        axes.annotate(
            "noisy beyond",
            (noisy, top * 0.8),
            xytext=(5, 0),
            textcoords="offset points",
            color="#666666",
            verticalalignment="top",
        )
    ticks = np.arange(np.ceil(focus.edges[0]), focus.edges[-1] + 1e-9)
    axes.set_xticks(ticks, [f"$10^{{{int(tick)}}}$" for tick in ticks])
    axes.set_xlabel("mean activation over the images where a concept is active")
    axes.set_ylabel("concepts")
    axes.set_title(
        f"{title}: {len(focus):,} of {focus.d_sae:,} concepts carry {focus.mass_share:.1%} of all "
        "activation",
        fontsize=10,
        loc="left",
        wrap=True,
        parse_math=False,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    FigureCanvasAgg(figure)  # no pyplot: nothing global is touched
    write_durably(path, lambda part: figure.savefig(part, format="png"))
