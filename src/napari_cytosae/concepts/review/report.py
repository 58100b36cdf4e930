"""The report of a review: what was asked, what was said, and how far it agrees."""

import math
import re
from collections.abc import Sequence

from napari_cytosae.concepts.review.agreement import RESAMPLES, Agreement, Kappa
from napari_cytosae.concepts.review.sheet import Answer, ReviewSheet


def kappa_words(kappa: Kappa) -> tuple[str, str, str]:
    """Put a kappa into words: its value, its interval, and the number of concepts."""
    if math.isnan(kappa.value):
        return "–", "one rating only", str(kappa.concepts)
    return f"{kappa.value:.2f}", f"{kappa.low:.2f} to {kappa.high:.2f}", str(kappa.concepts)


def kappa_rows(found: Agreement) -> list[tuple[str, str, str, str]]:
    """List who is compared, kappa, interval and number of concepts, each two first, then all."""
    rows = [(f"{a} and {b} (Cohen)", *kappa_words(kappa)) for (a, b), kappa in found.pairs.items()]
    if found.fleiss is not None:
        rows.append(("all (Fleiss)", *kappa_words(found.fleiss)))
    return rows


def share_words(found: Agreement) -> list[str]:
    """Say what was said how often, and how often two gave the same name."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    words = [f"Of all ratings: {shares}."]
    if not math.isnan(found.same_name):
        words.append(f"The same name was given in {found.same_name:.0%}.")
    return words


def agreement_report(sheets: Sequence[ReviewSheet], found: Agreement) -> str:
    """Write the report as Markdown; people's words are shown as they are."""
    lines = [
        "# Blinded review",
        "",
        f"{len(found.reviewers)} reviewers ({_plain(', '.join(found.reviewers))}) looked at the same "
        f"cells of {len(sheets[0].concepts)} concepts, without labels, names or values.",
        "",
        "| reviewers | kappa | 95 % | concepts |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {_plain(who)} | {' | '.join(rest)} |" for who, *rest in kappa_rows(found)]
    lines += ["", f"Intervals: percentiles over {RESAMPLES:,} draws of concepts with replacement."]
    lines += [*share_words(found), ""]
    lines += ["| concept |" + "".join(f" {_plain(sheet.reviewer)} |" for sheet in sheets)]
    lines += ["| --- |" + " --- |" * len(sheets)]
    for concept in sheets[0].concepts:
        said = [sheet.answers.get(concept, Answer()) for sheet in sheets]
        cells = [_plain(f"{a.rating}{': ' + a.name if a.name else ''}") for a in said]
        lines.append(f"| {concept} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Keep people's words from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]|<>])", r"\\\1", " ".join(text.split()))
