"""What cells' compartments and morphology tell of concepts, in numbers and in words.

The words are a suggestion. They are marked as one wherever they are shown, and give way to a
person's name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.cells.morphology import MORPHOLOGY
from napari_cytosae.concepts.atlas.evidence_ranks import Correlations
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES
from napari_cytosae.concepts.atlas.evidence_where import MOSTLY, NOWHERE, Whereabouts

LEAST_RHO: Final = 0.2
"""Weaker correlations are not put into words, however certain."""
MOST_WORDS: Final = 3

_PLACES: Final = {
    "nucleus": "in the nucleus",
    "cytoplasm": "in the cytoplasm",
    "cell border": "at the cell border",
    "red cells": "in neighbouring red cells",
    "other cells": "in other cells and platelets",
    "background": "in the background",
}
MEASURE_WORDS: Final = {name: words.split(" (")[0] for name, words in MORPHOLOGY.items()}
"""The measures' words without units, which ρ has none of."""


@dataclass(eq=False)
class Evidence:
    """Where a data set's concepts are, and what they go with.

    Parameters
    ----------
    where
        Activation and area by compartment.
    correlate
        Gives the rank correlations; asked once, when they are first needed.
    """

    where: Whereabouts
    correlate: Callable[[], Correlations] = field(repr=False)

    @cached_property
    def correlations(self) -> Correlations:
        """Rank correlations of all concepts with all measures."""
        return self.correlate()

    @cached_property
    def compartments(self) -> NDArray[np.object_]:
        """(d_sae,) the compartment that tells each concept best, empty where none does."""
        return np.array([*COMPARTMENTS, ""], object)[self.where.tags]

    @cached_property
    def best_measures(self) -> list[list[int]]:
        """For each concept the measures that are put into words, the strongest first."""
        found = self.correlations
        rho = np.where(found.found, np.abs(np.nan_to_num(found.rho)), 0.0)
        order = np.argsort(-rho, axis=1, kind="stable")[:, :MOST_WORDS]
        return [
            [int(place) for place in places if of_concept[place] >= LEAST_RHO]
            for places, of_concept in zip(order, rho, strict=True)
        ]

    @cached_property
    def correlates(self) -> NDArray[np.object_]:
        """(d_sae,) "N:C ratio ρ 0.71; basophilic cytoplasm ρ 0.55", empty where there are none."""
        rho = self.correlations.rho
        words = np.full(len(rho), "", object)
        for concept, places in enumerate(self.best_measures):
            words[concept] = "; ".join(
                f"{MEASURE_WORDS[MEASURES[place]]} ρ {in_words(rho[concept, place])}"
                for place in places
            )
        return words

    @cached_property
    def places(self) -> NDArray[np.object_]:
        """(d_sae,) "mostly in the nucleus (78 %, 3.1 × its area)", empty where none tells it."""
        words = np.full(len(self.where.cells), "", object)
        for concept in np.flatnonzero(self.where.tags != NOWHERE):
            tag = self.where.tags[concept]
            share = self.where.shares[concept, tag]
            words[concept] = (
                f"{'mostly' if share >= MOSTLY else 'often'} {_PLACES[COMPARTMENTS[tag]]} "
                f"({100 * share:.0f} %, {self.where.enrichment[concept, tag]:.1f} × its area)"
            )
        return words

    @cached_property
    def words(self) -> NDArray[np.object_]:
        """(d_sae,) place and correlates: what evidence without labels suggests."""
        joints = np.where((self.places != "") & (self.correlates != ""), "; ", "")
        joined: NDArray[np.object_] = self.places + joints.astype(object) + self.correlates
        return joined

    @cached_property
    def names(self) -> NDArray[np.object_]:
        """(d_sae,) the same without numbers, short enough for a name: "in the nucleus, high N:C ratio"."""
        rho = self.correlations.rho
        names = np.full(len(rho), "", object)
        for concept, places in enumerate(self.best_measures):
            tag = self.where.tags[concept]
            words = [] if tag == NOWHERE else [_PLACES[COMPARTMENTS[tag]]]
            for place in places[:1]:
                much = "high" if rho[concept, place] > 0 else "low"
                words.append(f"{much} {MEASURE_WORDS[MEASURES[place]]}")
            names[concept] = ", ".join(words)
        return names

    def where_table(self, concept_id: int) -> pd.DataFrame:
        """Give one row per compartment.

        Returns
        -------
        DataFrame
            ``compartment``, ``share`` of the activation, share of the ``area``, ``enrichment``
            (their ratio; NaN where there is no such area), ``cells`` (measured cells that have the
            concept at a patch).
        """
        where = self.where
        return pd.DataFrame(
            {
                "compartment": list(COMPARTMENTS),
                "share": where.shares[concept_id],
                "area": where.areas[concept_id],
                "enrichment": where.enrichment[concept_id],
                "cells": int(where.cells[concept_id]),
            }
        )

    def measure_table(self, concept_id: int) -> pd.DataFrame:
        """Give one row per measure whose correlation was tested, the strongest first.

        Returns
        -------
        DataFrame
            ``measure`` (a column of cell tables), ``words`` for it, ``rho``, ``p``, ``q``,
            ``cells`` (sampled cells that have the measure), ``active`` (those of them that have
            the concept).
        """
        found = self.correlations
        table = pd.DataFrame(
            {
                "measure": MEASURES,
                "words": [MORPHOLOGY[name] for name in MEASURES],
                "rho": found.rho[concept_id],
                "p": found.p[concept_id],
                "q": found.q[concept_id],
                "cells": found.cells,
                "active": found.active[concept_id].astype(np.int64),
            }
        )
        table = table[table["rho"].notna()]
        strongest = table["rho"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[strongest].reset_index(drop=True)


@dataclass(frozen=True, slots=True, eq=False)
class Headlines:
    """For each concept the evidence of the data set in which most measured cells have it.

    Parameters
    ----------
    compartment, correlates, words, names
        (d_sae,) texts, empty where there is nothing to say.
    share, enrichment
        (d_sae,) of the compartment; NaN where there is none.
    """

    compartment: NDArray[np.object_]
    share: NDArray[np.float64]
    enrichment: NDArray[np.float64]
    correlates: NDArray[np.object_]
    words: NDArray[np.object_]
    names: NDArray[np.object_]


def headlines(evidence: Sequence[Evidence]) -> Headlines:
    """Choose for each concept whose evidence is told first; of equals the first data set's."""
    chosen = np.argmax([found.where.cells for found in evidence], axis=0)
    rows = np.arange(len(chosen))

    def pick(columns: Sequence[NDArray[np.object_]]) -> NDArray[np.object_]:
        picked: NDArray[np.object_] = np.stack(columns)[chosen, rows]
        return picked

    def of_tag(name: str) -> NDArray[np.float64]:
        columns = []
        for found in evidence:
            tags = found.where.tags
            values = getattr(found.where, name)[rows, np.maximum(tags, 0)]
            columns.append(np.where(tags == NOWHERE, np.nan, values))
        picked: NDArray[np.float64] = np.stack(columns)[chosen, rows]
        return picked

    return Headlines(
        pick([found.compartments for found in evidence]),
        of_tag("shares"),
        of_tag("enrichment"),
        pick([found.correlates for found in evidence]),
        pick([found.words for found in evidence]),
        pick([found.names for found in evidence]),
    )


def in_words(rho: float) -> str:
    """Write a correlation with two digits and a minus sign that is one."""
    return f"{rho:.2f}".replace("-", "−")
