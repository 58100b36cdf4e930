"""One concept of an atlas as a web page that holds everything within itself."""

import base64
import html
import io
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_cytosae.concepts.atlas import Atlas, DataSet
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture, ReferencePictures
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.export.atlas_evidence import EVIDENCE_STYLE, evidence_section
from napari_cytosae.export.html_table import table
from napari_cytosae.export.overlay import heat_over, resize_crop
from napari_cytosae.export.palette import HUES

_SIDE = 168
_HUE = HUES[0]
_QUALITY = 90

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6b6b70; --line: #d9d9de; --card: #f6f6f8;
  --page: #ffffff; --bar: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #a0a0a8; --line: #3a3a40;
  --card: #26262b; --page: #1b1b1f; --bar: #56B4E9; } }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } em { font-style: italic; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--soft); }
.cells { display: flex; flex-wrap: wrap; gap: .9rem; }
figure { margin: 0; background: var(--card); border-radius: 6px; padding: .5rem; }
figure div { display: flex; gap: 4px; } img { display: block; width: 168px; height: 168px;
  border-radius: 3px; }
figcaption { font-size: .82rem; padding-top: .35rem; max-width: 340px; overflow-wrap: anywhere; }
.bars { display: grid; grid-template-columns: max-content 14rem max-content; gap: .25rem .8rem;
  align-items: center; font-size: .9rem; }
.bars i { display: block; height: .8rem; background: var(--bar); border-radius: 2px; }
"""


PAGE_STYLE = _STYLE
"""What other pages of reference cells look like, too."""


def crop_and_map(pixels: NDArray[np.uint8], concept_map: NDArray[np.float32] | None) -> str:
    """Write a cell's crop and, where it is known, the concept's map beside it; no words."""
    crop = resize_crop(pixels, _SIDE)
    images = [_image(crop, "a cell")]
    if concept_map is not None:
        top = float(concept_map.max())
        images.append(_image(heat_over(crop, concept_map, top, _HUE), "where it is active"))
    return "".join(images)


def write_concept_page(atlas: Atlas, concept_id: int, path: Path, k: int = 10) -> None:
    """Write what is known of a concept as an HTML file; it needs no other file and no network.

    Parameters
    ----------
    atlas
        The atlas.
    concept_id
        The concept.
    path
        Where the page goes.
    k
        References of each data set.

    Raises
    ------
    AtlasError
        Where there is no such concept.
    RunError
        Where the page cannot be written.
    """
    with ReferencePictures() as pictures:
        sections = [_data_set(data, list(pictures.of(data, concept_id, k)), k) for data in atlas]
    row = atlas.table.iloc[concept_id].to_dict()
    words, suggested = atlas.words(concept_id)
    name = html.escape(words)
    title = f"#{concept_id}" + (f" {name}" if name else "")
    shown = f"<em>{name}</em> (suggested)" if suggested else name
    content = [
        f"<h1>#{concept_id} {shown or '<span class=soft>unnamed</span>'}</h1>",
        _evidence(str(row["evidence"])),
        _seen(str(row.get("seen", ""))),
        f'<p class="soft">{html.escape(_place(row))}</p>',
        "<h2>In each data set</h2>",
        _numbers(atlas, concept_id),
        evidence_section(atlas, concept_id),
        *sections,
        _partners(atlas, concept_id),
        '<p class="soft" style="margin-top:2.5rem">Written by napari-cytosae. Not a diagnosis.</p>',
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Concept {title}</title><style>{_STYLE}{EVIDENCE_STYLE}</style></head>\n<body>\n"
        + "\n".join(content)
        + "\n</body></html>\n"
    )
    write_durably(path, lambda part: part.write_text(page, encoding="utf-8"))


def _evidence(evidence: str) -> str:
    if not evidence:
        return '<p class="soft">No class of any data set is enriched among its references.</p>'
    return f"<p>Labels suggest <em>{html.escape(evidence)}</em>.</p>"


def _seen(words: str) -> str:
    return f"<p>Measured cells suggest <em>{html.escape(words)}</em>.</p>" if words else ""


def _place(row: Mapping[Hashable, Any]) -> str:
    words = [
        f"In {row['frequency']:.2%} of all images, mean activation there "
        f"{row['mean_activation']:.3g}",
        f"rank {row['rank'] + 1:,}",
    ]
    if row["noisy"]:
        words.append("noisy: too common to tell much")
    if not row["in_focus"]:
        words.append("below the focus")
    return "; ".join(words) + "."


def _numbers(atlas: Atlas, concept_id: int) -> str:
    rows = [
        (
            html.escape(data.name),
            f"{len(data):,}",
            f"{data.frequency[concept_id]:.2%}",
            f"{data.mean_activation[concept_id]:.3g}",
            f"{data.mass_share[concept_id]:.3%}",
            _or_dash(data.label_entropy[concept_id], ".2f"),
        )
        for data in atlas
    ]
    headings = (
        "data set",
        "images",
        "frequency",
        "mean activation",
        "of all activation",
        "entropy",
    )
    return table(headings, rows)


def _data_set(data: DataSet, pictures: Sequence[ReferencePicture], k: int) -> str:
    heading = f"<h2>{html.escape(data.name)}</h2>"
    if not pictures:
        return heading + '<p class="soft">Never active.</p>'
    classes = _classes(pictures)
    seen = [picture for picture in pictures if picture.crop is not None]
    missing = Counter(picture.missing for picture in pictures if picture.crop is None)
    top = max(
        (float(picture.concept_map.max()) for picture in seen if picture.concept_map is not None),
        default=0.0,
    )
    cards = "".join(_card(picture, top) for picture in seen)
    said = "".join(
        f'<p class="soft">{n} of {len(pictures)} are not shown. {html.escape(reason)}</p>'
        for reason, n in missing.items()
    )
    return heading + classes + (f'<div class="cells">{cards}</div>' if cards else "") + said


def _classes(pictures: Sequence[ReferencePicture]) -> str:
    """Draw a bar for each class among the references."""
    counts = Counter(picture.label for picture in pictures if picture.label)
    if not counts:
        return ""
    bars = "".join(
        f"<span>{html.escape(name)}</span><i style='width:{100 * n / len(pictures):.0f}%'></i>"
        f"<span class=soft>{n} of {len(pictures)}</span>"
        for name, n in counts.most_common()
    )
    return f'<div class="bars" style="margin-bottom:1rem">{bars}</div>'


def _card(picture: ReferencePicture, top: float) -> str:
    assert picture.crop is not None
    crop = resize_crop(picture.crop, _SIDE)
    images = [_image(crop, f"reference {picture.rank + 1}")]
    if picture.concept_map is not None:
        heat = heat_over(crop, picture.concept_map, top, _HUE)
        images.append(_image(heat, "where the concept is active"))
    words = [f"<b>{picture.value:.3g}</b>"]
    if picture.label:
        words.append(html.escape(picture.label))
    where = f"cell {picture.cell} of " if picture.run is not None else ""
    words.append(f'<span class="soft">{where}{html.escape(Path(picture.image).name)}</span>')
    return (
        f"<figure><div>{''.join(images)}</div><figcaption>{' · '.join(words)}</figcaption></figure>"
    )


def _image(pixels: NDArray[np.uint8], words: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/jpeg;base64,{data}">'


def _partners(atlas: Atlas, concept_id: int) -> str:
    partners = atlas.partners(concept_id)
    if partners.empty:
        return ""
    rows = [
        (
            f"#{row['concept_id']} {html.escape(str(row['suggestion']))}",
            html.escape(str(row["data_set"])),
            f"{row['cosine']:.2f}",
            f"{row['share']:.0%}",
        )
        for row in partners.to_dict("records")
    ]
    headings = ("concept", "data set", "cosine", "of its cells")
    return "<h2>Strong in the same cells</h2>" + table(headings, rows)


def _or_dash(value: float, spec: str) -> str:
    return "–" if np.isnan(value) else format(value, spec)
