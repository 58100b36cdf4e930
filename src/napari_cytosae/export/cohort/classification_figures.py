"""Figures of a classification: confusion, calibration, the curve, baselines and explanations."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_cytosae.cohorts.classification import Classification
from napari_cytosae.cohorts.explanation import Explanation
from napari_cytosae.concepts.naming.names import title_of
from napari_cytosae.export.cohort.style import FIRST, GREY, INK, SECOND, SMALL, shorten, tidy
from napari_cytosae.export.palette import HUES

ON_FIELD = "on field"
"""Label of texts that stand on a coloured field, and whose colour goes with it."""


def draw_confusion(axes: Axes, classification: Classification) -> None:
    """Draw how many patients of each class are predicted as which, mean over repeats."""
    table = classification.confusion
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-9)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(table):
        if value == 0:
            continue
        words = f"{value:.1f}" if value % 1 else f"{value:.0f}"
        axes.text(
            column, row, f"{words}\n{share[row, column]:.0%}", ha="center", va="center",
            fontsize=SMALL, color="white" if share[row, column] > 0.55 else INK, label=ON_FIELD,
        )  # fmt: skip
    names = [shorten(name, 22) for name in classification.classes]
    turned = sum(map(len, names)) > 26
    axes.set_xticks(
        range(len(names)), names, rotation=35 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=SMALL, length=0)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    axes.spines[:].set_visible(False)


def draw_calibration(axes: Axes, classification: Classification) -> None:
    """Draw the share of right predictions against their confidence."""
    found = classification.calibration
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    table = found.table
    axes.plot(table["confidence"], table["accuracy"], color=SECOND, linewidth=1.2)
    axes.scatter(table["confidence"], table["accuracy"], s=22, color=SECOND, zorder=3)
    least = 1 / len(classification.classes)
    axes.set_xlim(min(least, table["confidence"].min()) - 0.03, 1.02)
    axes.set_ylim(min(least, table["accuracy"].min()) - 0.03, 1.02)
    axes.text(
        0.03, 0.97, f"expected calibration error {found.error:.2f}", transform=axes.transAxes,
        fontsize=SMALL, va="top",
    )  # fmt: skip
    tidy(axes, "probability of the predicted class", "share that is right")


def draw_curve(figure: Figure, classification: Classification) -> None:
    """Draw weighted F1, and concepts kept, against the mean activation that concepts need."""
    curve = classification.curve
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    x, y = curve["threshold"], curve["weighted_f1"]
    sd = curve["weighted_f1_sd"]
    above.fill_between(x, y - sd, y + sd, color=SECOND, alpha=0.2, linewidth=0)
    above.plot(x, y, color=SECOND, marker="o", markersize=3.5, linewidth=1.2)
    above.set_xscale("log")
    above.set_ylim(0, 1.02)
    if classification.null.size:
        chance = classification.null.mean()
        above.axhline(chance, color=GREY, linewidth=0.8, linestyle="--")
        above.text(x.min(), chance, "shuffled", fontsize=7, color=GREY, va="bottom")
    tidy(above, "", "weighted F1 ± sd")
    below.plot(x, curve["concepts"], color=INK, marker="o", markersize=3, linewidth=1)
    if (curve["concepts"] > 0).all():
        below.set_yscale("log")
    else:
        below.set_ylim(bottom=0)
    tidy(below, "mean activation that a concept needs", "concepts kept")


def draw_beside(axes: Axes, classification: Classification) -> None:
    """Draw weighted F1 of the barcodes beside baselines, covariates and shuffles."""
    table = classification.beside
    hues = {"barcodes": FIRST, "matrix": SECOND, "covariate": HUES[3]}
    names = [shorten(str(name), 30) for name in table["name"]]
    values = list(table["weighted_f1"])
    spreads = list(table["weighted_f1_sd"])
    colours = [hues[kind] for kind in table["kind"]]
    null = classification.null
    if null.size:
        names.append("shuffled diagnoses")
        values.append(float(null.mean()))
        spreads.append(float(null.std()))
        colours.append(GREY)
    places = np.arange(len(names))[::-1]
    axes.barh(places, values, xerr=spreads, color=colours, height=0.62,
              error_kw={"elinewidth": 1, "ecolor": GREY})  # fmt: skip
    axes.set_yticks(places, names)
    axes.set_xlim(0, 1.05)
    tidy(axes, "weighted F1, mean ± sd over folds", "")


def draw_null(axes: Axes, classification: Classification) -> None:
    """Draw the weighted F1 of shuffled classes, and the true one."""
    axes.hist(classification.null, bins=20, range=(0, 1), color=GREY)
    axes.axvline(classification.validation.mean("weighted_f1"), color=FIRST, linewidth=2)
    p = classification.p
    axes.text(
        0.03, 0.95, f"p = {p:.3g}" if p is not None else "", transform=axes.transAxes,
        fontsize=SMALL, va="top",
    )  # fmt: skip
    tidy(axes, "weighted F1", "shuffles")


def draw_masking(axes: Axes, curve: pd.DataFrame) -> None:
    """Draw how the predicted class's probability falls as its concepts are masked."""
    x = curve["k"]
    for column, words, hue, line in (
        ("only", "with only these k concepts", SECOND, "-"),
        ("without", "without the k that speak most for it", FIRST, "-"),
        ("random", "without k random concepts", GREY, "--"),
    ):
        axes.plot(x, curve[column], line, color=hue, marker="o", markersize=3.5, label=words)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    ticks = [k for k in x if k in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=SMALL, frameon=False, loc="best")
    tidy(axes, "k concepts", "probability of the class predicted")


def draw_contributions(
    axes: Axes, explanation: Explanation, k: int = 12, name: str | None = None
) -> None:
    """Draw the concepts that speak most for and against a class; the predicted one without it."""
    chosen = name or explanation.predicted
    evidence = explanation.evidence(chosen)
    table = evidence.head(k)
    rest = evidence["contribution"].iloc[k:].sum()
    names = [
        shorten(title_of(int(number), str(words), bool(mark)))
        for number, words, mark in zip(
            table["concept_id"], table["name"], table["name_suggested"], strict=True
        )
    ]
    values = [*table["contribution"], rest]
    names.append(f"{max(len(explanation.table) - k, 0)} others")
    places = np.arange(len(values))[::-1]
    colours = [FIRST if value > 0 else SECOND for value in values[:-1]] + [GREY]
    axes.barh(places, values, color=colours, height=0.66)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(places, names)
    tidy(axes, f"← against · for {shorten(chosen, 20)} → (logits)", "")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
