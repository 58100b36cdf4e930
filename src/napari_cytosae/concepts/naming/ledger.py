"""All records of a dictionary in memory, sorted to their concepts, with what holds of each."""

from collections.abc import Iterable, Mapping

from napari_cytosae.concepts.naming.entries import Entry, entry_of, void_suggestions
from napari_cytosae.concepts.naming.records import Record, tidy


class Ledger:
    """Records by id and by concept; knows nothing of files.

    Attributes
    ----------
    entries : dict
        What holds of every concept of which anything was ever said.
    names : dict
        Name of every concept that has one.
    revision : int
        Goes up with every change.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.names: dict[int, str] = {}
        self.revision = 0
        self._of_concept: dict[int, dict[str, Record]] = {}
        self._texts: dict[int, str] = {}
        self._texts_of = -1

    def __contains__(self, record: Record) -> bool:
        return record.id in self._of_concept.get(record.concept_id, {})

    @property
    def records(self) -> list[Record]:
        """Every record, by concept."""
        return [
            record for of_concept in self._of_concept.values() for record in of_concept.values()
        ]

    def records_of(self, concept_id: int) -> list[Record]:
        """Every record of one concept."""
        return list(self._of_concept.get(concept_id, {}).values())

    def take(
        self, records: Iterable[Record], without: Iterable[Record] = ()
    ) -> tuple[list[Record], frozenset[int]]:
        """Take records in, take others out, and find out anew what holds.

        Returns
        -------
        list of Record
            Those that were new and are not void.
        frozenset of int
            The concepts concerned.
        """
        touched: dict[int, list[Record]] = {}
        shrunk = set()
        for record in without:
            if self._of_concept.get(record.concept_id, {}).pop(record.id, None) is not None:
                touched.setdefault(record.concept_id, [])
                shrunk.add(record.concept_id)
        for record in records:
            if record not in self:
                touched.setdefault(record.concept_id, []).append(record)
        fresh, changed = [], []
        for concept_id, added in touched.items():
            of_concept = self._of_concept.setdefault(concept_id, {})
            known = set(of_concept)
            of_concept.update((record.id, record) for record in added)
            for key in void_suggestions(of_concept.values()):
                del of_concept[key]
            if of_concept.keys() != known or concept_id in shrunk:
                fresh += [record for record in added if record.id in of_concept]
                changed.append(concept_id)
                self._settle(concept_id)
        self.revision += bool(changed)
        return fresh, frozenset(changed)

    def search(self, text: str) -> list[int]:
        """Find concepts by words of their name, synonyms, tissue or notes, or by their number."""
        words = tidy(text).casefold().split()
        if not words:
            return []
        if self._texts_of != self.revision:
            self._texts = {key: _text(entry) for key, entry in self.entries.items()}
            self._texts_of = self.revision
        found = {key for key, text in self._texts.items() if all(word in text for word in words)}
        number = words[0].lstrip("#")
        if len(words) == 1 and number.isdecimal() and int(number) in self.entries:
            found.add(int(number))
        return sorted(found)

    def _settle(self, concept_id: int) -> None:
        of_concept: Mapping[str, Record] = self._of_concept[concept_id]
        if not of_concept:
            self.entries.pop(concept_id, None)
            self.names.pop(concept_id, None)
            return
        entry = self.entries[concept_id] = entry_of(concept_id, of_concept.values())
        if entry.name:
            self.names[concept_id] = entry.name
        else:
            self.names.pop(concept_id, None)


def _text(entry: Entry) -> str:
    naming = entry.naming
    return " ".join((naming.name, *naming.synonyms, naming.tissue, naming.notes)).casefold()
