"""A sweep's figures as curves side by side, as in the paper's ablations."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_cytosae.errors import TrainingError
from napari_cytosae.training.sweep.grid import SweepPoint
from napari_cytosae.training.sweep.run import PointResult, SweepResult

# Okabe and Ito's hues, told apart by colour-blind eyes; after six, line styles change.
_HUES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_LINES: Final = ("-", "--", ":")

_SCALARS: Final = (
    ("l0_per_token", "active concepts\nper token (L0)"),
    ("explained_variance", "explained variance,\ncentred"),
    ("dead_share", "dead share"),
    ("monosemanticity", "monosemanticity"),
    ("entropy", "label entropy\n(nats)"),
)

_SAID: Final[Mapping[str, str]] = {
    "l1": "λ",
    "lr": "learning rate",
    "expansion": "expansion",
    "block": "block",
    "ghost_gradients": "ghost gradients",
    "b_dec_init": "start of b_dec",
    "k": "k",
    "d_sae": "concepts",
    "activation": "activation",
}


def draw_sweep(result: SweepResult, path: str | Path | None = None) -> Figure:
    """Draw a sweep: one column per axis.

    On top the number of concepts whose mean activation exceeds 10⁻⁶ … 1, a curve for each value;
    below, L0, explained variance, dead share, monosemanticity and, where there were labels, label
    entropy against the value. Of several seeds the mean is drawn, and the range as a bar.

    Parameters
    ----------
    result
        What is finished is drawn.
    path
        Where the picture goes: PNG, SVG or PDF by its ending.

    Raises
    ------
    TrainingError
        Nothing is finished.
    """
    if not result.points:
        raise TrainingError("Nothing of this sweep is finished yet; there is nothing to draw.")
    columns = _columns(result)
    scalars = [
        (key, said)
        for key, said in _SCALARS
        if any(point.measured.get(key) is not None for point in result.points)
    ]
    figure = Figure(
        figsize=(1.2 + 2.7 * len(columns), 3.0 + 1.55 * len(scalars)), layout="constrained"
    )
    grid = figure.subplots(
        1 + len(scalars),
        len(columns),
        squeeze=False,
        sharey="row",
        height_ratios=[2.1, *[1.0] * len(scalars)],
    )
    for column, (title, groups) in enumerate(columns):
        _draw_counts(grid[0, column], title, groups, result.mean_activation_cuts)
        for row, (key, _) in enumerate(scalars, start=1):
            _draw_scalar(grid[row, column], groups, key, last=row == len(scalars), title=title)
    # Only now: it ends the shared axis' fitting itself to what is drawn.
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("concepts above")
    for row, (_, said) in enumerate(scalars, start=1):
        grid[row, 0].set_ylabel(said, fontsize=9)
    if path is not None:
        figure.savefig(Path(path), dpi=150)
    return figure


_Groups = list[tuple[str, list[PointResult]]]  # value in words, its seeds


def _columns(result: SweepResult) -> list[tuple[str, _Groups]]:
    """Group the points by axis and value."""
    grid = result.grid
    if grid.full or not grid.axes:
        groups: dict[str, list[PointResult]] = defaultdict(list)
        for found in result.points:
            said = ", ".join(f"{_name(k)} {_words(v)}" for k, v in found.point.values.items())
            groups[said or "base"].append(found)
        return [("", list(groups.items()))]
    base = [found for found in result.points if not found.point.axis]
    columns = []
    for axis, values in grid.axes.items():
        mine: _Groups = []
        for value in _ordered([*values, grid.value_of(axis)]):
            own = [f for f in result.points if f.point.axis == axis and _is(f.point, axis, value)]
            if value == grid.value_of(axis):
                own = [*base, *own]
            if own:
                mine.append((_words(value), own))
        if mine:
            columns.append((_name(axis), mine))
    return columns or [("", [("base", base)])]


def _is(point: SweepPoint, axis: str, value: Any) -> bool:
    return bool(point.values[axis] == value) and type(point.values[axis]) is type(value)


def _ordered(values: Sequence[Any]) -> list[Any]:
    unique = list(dict.fromkeys(values))
    numbers = all(isinstance(value, int | float) for value in unique)
    return sorted(unique) if numbers else unique


def _name(axis: str) -> str:
    return _SAID.get(axis, axis.replace("_", " "))


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("_", " ")


def _draw_counts(axes: Axes, title: str, groups: _Groups, cuts: Sequence[float]) -> None:
    for index, (said, points) in enumerate(groups):
        counts = np.array([point.measured["concepts_above"] for point in points], float)
        axes.plot(
            cuts,
            counts.mean(0),
            color=_HUES[index % len(_HUES)],
            linestyle=_LINES[index // len(_HUES) % len(_LINES)],
            marker="o",
            markersize=3.5,
            label=said,
        )
    axes.set_xscale("log")
    axes.set_xlabel("mean activation", fontsize=9)
    axes.set_title(title, fontsize=11)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower left")


def _draw_scalar(axes: Axes, groups: _Groups, key: str, *, last: bool, title: str) -> None:
    known = [
        [float(point.measured[key]) for point in points if point.measured.get(key) is not None]
        for _, points in groups
    ]
    middle = [float(np.mean(values)) if values else math.nan for values in known]
    places = np.arange(len(groups))
    axes.plot(places, middle, color="#888888", linewidth=1, zorder=1)
    for place, (values, centre) in enumerate(zip(known, middle, strict=True)):
        hue = _HUES[place % len(_HUES)]
        if len(values) > 1:
            axes.plot([place, place], [min(values), max(values)], color=hue, linewidth=2.5)
        axes.plot([place], [centre], marker="o", markersize=5, color=hue)
    axes.set_xlim(-0.4, len(groups) - 0.6)
    words = [said for said, _ in groups]
    long = sum(map(len, words)) > 22
    axes.set_xticks(places, words if last else [""] * len(words), fontsize=8)
    if long and last:
        axes.tick_params(axis="x", rotation=35)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.25)
    if last:
        axes.set_xlabel(title, fontsize=9)
