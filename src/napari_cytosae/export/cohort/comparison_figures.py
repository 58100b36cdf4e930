"""Figures of a comparison: scatter, volcano, heatmap, and how patients resemble each other."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_cytosae.cohorts import (
    Barcodes,
    Comparison,
    cluster_order,
    correlate_patients,
    diagnosis_order,
)
from napari_cytosae.concepts.naming.names import title_of
from napari_cytosae.export.cohort.style import (
    DIVERGING,
    FIRST,
    GREY,
    SECOND,
    SMALL,
    class_strip,
    hue_of,
    shorten,
    tidy,
)

MARKED = 10
_SMALLEST_P = 1e-300


def titles(comparison: Comparison, k: int = MARKED) -> list[str]:
    """Name the k most different concepts."""
    top = comparison.top(k)
    columns = zip(top["concept_id"], top["name"], top["name_suggested"], strict=True)
    return [title_of(int(number), str(name), bool(mark)) for number, name, mark in columns]


def draw_scatter(
    axes: Axes, comparison: Comparison, k: int = MARKED, *, legend: bool = True
) -> None:
    """Draw each concept's mean barcode in one group against the other's.

    Parameters
    ----------
    axes
        Empty.
    comparison
        The comparison.
    k
        Most different concepts that are marked and named.
    legend
        Whether to list their names beside the axes.
    """
    table = comparison.table
    x, y = scatter_places(comparison)
    axes.scatter(x, y, s=7, color=GREY, alpha=0.5, linewidths=0, rasterized=len(table) > 5000)
    edge = 1.1 * max(x.max(), y.max())
    least = _linear_up_to(comparison)
    for which in ("x", "y"):
        getattr(axes, f"set_{which}scale")("symlog", linthresh=least, linscale=1.0)
        getattr(axes, f"set_{which}lim")(-0.15 * least, 1.6 * edge)
    axes.plot([0, edge], [0, edge], color=GREY, linewidth=0.8, zorder=0)
    _mark(axes, comparison, x, y, k, legend=legend)
    tidy(axes, f"{comparison.second}: {_unit(comparison)}", f"{comparison.first}")


def scatter_places(comparison: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give where `draw_scatter` puts each row of the table."""
    table = comparison.table
    return table["mean_second"].to_numpy(np.float64), table["mean_first"].to_numpy(np.float64)


def draw_volcano(
    axes: Axes, comparison: Comparison, k: int = MARKED, *, legend: bool = True
) -> None:
    """Draw each concept's effect size against its p-value.

    Parameters
    ----------
    axes, comparison, k, legend
        See `draw_scatter`. Coloured are those with a false discovery rate of 5 %.
    """
    table = comparison.table
    x, y = volcano_places(comparison)
    found = table["q"].to_numpy() <= 0.05
    hue = np.where(~found, GREY, np.where(x > 0, FIRST, SECOND))
    axes.scatter(x, y, s=9, c=hue, alpha=0.65, linewidths=0, rasterized=len(table) > 5000)
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(bottom=0, top=max(1.0, 1.12 * y.max()))
    if found.any():
        line = y[found].min()
        axes.axhline(line, color=GREY, linewidth=0.8, linestyle="--")
        axes.text(-1.06, line, "FDR 5 %", fontsize=7, va="bottom", color=GREY)
    axes.axvline(0, color=GREY, linewidth=0.6)
    _mark(axes, comparison, x, y, k, legend=legend)
    tidy(
        axes,
        f"Cliff's delta (← more in {shorten(comparison.second, 18)} · "
        f"more in {shorten(comparison.first, 18)} →)",
        "−log10 p",
    )


def volcano_places(comparison: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give where `draw_volcano` puts each row of the table."""
    table = comparison.table
    p = table["p"].to_numpy(np.float64)
    # An exact zero is what floating point makes of the tiniest p.
    return table["delta"].to_numpy(np.float64), -np.log10(np.maximum(p, _SMALLEST_P)) + 0.0


def draw_heatmap(
    figure: Figure, barcodes: Barcodes, concept_ids: list[int], *, clustered: bool = False
) -> None:
    """Draw concepts × patients, each concept in standard deviations from its mean.

    Parameters
    ----------
    figure
        Empty.
    barcodes
        Of the patients.
    concept_ids
        Concepts, from top to bottom.
    clustered
        Order patients by likeness only, not by diagnosis first.
    """
    values = np.sqrt(barcodes.dense(concept_ids))  # counts' spread grows with their size
    spread = values.std(axis=0)
    z = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = _order(barcodes, clustered)
    labels = barcodes.diagnosis[order]
    grid = figure.subplots(2, 1, height_ratios=[1, max(8, 1.1 * len(concept_ids))])
    class_strip(grid[0], labels, hue_of(barcodes.diagnoses))
    image = grid[1].imshow(
        z[order].T, aspect="auto", cmap=DIVERGING, vmin=-2.5, vmax=2.5, interpolation="nearest"
    )
    names = [shorten(barcodes.names.title(number)) for number in concept_ids]
    grid[1].set_yticks(range(len(names)), names, fontsize=SMALL)
    grid[1].set_xticks([])
    grid[1].set_xlabel(f"{len(barcodes)} patients", fontsize=9)
    bar = figure.colorbar(image, ax=grid[1], shrink=0.6, pad=0.01)
    bar.set_label("standard deviations from the mean", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def draw_correlation(figure: Figure, barcodes: Barcodes, *, clustered: bool = False) -> None:
    """Draw how patients' barcodes correlate (Spearman), ordered by diagnosis or by likeness."""
    correlation = correlate_patients(barcodes)
    order = _order(barcodes, clustered, correlation)
    labels = barcodes.diagnosis[order]
    hues = hue_of(barcodes.diagnoses)
    grid = figure.subplots(
        2, 2, height_ratios=[1, 22], width_ratios=[1, 22], gridspec_kw={"hspace": 0, "wspace": 0}
    )
    grid[0, 0].set_axis_off()
    class_strip(grid[0, 1], labels, hues)
    class_strip(grid[1, 0], labels, hues, upright=True)
    shown = correlation[np.ix_(order, order)]
    off = shown[~np.eye(len(shown), dtype=bool)]
    image = grid[1, 1].imshow(
        shown, aspect="auto", cmap="viridis", vmin=off.min() if off.size else -1, vmax=1.0,
        interpolation="nearest",
    )  # fmt: skip
    grid[1, 1].set_xticks([])
    grid[1, 1].set_yticks([])
    bar = figure.colorbar(image, ax=grid[:, 1], shrink=0.6, pad=0.02)
    bar.set_label("Spearman's correlation", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def draw_barcode(axes: Axes, barcodes: Barcodes, patient: str, k: int = 400) -> None:
    """Draw a patient's barcode against the mean of its disease, concept by concept.

    Parameters
    ----------
    axes
        Empty.
    barcodes
        Of the cohort.
    patient
        Whose.
    k
        Concepts at most: the most frequent of the disease, from left to right.
    """
    row = list(barcodes.patients.index).index(patient)
    diagnosis = str(barcodes.diagnosis[row])
    values = barcodes.dense()
    own = barcodes.diagnosis == diagnosis
    mean = values[own].mean(axis=0)
    order = np.argsort(-mean, kind="stable")[:k]
    order = order[(mean[order] > 0) | (values[row, order] > 0)]
    low, high = np.quantile(values[own][:, order], [0.1, 0.9], axis=0)
    x = np.arange(order.size)
    axes.fill_between(
        x, low, high, color=SECOND, alpha=0.25, linewidth=0, step="mid",
        label=f"{shorten(diagnosis or 'unknown', 24)}: 80 % of patients",
    )  # fmt: skip
    axes.step(x, mean[order], where="mid", color=SECOND, linewidth=1, label="their mean")
    axes.vlines(x, 0, values[row, order], color=FIRST, linewidth=0.8, label=shorten(patient, 24))
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-1, order.size)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper right")
    tidy(axes, f"{order.size} concepts, the disease's most frequent first", "tokens per cell")


def _mark(
    axes: Axes,
    comparison: Comparison,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    k: int,
    *,
    legend: bool,
) -> None:
    """Mark the most different concepts by numbers, and list their names."""
    delta = comparison.table["delta"].to_numpy()
    for place, words in enumerate(titles(comparison, k)):
        hue = FIRST if delta[place] > 0 else SECOND
        axes.scatter(
            x[place], y[place], s=26, color=hue, edgecolors="white", linewidths=0.5, zorder=3,
            label=f"{place + 1}  {shorten(words)}",
        )  # fmt: skip
        axes.annotate(
            str(place + 1), (x[place], y[place]), xytext=(3, 3), textcoords="offset points",
            fontsize=7, zorder=4,
        )  # fmt: skip
    if legend:
        axes.legend(
            fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0.0, handletextpad=0.2,
        )  # fmt: skip


def _order(
    barcodes: Barcodes, clustered: bool, correlation: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    matrix = correlate_patients(barcodes) if correlation is None else correlation
    return cluster_order(matrix) if clustered else diagnosis_order(list(barcodes.diagnosis), matrix)


def _linear_up_to(comparison: Comparison) -> float:
    """Choose where the scale turns from linear, which has a zero, to logarithmic."""
    means = comparison.table[["mean_first", "mean_second"]].to_numpy(np.float64)
    positive = means[means > 0]
    return float(np.quantile(positive, 0.25)) if positive.size else 1.0


def _unit(comparison: Comparison) -> str:
    return {
        "count": "tokens per cell",
        "presence": "share of cells",
        "mean": "mean activation",
        "max": "largest activation",
    }[comparison.options.statistic]
