"""Names as they are shown: of every concept that has one, with suggestions marked."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_cytosae.concepts.naming.dictionary import Dictionary

SUGGESTED_MARK = " (suggested)"
"""What follows a suggested name wherever letters cannot be slanted."""

NAME_COLUMNS = ("name", "name_suggested")
"""Columns of a table of concepts that hold names."""


class Names(Mapping[int, str]):
    """Name of every concept that has one, by its id; a snapshot.

    Parameters
    ----------
    names
        By concept id.
    suggested
        Ids of those that no person stands behind.
    """

    def __init__(self, names: Mapping[int, str], suggested: frozenset[int] = frozenset()) -> None:
        self._names = dict(names)
        self.suggested = suggested

    @classmethod
    def of(cls, dictionary: "Dictionary | None", stored: "Names | None" = None) -> "Names":
        """Take the names of a dictionary, and of others those it knows nothing about."""
        names = dict(stored) if stored is not None else {}
        suggested = set(stored.suggested) if stored is not None else set()
        if dictionary is not None:
            for concept_id, entry in dictionary.entries.items():
                names.pop(concept_id, None)
                suggested.discard(concept_id)
                if entry.name:
                    names[concept_id] = entry.name
                    if entry.suggested:
                        suggested.add(concept_id)
        return cls(names, frozenset(suggested))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> "Names":
        """Take the names that stand in a table of concepts, one row per concept in order."""
        column = table["name"].to_numpy(object)
        ids = [n for n, name in enumerate(column) if isinstance(name, str) and name]
        marks = table["name_suggested"].to_numpy(bool) if "name_suggested" in table else None
        suggested = frozenset(n for n in ids if marks is not None and marks[n])
        return cls({n: str(column[n]) for n in ids}, suggested)

    def __getitem__(self, concept_id: int) -> str:
        return self._names[concept_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def title(self, concept_id: int) -> str:
        """Give a concept's number and name, a suggested one marked: ``#24 nucleus (suggested)``."""
        return title_of(concept_id, self.get(concept_id, ""), concept_id in self.suggested)

    def columns(self, n_concepts: int) -> dict[str, NDArray[np.generic]]:
        """Give the columns `NAME_COLUMNS` of a table of all concepts of an SAE."""
        column = np.full(n_concepts, "", dtype=object)
        marks = np.zeros(n_concepts, bool)
        for concept_id, name in self._names.items():
            if concept_id < n_concepts:  # a file may be wrong
                column[concept_id] = name
                marks[concept_id] = concept_id in self.suggested
        return dict(zip(NAME_COLUMNS, (column, marks), strict=True))


def title_of(concept_id: int, name: str, suggested: bool) -> str:
    """Put a concept's number and name together; the number alone where it has no name."""
    return f"#{concept_id} {marked(name, suggested)}".rstrip()


def marked(name: str, suggested: bool) -> str:
    """Mark a name where it is a suggestion."""
    return name + SUGGESTED_MARK if name and suggested else name
