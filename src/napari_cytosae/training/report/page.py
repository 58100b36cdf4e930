"""The report as one HTML file that needs nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.training.metrics.sparsity import MEAN_ACTIVATIONS
from napari_cytosae.training.report.drawing import bars_svg, crop_with_map, curves_svg
from napari_cytosae.training.report.examples import ALIKE, DRAWN, STRONGEST, ConceptExample

_COLUMNS: Final = (
    ("size", "concepts", "{:,.0f}", "how many there are"),
    ("l0_per_token", "L0", "{:,.1f}", "active concepts per token, mean over tokens"),
    ("l0_per_image", "per image", "{:,.0f}", "concepts active anywhere in an image, mean"),
    (
        "explained_variance",
        "EV",
        "{:.3f}",
        "explained variance, centred: the share of the tokens' variance that is rebuilt",
    ),
    (
        "explained_variance_uncentred",
        "EV, uncentred",
        "{:.3f}",
        "upstream's: high wherever tokens have a large mean, so of little use alone",
    ),
    ("class_token_cosine", "class token", "{:.3f}", "cosine of class tokens, rebuilt to original"),
    ("dead_share", "dead", "{:.1%}", "share of concepts active on none of these tokens"),
    (
        "monosemanticity",
        "alike",
        "{:.3f}",
        "monosemanticity: how alike images are that activate one concept (Pach et al. 2025)",
    ),
    ("purity", "purity", "{:.2f}", "share of the commonest label among a concept's ten images"),
    ("entropy", "entropy", "{:.2f}", "of these labels, in nats"),
    (
        "significant_share",
        "tell a label",
        "{:.0%}",
        "concepts that tell a label better than shuffled labels do, false discovery rate 5 %",
    ),
    (
        "probe_profiles",
        "probe",
        "{:.3f}",
        "balanced accuracy of a linear probe on mean activations, cross-validated",
    ),
    ("probe_class_token", "probe, x", "{:.3f}", "the same on class tokens"),
    (
        "probe_swapped",
        "probe, x̂",
        "{:.3f}",
        "the same probe shown rebuilt class tokens in their place",
    ),
)

_GROUPS: Final = {
    STRONGEST: "The strongest concepts: largest mean activation where they are active.",
    ALIKE: "The concepts whose images are most alike. Chosen for looking well.",
    DRAWN: "Drawn at random among the concepts that are active: what most of them look like.",
}

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6670; --line: #d9dde2; --back: #fff;
  --panel: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a0a7b0; --line: #3a3f46;
  --back: #17191c; --panel: #202327; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; font-weight: 600; }
p { max-width: 46rem; margin: .4rem 0; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } tbody tr:first-child { font-weight: 600; }
.figure { background: #fff; border-radius: 6px; padding: .5rem; overflow-x: auto; }
.figure svg { max-width: 100%; height: auto; }
.concept { background: var(--panel); border-radius: 8px; padding: .7rem .9rem; margin: .6rem 0; }
.concept header { display: flex; gap: 1.2rem; flex-wrap: wrap; margin-bottom: .45rem; }
.concept header b { min-width: 5.5rem; } .row { display: flex; gap: .6rem; flex-wrap: wrap; }
figure { margin: 0; } figure img { display: block; border-radius: 3px; }
figcaption { font-size: .78rem; color: var(--soft); max-width: 227px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: .4rem 0;
  font-size: .9rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--soft); }
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingReport:
    """What a report says.

    Parameters
    ----------
    title
        Its heading.
    facts
        What was trained on what, in words.
    settings
        The recipe, as JSON has it.
    history
        Records of the training.
    measured
        The figures of the autoencoder and its baselines, as `Measured.to_json` gives them.
    mean_activation_cuts
        Of their ``concepts_above``.
    examples
        Concepts to look at.
    notes
        What the reader has to know about the figures, a sentence each.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    measured: Sequence[Mapping[str, Any]] = ()
    mean_activation_cuts: Sequence[float] = MEAN_ACTIVATIONS
    examples: Sequence[ConceptExample] = ()
    notes: Sequence[str] = ()


def write_report(
    report: TrainingReport,
    path: str | Path,
    crop_of: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Path:
    """Write a report as one HTML file; whole, or not at all.

    Parameters
    ----------
    report
        What it says.
    path
        Where it goes.
    crop_of
        Gives the crop of an image, (height, width, 3) uint8; without it the examples' maps stand
        alone.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    path = Path(path)
    text = _page(report, crop_of)
    write_durably(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def _page(report: TrainingReport, crop_of: Callable[[int], NDArray[np.uint8]] | None) -> str:
    parts = [f"<h1>{escape(report.title)}</h1>"]
    parts.append('<p class="soft">A sparse autoencoder\'s training. Not for diagnosis.</p>')
    parts.append(_pairs(report.facts))
    if report.measured:
        parts.append("<h2>Is it any good?</h2>" + _figures(report))
    if curves := curves_svg(report.history):
        parts.append(f'<h2>How the training went</h2><div class="figure">{curves}</div>')
    if report.examples:
        parts.append("<h2>Concepts</h2>" + _concepts(report.examples, crop_of))
    if report.settings:
        settings = {name: str(value) for name, value in report.settings.items()}
        parts.append(f"<h2>Settings</h2>{_pairs(settings)}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _pairs(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
    return f"<dl>{rows}</dl>"


def _figures(report: TrainingReport) -> str:
    rows = report.measured
    columns = [c for c in _COLUMNS if any(_known(row.get(c[0])) for row in rows)]
    best = sorted({label for row in rows for label in row.get("best_auroc") or {}})
    head = "".join(
        f'<th title="{escape(meaning)}">{escape(said)}</th>' for _, said, _, meaning in columns
    )
    head += "".join(f"<th>AUROC {escape(label)}</th>" for label in best)
    body = ""
    for row in rows:
        cells = "".join(f"<td>{_cell(row.get(key), how)}</td>" for key, _, how, _ in columns)
        cells += "".join(
            f"<td>{_cell((row.get('best_auroc') or {}).get(label), '{:.3f}')}</td>"
            for label in best
        )
        body += f"<tr><td>{escape(str(row.get('name', '')))}</td>{cells}</tr>"
    meanings = "".join(f"<dt>{escape(s)}</dt><dd>{escape(m)}</dd>" for _, s, _, m in columns)
    if best:
        meanings += (
            "<dt>AUROC …</dt><dd>of the one concept that tells this label best, picked on the "
            "same images: to be read beside the baselines'</dd>"
        )
    first = rows[0]
    counted = ""
    if _known(first.get("images")) and _known(first.get("tokens")):
        counted = f"{int(first['images']):,} images, {int(first['tokens']):,} tokens. "
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    table = (
        f'<p class="soft">{counted}The autoencoder in bold, what it has to beat below.</p>{notes}'
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<details><summary>What the columns mean</summary><dl>{meanings}</dl></details>"
    )
    above = [
        (str(row.get("name", "")), row["concepts_above"])
        for row in rows
        if len(row.get("concepts_above") or ()) == len(report.mean_activation_cuts)
    ]
    if above:
        picture = bars_svg(report.mean_activation_cuts, above)
        table += f'<h3>How many concepts are how strong</h3><div class="figure">{picture}</div>'
    return table


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _cell(value: Any, how: str) -> str:
    return how.format(value) if _known(value) else "–"


def _concepts(
    examples: Sequence[ConceptExample],
    crop_of: Callable[[int], NDArray[np.uint8]] | None,
) -> str:
    parts = [
        '<p class="soft">Each concept on the images where it is strongest: the crop, and where in '
        "it the concept is active, from nothing (grey) to its strongest patch here (orange).</p>"
    ]
    for group, members in groupby(examples, key=lambda example: example.group):
        parts.append(f"<h3>{escape(_GROUPS.get(group, group))}</h3>")
        parts += [_concept(example, crop_of) for example in members]
    return "".join(parts)


def _concept(example: ConceptExample, crop_of: Callable[[int], NDArray[np.uint8]] | None) -> str:
    strongest = float(example.maps.max(initial=0))
    pictures = ""
    for place, row in enumerate(example.images):
        values = example.maps[place]
        crop = np.full((112, 112, 3), 190, np.uint8) if crop_of is None else crop_of(row)
        source = crop_with_map(crop, values, strongest)
        said = f"up to {values.max(initial=0):.2f}"
        if example.labels is not None:
            said = f"{example.labels[place]}, {said}"
        pictures += (
            f'<figure><img src="{source}" width="227" height="112" alt="image {row}: the crop, and '
            f'the concept on it"><figcaption>{escape(said)}</figcaption></figure>'
        )
    facts = f"active on {example.share:.0%} of images</span><span>mean {example.mean:.3g}"
    if example.monosemanticity is not None:
        facts += f"</span><span>alike {example.monosemanticity:.2f}"
    return (
        f'<section class="concept"><header><b>#{example.concept}</b>'
        f'<span>{facts}</span></header><div class="row">{pictures}</div></section>'
    )
