"""The hues of concept maps, wherever they are drawn."""

# Okabe and Ito's colour-blind-safe palette (jfly.uni-koeln.de/color, 2008) without black, and
# without yellow, which cannot be told from the glass of a bright field.
HUES: tuple[str, ...] = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def rgb(hue: str) -> tuple[float, float, float]:
    """Red, green and blue of a ``#rrggbb`` colour, each 0 to 1."""
    value = int(hue.removeprefix("#"), 16)
    return (value >> 16) / 255, (value >> 8 & 255) / 255, (value & 255) / 255


def hues_for(groups: list[list[int]]) -> dict[int, str]:
    """Give each concept one hue, the same wherever it appears.

    Concepts of one group (those drawn beside each other for one cell) get different hues as long
    as there are enough; concepts that never meet may share one.

    Parameters
    ----------
    groups
        Concept ids that are drawn together, group by group.
    """
    neighbours: dict[int, set[int]] = {}
    for group in groups:
        for concept in group:
            neighbours.setdefault(concept, set()).update(set(group) - {concept})
    # Those with the most neighbours choose first, while there is choice.
    order = sorted(neighbours, key=lambda concept: (-len(neighbours[concept]), concept))
    hues: dict[int, str] = {}
    for concept in order:
        taken = [hues[other] for other in neighbours[concept] if other in hues]
        worn = list(hues.values())
        hues[concept] = min(
            HUES, key=lambda hue: (taken.count(hue), worn.count(hue), HUES.index(hue))
        )
    return hues
