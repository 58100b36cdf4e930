"""Names that labels suggest: which class each data set's references show, and whether they agree.

A suggestion is no name. It is marked as one wherever it is shown, and gives way to a person's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.class_terms import PATIENT_SETS, common_term
from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.atlas.enrichment import Enrichment, find_enrichment
from napari_cytosae.concepts.atlas.measures import NO_LABEL

_NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Suggestions:
    """For each concept the term that most data sets' labels agree on.

    Parameters
    ----------
    terms
        Common terms; the other arrays hold indices into them.
    of_set
        By data set: (d_sae,) int32 the term that is enriched there, −1 where none is.
    enrichment
        By data set: the test behind it.
    suggested
        (d_sae,) int32 the term of the headline, −1 where there is none.
    agreement
        (d_sae,) int64 in how many data sets that term is enriched.
    """

    terms: tuple[str, ...]
    of_set: dict[str, NDArray[np.int32]]
    enrichment: dict[str, Enrichment]
    suggested: NDArray[np.int32]
    agreement: NDArray[np.int64]

    def words(self) -> NDArray[np.object_]:
        """(d_sae,) the suggested term, empty where there is none."""
        return np.array([*self.terms, ""], object)[self.suggested]

    def evidence(self) -> NDArray[np.object_]:
        """(d_sae,) what a suggestion rests on: "eosinophil 10/10 mll23, 9/10 bmc"."""
        words = self.words()
        for name, terms in self.of_set.items():
            test = self.enrichment[name]
            rows = np.flatnonzero((terms == self.suggested) & (terms != _NONE))
            for row in rows:
                joint = ", " if "/" in words[row] else " "
                words[row] += f"{joint}{test.hits[row]}/{test.labelled[row]} {name}"
        return words


def enrichment_of(data_set: DataSet) -> Enrichment | None:
    """Test a data set's references; None where it has no classes, or their sizes are not known.

    Raises
    ------
    Nothing
    """
    info = data_set.info
    if not info.classes or len(info.class_sizes) != len(info.classes):
        return None
    references = data_set.references
    return find_enrichment(references.values, references.labels, info.class_sizes)


def suggest(data_sets: Sequence[DataSet]) -> Suggestions:
    """Find for each concept the class that its references show, over all data sets.

    In each data set, the class that is enriched at a false discovery rate of 5 % counts, under the
    term that all sets share (`common_term`). The headline is the term that most data sets agree on;
    ties go to the term with the larger share of references, then to the first in the alphabet. Data
    sets whose classes are patients have no say.

    Parameters
    ----------
    data_sets
        Of one SAE.
    """
    d_sae = data_sets[0].info.d_sae
    voting = [data for data in data_sets if data.name.casefold() not in PATIENT_SETS]
    tests = {data.name: test for data in voting if (test := enrichment_of(data)) is not None}
    names = {data.name: data.info.classes for data in voting}
    terms = tuple(sorted({common_term(word) for name in tests for word in names[name]}))
    index = {term: place for place, term in enumerate(terms)}
    of_set: dict[str, NDArray[np.int32]] = {}
    votes = np.zeros((len(terms), d_sae), np.int64)
    weight = np.zeros((len(terms), d_sae))
    concepts = np.arange(d_sae)
    for name, test in tests.items():
        lookup = np.array([*(index[common_term(word)] for word in names[name]), _NONE], np.int32)
        found = test.found & (test.classes != NO_LABEL)
        of_set[name] = np.where(found, lookup[test.classes], _NONE).astype(np.int32)
        rows = concepts[found]
        votes[of_set[name][rows], rows] += 1
        weight[of_set[name][rows], rows] += test.hits[rows] / test.labelled[rows]
    suggested = np.full(d_sae, _NONE, np.int32)
    agreement = np.zeros(d_sae, np.int64)
    strongest = np.zeros(d_sae)
    for place in range(len(terms)):
        better = (votes[place] > agreement) | (
            (votes[place] == agreement) & (votes[place] > 0) & (weight[place] > strongest)
        )
        suggested[better] = place
        agreement[better], strongest[better] = votes[place, better], weight[place, better]
    return Suggestions(terms, of_set, tests, suggested, agreement)


def generalisation(data_sets: Sequence[DataSet], suggestions: Suggestions) -> pd.DataFrame:
    """Say which concepts show the same kind of cell in blood and in bone marrow.

    The paper's claim that concepts carry over to data and tissue that the SAE was not trained on,
    as a table that anyone can sort.

    Returns
    -------
    DataFrame
        One row for each concept with a suggestion: ``concept_id``, ``term``, ``agreement`` (data
        sets in which the term is enriched), ``of`` (data sets in which any class is enriched),
        ``blood`` and ``bone_marrow`` (those of them that show this tissue), ``generalises``
        (whether the term is enriched in both tissues), and for each data set its enriched class,
        ``… references`` (as "9/10") and ``… q`` (false discovery rate).
    """
    rows = np.flatnonzero(suggestions.suggested != _NONE)
    tissue = {data.name: data.info.tissue for data in data_sets}
    agreeing = {
        name: terms[rows] == suggestions.suggested[rows]
        for name, terms in suggestions.of_set.items()
    }

    def in_tissue(wanted: str) -> NDArray[np.int64]:
        votes = [agreeing[name] for name in agreeing if tissue[name] == wanted]
        return np.sum(votes, axis=0, dtype=np.int64) if votes else np.zeros(len(rows), np.int64)

    blood, marrow = in_tissue("blood"), in_tissue("bone marrow")
    tested = [terms[rows] != _NONE for terms in suggestions.of_set.values()]
    columns: dict[str, object] = {
        "concept_id": rows,
        "term": suggestions.words()[rows],
        "agreement": suggestions.agreement[rows],
        "of": np.sum(tested, axis=0, dtype=np.int64),
        "blood": blood,
        "bone_marrow": marrow,
        "generalises": (blood > 0) & (marrow > 0),
    }
    for data in data_sets:
        if data.name not in suggestions.of_set:
            continue
        test = suggestions.enrichment[data.name]
        names = np.array([*data.info.classes, ""], object)
        found = test.found[rows]
        columns[data.name] = np.where(found, names[test.classes[rows]], "")
        columns[f"{data.name} references"] = [
            f"{hits}/{labelled}"
            for hits, labelled in zip(test.hits[rows], test.labelled[rows], strict=True)
        ]
        columns[f"{data.name} q"] = test.q[rows]
    return pd.DataFrame(columns)
