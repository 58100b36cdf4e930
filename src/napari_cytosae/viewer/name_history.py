"""What was said of a concept, as rich text: names that stand side by side, and the history."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from napari_cytosae.concepts.naming import Entry, Record


def history_lines(history: Iterable[Record], entry: Entry) -> str:
    """Write a concept's records, one a line; those that stand in dispute are bold."""
    return "<br>".join(_line(record, entry) for record in history)


def side_by_side(entry: Entry, ink: str) -> str:
    """Show the names that stand beside each other, where people disagree; one can be taken.

    `ink` is the colour of links: Qt's own cannot be read on a dark window.
    """
    if not entry.conflict:
        return ""
    standing = entry.standing
    link = f'<a href="{{}}" style="color: {ink}">take this one</a>'

    def row(cells: Iterable[str]) -> str:
        return (
            "<tr>" + "".join(f'<td style="padding-right: 16px">{c}</td>' for c in cells) + "</tr>"
        )

    rows = [
        row(f"<b>{escape(r.name)}</b>" for r in standing),
        row(f"{escape(r.author)} · {escape(r.date[:10])}" for r in standing),
    ]
    for said in (
        [", ".join(r.naming.synonyms) for r in standing],
        [r.naming.tissue for r in standing],
        [_sure(r.naming.confidence) for r in standing],
        [r.naming.notes for r in standing],
    ):
        if any(said):
            rows.append(row(escape(each) or "–" for each in said))
    rows.append(row(link.format(escape(r.id)) for r in standing))
    return f"<table>{''.join(rows)}</table>"


def _sure(confidence: float | None) -> str:
    return "" if confidence is None else f"{100 * confidence:.0f} % sure"


def _line(record: Record, entry: Entry) -> str:
    """Write one record of the history."""
    name = escape(record.name) or "no name"
    if record.withdrawn:
        name = "name taken away"
    who = f"suggested by {record.suggested_by}" if record.suggested else record.author
    words = f"<i>{name}</i>" if record.suggested else name
    text = f"{words} · {escape(who)} · {escape(record.date[:10])}"
    return f"<b>{text}</b>" if entry.conflict and record in entry.standing else text
