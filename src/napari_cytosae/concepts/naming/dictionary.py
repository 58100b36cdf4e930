"""The names of one SAE's concepts: looked up, given, suggested, merged, and never lost."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from napari_cytosae.concepts.naming.edits import Change, Edit
from napari_cytosae.concepts.naming.entries import (
    Entry,
    in_order,
    latest_suggestions,
    void_suggestions,
)
from napari_cytosae.concepts.naming.ledger import Ledger
from napari_cytosae.concepts.naming.names_file import (
    NamesFile,
    Stamp,
    read_names,
    stamp_of,
    update_names,
)
from napari_cytosae.concepts.naming.records import Naming, Record, now, tidy
from napari_cytosae.errors import NamesError

Listener = Callable[[frozenset[int]], object]


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge brought.

    Parameters
    ----------
    added
        Number of records that were new.
    concepts
        Concepts of which something new is known.
    conflicts
        Entries on which persons disagree only since then, with all that was said side by side.
    """

    added: int
    concepts: frozenset[int]
    conflicts: tuple[Entry, ...]


class Dictionary:
    """Names of the concepts of one SAE, kept in one file.

    Every change is saved before the method returns; where that fails the change stays in memory,
    `unsaved` counts it, and the next change or `save` tries again. Several processes, and several
    people on a shared drive, may write the same file at once: each adds its records to what is
    there. Where two named one concept without knowing of each other, both names are kept and
    `conflicts` shows them.

    Parameters
    ----------
    path
        The file; made with the first change where it does not exist.
    sae_digest
        Digest of the SAE. Without it, the file says which.
    shipped
        Records that come from elsewhere, such as a bundle's own names: looked up, never saved.
    about
        Goes into the first line of a new file, for whoever opens it.

    Raises
    ------
    NamesError
        Where the file cannot be read, or names concepts of another SAE.
    """

    def __init__(
        self,
        path: str | Path,
        sae_digest: str | None = None,
        *,
        shipped: Iterable[Record] = (),
        about: str = "",
    ) -> None:
        self.path = Path(path)
        self.sae_digest = sae_digest or ""
        self.about = about
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._unreadable: tuple[tuple[str, str], ...] = ()
        self._ledger = Ledger()
        self._in_file: dict[str, Record] = {}
        self._new: dict[str, Record] = {}
        self._seen: Stamp | None = None
        self._shipped: set[str] = set()
        self.add_shipped(shipped)
        self.refresh()
        if not self.sae_digest:
            raise NamesError(
                f"{self.path} does not say which SAE's concepts it names. Give the bundle, or a "
                "run, that it belongs to."
            )

    def __repr__(self) -> str:
        return f"<Dictionary {self.path.name}: {len(self.names):,} names>"

    # -- looking up ------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[int, str]:
        """Name of every concept that has one. A live view: it follows later changes."""
        return MappingProxyType(self._ledger.names)

    @property
    def entries(self) -> Mapping[int, Entry]:
        """Entry of every concept of which anything was ever said. A live view."""
        return MappingProxyType(self._ledger.entries)

    @property
    def revision(self) -> int:
        """Goes up with every change, so that what was derived from names is known to be stale."""
        return self._ledger.revision

    @property
    def conflicts(self) -> tuple[Entry, ...]:
        """Entries on which persons disagree, by concept."""
        with self._lock:
            entries = sorted(self._ledger.entries.items())
        return tuple(entry for _, entry in entries if entry.conflict)

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Lines of the file that are no records, with what is wrong with each; they are kept."""
        return self._unreadable

    @property
    def unsaved(self) -> int:
        """Number of records that are in memory only, because saving failed."""
        return len(self._new)

    def name(self, concept_id: int) -> str:
        """Give a concept's name, empty where it has no name."""
        return self._ledger.names.get(concept_id, "")

    def entry(self, concept_id: int) -> Entry:
        """Give what holds of a concept; an empty entry where nothing was ever said of it."""
        found = self._ledger.entries.get(concept_id)
        return found if found is not None else Entry(concept_id, (), (), ())

    def said(self, concept_id: int) -> Naming | None:
        """Give what persons say of a concept, the latest first; None where nobody says anything."""
        standing = self.entry(concept_id).standing
        return standing[0].naming if standing else None

    def history(self, concept_id: int) -> list[Record]:
        """All records of a concept, each after those that it replaces."""
        with self._lock:
            return in_order(self._ledger.records_of(concept_id))

    def search(self, text: str) -> list[int]:
        """Find concepts by words of their name, synonyms, tissue or notes, or by their number."""
        with self._lock:
            return self._ledger.search(text)

    def to_file(self) -> NamesFile:
        """Give all records as a file's content, shipped ones too."""
        with self._lock:
            return NamesFile(self.sae_digest, self.about, tuple(self._ledger.records))

    # -- changing --------------------------------------------------------------------------

    def give(self, concept_id: int, naming: Naming | None, author: str) -> Edit:
        """Name a concept, in place of all that persons have said of it; None takes the name away.

        Returns
        -------
        Edit
            What was done; ``apply(edit.inverse, author)`` undoes it.

        Raises
        ------
        UnsavedNamesError
            Where it cannot be saved. It has been done all the same, see `unsaved`.
        """
        return self.give_many({concept_id: naming}, author)

    def give_many(self, namings: Mapping[int, Naming | None], author: str) -> Edit:
        """Name several concepts in one step, as `give` does."""
        with self._lock:
            edit, changed = self._give(namings, author)
        self._settle(changed)
        return edit

    def apply(self, edit: Edit, author: str) -> Edit:
        """Do an edit once more, or undo it with its inverse.

        Raises
        ------
        NamesError
            Where a concept has been renamed by somebody else since; nothing is changed then.
        """
        with self._lock:
            for change in edit.changes:
                if (said := self.said(change.concept_id)) != change.before:
                    what = f"“{said.name}”" if said is not None else "without a name"
                    raise NamesError(
                        f"Concept {change.concept_id} is now {what}: it has been changed since. "
                        "Name it anew if that is wrong."
                    )
            done, changed = self._give({c.concept_id: c.after for c in edit.changes}, author)
        self._settle(changed)
        return done

    def suggest(self, namings: Mapping[int, Naming], source: str) -> int:
        """Suggest names, which show where no person has given one, and are marked as suggested.

        A suggestion takes the place of earlier ones of the same source; those for other concepts
        stay.

        Parameters
        ----------
        namings
            By concept. An empty name takes the source's suggestion back.
        source
            What suggests them, for example ``"atlas"``.

        Returns
        -------
        int
            How many suggestions are new or have changed.
        """
        if not source:
            raise NamesError("A suggestion needs a source: say what suggests it.")
        date = now()
        records = []
        with self._lock:
            for concept_id, naming in namings.items():
                known = latest_suggestions(
                    record
                    for record in self._ledger.records_of(concept_id)
                    if record.suggested_by == source
                ).get(source)
                before = Naming() if known is None or known.withdrawn else known.naming
                if naming != before:
                    replaces = () if known is None else (known.id,)
                    records.append(
                        Record(concept_id, naming, "", date, source, not naming.name, replaces)
                    )
            changed = self._take(records)[1]
        self._settle(changed)
        return len(records)

    def merge(self, other: "Dictionary | NamesFile | str | Path") -> Merged:
        """Take over all that another file says; where the two disagree, both stand side by side.

        Merging is a union: in whatever order and however often it is done, the result is the same.

        Raises
        ------
        NamesError
            Where the other file cannot be read, or names concepts of another SAE.
        """
        if isinstance(other, Dictionary):
            other = other.to_file()
        elif not isinstance(other, NamesFile):
            other = read_names(Path(other))
        self._check_digest(other.sae_digest, "The other file")
        return self.add(other.records)

    def add(self, records: Iterable[Record]) -> Merged:
        """Take records over as they are; those that are known already change nothing."""
        with self._lock:
            before = {entry.concept_id for entry in self.conflicts}
            fresh, changed = self._take(records)
            conflicts = tuple(e for e in self.conflicts if e.concept_id not in before)
        self._settle(changed)
        return Merged(len(fresh), changed, conflicts)

    def add_shipped(self, records: Iterable[Record]) -> None:
        """Take records in to be looked up that are not to be saved, as those of a bundle."""
        records = list(records)
        with self._lock:
            self._shipped.update(record.id for record in records)
            _, changed = self._ledger.take(records)
        self._tell(changed)

    # -- the file --------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Read what other processes have written since; tell whether there was anything.

        Raises
        ------
        NamesError
            Where the file cannot be read.
        """
        with self._lock:
            stamp = stamp_of(self.path)
            if stamp is None or stamp == self._seen:
                return False
            changed = self._read_in(read_names(self.path))
            self._seen = stamp
        self._tell(changed)
        return bool(changed)

    def save(self) -> None:
        """Write what is not saved yet; there is nothing to do after changes that were saved.

        Raises
        ------
        UnsavedNamesError
            Where the file cannot be written; the records stay in memory.
        """
        with self._lock:
            if not self._new:
                return
            # Where somebody deleted the file, all that was in it is written again.
            records = tuple(self._in_file.values())
            known = NamesFile(self.sae_digest, self.about, records, self._unreadable)
            written, self._seen = update_names(self.path, self._with_new, known, self._seen)
            self._new.clear()
            changed = self._read_in(written)
        self._tell(changed)

    # -- listening -------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the concepts concerned after every change.

        It is called in the thread that made the change.

        Returns
        -------
        callable
            Ends the listening.
        """
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def _tell(self, concepts: frozenset[int]) -> None:
        if concepts:
            for listener in tuple(self._listeners):
                listener(concepts)

    # -- inside ----------------------------------------------------------------------------

    def _give(
        self, namings: Mapping[int, Naming | None], author: str
    ) -> tuple[Edit, frozenset[int]]:
        changes = tuple(
            Change(concept_id, before, naming)
            for concept_id, naming in namings.items()
            if (before := self.said(concept_id)) != naming or self.entry(concept_id).conflict
        )
        return Edit(changes), self._take([self._record(change, author) for change in changes])[1]

    def _record(self, change: Change, author: str) -> Record:
        return Record(
            change.concept_id,
            change.after if change.after is not None else Naming(),
            tidy(author),
            now(),
            withdrawn=change.after is None,
            replaces=self.entry(change.concept_id).heads,
        )

    def _take(self, records: Iterable[Record]) -> tuple[list[Record], frozenset[int]]:
        fresh, changed = self._ledger.take(records)
        self._new.update((record.id, record) for record in fresh)
        return fresh, changed

    def _settle(self, changed: frozenset[int]) -> None:
        """Tell of a change, then save it: who listens sees it whether or not the disk is full."""
        self._tell(changed)
        self.save()

    def _read_in(self, file: NamesFile) -> frozenset[int]:
        """Follow the file, in which records may have come and, with another version of it, gone."""
        self._check_digest(file.sae_digest, str(self.path))
        self.sae_digest = self.sae_digest or file.sae_digest
        self.about = file.about or self.about
        self._unreadable = file.unreadable
        current = {record.id: record for record in file.records}
        kept = current.keys() | self._new.keys() | self._shipped
        gone = [record for key, record in self._in_file.items() if key not in kept]
        self._in_file = current
        return self._ledger.take(file.records, without=gone)[1]

    def _with_new(self, file: NamesFile) -> NamesFile:
        """Add new records to what is in the file now, and leave void suggestions out."""
        self._check_digest(file.sae_digest, str(self.path))
        records = {record.id: record for record in file.records} | self._new
        of_concept: dict[int, list[Record]] = {}
        for record in records.values():
            of_concept.setdefault(record.concept_id, []).append(record)
        void = {key for each in of_concept.values() for key in void_suggestions(each)}
        return replace(
            file,
            sae_digest=file.sae_digest or self.sae_digest,
            about=file.about or self.about,
            records=tuple(record for key, record in records.items() if key not in void),
        )

    def _check_digest(self, digest: str, what: str) -> None:
        if digest and self.sae_digest and digest != self.sae_digest:
            raise NamesError(
                f"{what} names the concepts of another SAE ({digest[:12]}…, not "
                f"{self.sae_digest[:12]}…): concept numbers of the two have nothing in common."
            )
