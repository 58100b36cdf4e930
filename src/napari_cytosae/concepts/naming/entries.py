"""What holds of a concept, out of all that was ever said of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from napari_cytosae.concepts.naming.records import Naming, Record


@dataclass(frozen=True, slots=True)
class Entry:
    """What holds of one concept now.

    Parameters
    ----------
    concept_id
        The concept.
    standing
        Records of persons that no other record replaces, the newest first. More than one after
        two people named the same concept without knowing of each other.
    suggestions
        The latest of each source, the most confident first. They give way to a person's record.
    heads
        Ids that a new record has to name to take the place of all that persons have said.
    """

    concept_id: int
    standing: tuple[Record, ...]
    suggestions: tuple[Record, ...]
    heads: tuple[str, ...]

    @property
    def record(self) -> Record | None:
        """What is shown: a person's record, else the best suggestion, else nothing."""
        return next(iter((*self.standing, *self.suggestions)), None)

    @property
    def naming(self) -> Naming:
        """What is said of the concept; empty where nothing is."""
        return self.record.naming if self.record is not None else Naming()

    @property
    def name(self) -> str:
        """What the concept is called, empty where it has no name."""
        return self.naming.name

    @property
    def suggested(self) -> bool:
        """Whether only suggestions speak for it."""
        return not self.standing and bool(self.suggestions)

    @property
    def conflict(self) -> bool:
        """Whether persons say different things and nobody has decided yet."""
        return len({_meaning(record) for record in self.standing}) > 1


def entry_of(concept_id: int, records: Iterable[Record]) -> Entry:
    """Find out what holds of a concept.

    Parameters
    ----------
    concept_id
        The concept.
    records
        All records of it, in any order.
    """
    every = list(records)
    said = [record for record in every if not record.suggested]
    suggested = [record for record in every if record.suggested]
    replaced = {parent for record in said for parent in record.replaces}
    latest = latest_suggestions(suggested).values()
    heads = sorted((r for r in said if r.id not in replaced), key=_age, reverse=True)
    return Entry(
        concept_id,
        tuple(record for record in heads if not record.withdrawn),
        tuple(sorted((r for r in latest if not r.withdrawn), key=_promise, reverse=True)),
        tuple(sorted(record.id for record in heads)),
    )


def in_order(records: Iterable[Record]) -> list[Record]:
    """Sort records of one concept so that each comes after those that it replaces.

    Records of the same second are told apart by what they replace, not by their dates.
    """
    waiting = sorted(records, key=_age)
    known = {record.id for record in waiting}
    ordered: list[Record] = []
    done: set[str] = set()
    while waiting:
        ready = next(r for r in waiting if not (set(r.replaces) & known) - done)
        waiting.remove(ready)
        done.add(ready.id)
        ordered.append(ready)
    return ordered


def void_suggestions(records: Iterable[Record]) -> set[str]:
    """Name the suggestions of one concept that a later one of the same source makes void.

    A suggestion can be made again from the data, so that its history is not worth keeping.
    """
    suggested = [record for record in records if record.suggested]
    return {record.id for record in suggested} - {
        record.id for record in latest_suggestions(suggested).values()
    }


def latest_suggestions(suggested: Iterable[Record]) -> dict[str, Record]:
    """Give the latest suggestion of each source, those that take one back included."""
    suggested = sorted(suggested, key=_age)
    replaced = {parent for record in suggested for parent in record.replaces}
    return {record.suggested_by: record for record in suggested if record.id not in replaced}


def _age(record: Record) -> tuple[str, str]:
    return (record.date, record.id)


def _promise(record: Record) -> tuple[float, str, str]:
    return (record.naming.confidence or 0.0, *_age(record))


def _meaning(record: Record) -> tuple[object, ...]:
    naming = record.naming
    words = frozenset(word.casefold() for word in naming.synonyms)
    return (naming.name.casefold(), words, naming.tissue, naming.notes)
