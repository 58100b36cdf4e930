"""What measured cells tell of a concept, as a section of its page."""

import html
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.enrichment import FALSE_DISCOVERY_RATE
from napari_cytosae.concepts.atlas.evidence import in_words
from napari_cytosae.export.html_table import table

_MEASURES = 8

EVIDENCE_STYLE = """
.pair { display: flex; flex-wrap: wrap; gap: 1rem 3.5rem; align-items: flex-start; }
.share { position: relative; display: inline-block; width: 11rem; height: .8rem;
  background: var(--card); border-radius: 2px; vertical-align: middle; }
.share i { position: absolute; inset: 0 auto 0 0; background: var(--bar); border-radius: 2px; }
.share b { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--ink); }
.rho { position: relative; display: inline-block; width: 8rem; height: .8rem; vertical-align: middle;
  background: linear-gradient(var(--line), var(--line)) center / 1px 100% no-repeat var(--card); }
.rho i { position: absolute; top: 0; bottom: 0; background: var(--bar); }
.rho i.low { background: #D55E00; }
"""


def evidence_section(atlas: Atlas, concept_id: int) -> str:
    """Write where a concept is and which measures it goes with; empty without measured cells.

    Parameters
    ----------
    atlas
        The atlas.
    concept_id
        The concept.

    Raises
    ------
    AtlasError
        Where there is no such concept.
    """
    where, measures = atlas.where(concept_id), atlas.correlates(concept_id)
    if where.empty or where["share"].isna().all():
        return ""
    parts = ["<h2>In measured cells</h2>"]
    for name, rows in where.groupby("data_set", sort=False):
        n_cells = int(rows["cells"].iloc[0])
        of_set = measures[measures["data_set"] == name] if len(measures) else measures
        several = f"<b>{html.escape(str(name))}</b>: " if len(atlas) > 1 else ""
        parts += [
            f'<p class="soft">{several}{n_cells:,} measured cells have it in a patch. Bars: share of '
            "its activation; mark: share of these cells' crops. ρ: rank correlation with the cell's "
            "measure.</p>"
            if n_cells
            else f'<p class="soft">{several}no measured cell has it.</p>',
            '<div class="pair">',
            _where([row for row in rows.to_dict("records") if not np.isnan(row["share"])]),
            _measures(of_set.head(_MEASURES).to_dict("records")),
            "</div>",
        ]
    return "".join(parts)


def _where(rows: list[dict[Hashable, Any]]) -> str:
    if not rows:
        return ""
    most = max(max(row["share"], row["area"]) for row in rows)
    body = [
        (
            html.escape(row["compartment"]),
            _share_bar(row["share"] / most, row["area"] / most),
            f"{row['share']:.0%}",
            "–" if np.isnan(row["enrichment"]) else f"{row['enrichment']:.1f} ×",
        )
        for row in rows
    ]
    return table(("compartment", "", "of activation", "its area"), body)


def _share_bar(share: float, area: float) -> str:
    return (
        f'<span class="share"><i style="width:{100 * share:.1f}%"></i>'
        f'<b style="left:{100 * area:.1f}%"></b></span>'
    )


def _measures(rows: list[dict[Hashable, Any]]) -> str:
    if not rows:
        return ""
    body = [
        (
            html.escape(row["words"]),
            _rho_bar(row["rho"]),
            in_words(row["rho"]),
            _q(row),
            f"{row['active']:,} of {row['cells']:,}",
        )
        for row in rows
    ]
    return table(("measure", "", "ρ", "q", "cells with it"), body)


def _rho_bar(rho: float) -> str:
    half = 50 * abs(rho)
    left = 50.0 if rho > 0 else 50.0 - half
    kind = "" if rho > 0 else ' class="low"'
    return f'<span class="rho"><i{kind} style="left:{left:.1f}%;width:{half:.1f}%"></i></span>'


def _q(row: Mapping[Hashable, Any]) -> str:
    """Write a false discovery rate; what is no finding is written softly."""
    words = "&lt; 10⁻¹⁵" if row["q"] < 1e-15 else f"{row['q']:.2g}"
    found = row["q"] <= FALSE_DISCOVERY_RATE
    return words if found else f'<span class="soft">{words}</span>'
