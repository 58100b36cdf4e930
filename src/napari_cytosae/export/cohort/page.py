"""Building stones of the report's page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #63666b; --line: #d9dbe0; --page: #fff;
  --card: #f6f6f8; --warn: #fdf1e3; --edge: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #a3a6ad; --line: #3a3d42;
  --page: #1a1b1e; --card: #25272b; --warn: #3a2a18; } }
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 74rem; background: var(--page);
  color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.8rem 0 .6rem; }
h3 { font-size: 1.03rem; margin: 1.8rem 0 .5rem; } p { max-width: 48rem; margin: .45rem 0; }
.soft { color: var(--soft); } nav { margin: .8rem 0; } nav a { margin-right: 1.1rem; }
a { color: inherit; text-decoration-color: var(--soft); }
.warn { background: var(--warn); border-left: 4px solid var(--edge); padding: .5rem .9rem;
  margin: .5rem 0; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th.words, td.words { text-align: left; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.figure { background: #fff; border-radius: 6px; padding: .5rem; margin: .6rem 0; max-width: 100%;
  box-sizing: border-box; }
.figure svg { max-width: 100%; height: auto; display: block; }
.figure figcaption { color: #55585d; font-size: .82rem; padding: .2rem .3rem; }
.groups { display: grid; grid-template-columns: 1fr 1fr; gap: 1.4rem; }
@media (max-width: 56rem) { .groups { grid-template-columns: 1fr; } }
.cells { display: flex; flex-wrap: wrap; gap: .6rem; } .cells figure { margin: 0; }
.cells img { display: block; border-radius: 3px; } .cells figcaption { font-size: .76rem;
  color: var(--soft); max-width: 227px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); }
@media print { nav { display: none; } h2 { break-after: avoid; } .figure { break-inside: avoid; } }
"""


def whole_page(title: str, parts: Iterable[str]) -> str:
    """Put a page together."""
    content = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{content}\n"
        "</body>\n</html>\n"
    )


def figure(svg: str, caption: str) -> str:
    """Show a figure with a caption."""
    return (
        f'<figure class="figure">{svg}<figcaption>{escape(caption)}</figcaption></figure>'
        if svg
        else ""
    )


def side_by_side(*parts: str) -> str:
    """Show figures beside each other where there is room."""
    return f'<div class="figures">{"".join(parts)}</div>'


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], words: Sequence[int] = (0,)
) -> str:
    """Show a table.

    Parameters
    ----------
    headings
        Of the columns.
    rows
        Cells, shown as text.
    words
        Columns that hold words and stand left.
    """

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{' class=words' if place in words else ''}>{escape(str(cell))}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", headings)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def pairs(content: Mapping[str, object]) -> str:
    """Show names with values."""
    rows = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in content.items()
    )
    return f"<dl>{rows}</dl>"


def paragraphs(words: Iterable[str], kind: str = "") -> str:
    """Show sentences."""
    mark = f' class="{kind}"' if kind else ""
    return "".join(f"<p{mark}>{escape(sentence)}</p>" for sentence in words)
