"""Edits of names as values, and the stack by which they are undone and done again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cytosae.concepts.naming.records import Naming
from napari_cytosae.errors import UnsavedNamesError

if TYPE_CHECKING:
    from napari_cytosae.concepts.naming.dictionary import Dictionary


@dataclass(frozen=True, slots=True)
class Change:
    """What is said of one concept, before and after; None where no person says anything."""

    concept_id: int
    before: Naming | None
    after: Naming | None


@dataclass(frozen=True, slots=True)
class Edit:
    """One step of a person's work: the changes that it made."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def inverse(self) -> "Edit":
        """The edit that undoes this one."""
        return Edit(tuple(Change(c.concept_id, c.after, c.before) for c in self.changes[::-1]))


class EditStack:
    """Edits of one person at one dictionary, undone and done again in order.

    Undoing adds to the history like any other change; nothing is ever rubbed out.

    Parameters
    ----------
    dictionary
        What is edited.
    author
        Who edits.
    """

    def __init__(self, dictionary: "Dictionary", author: str) -> None:
        self.dictionary = dictionary
        self.author = author
        self._done: list[Edit] = []
        self._undone: list[Edit] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to do again."""
        return bool(self._undone)

    def give(self, concept_id: int, naming: Naming | None) -> Edit:
        """Name a concept, or take its name away with None."""
        before = self.dictionary.said(concept_id)
        try:
            edit = self.dictionary.give(concept_id, naming, self.author)
        except UnsavedNamesError:
            self.push(Edit((Change(concept_id, before, naming),)))
            raise
        self.push(edit)
        return edit

    def push(self, edit: Edit) -> None:
        """Take up an edit that was made elsewhere; an empty one is no step."""
        if edit:
            self._done.append(edit)
            self._undone.clear()

    def undo(self) -> Edit | None:
        """Undo the last edit; None where there is none.

        Raises
        ------
        NamesError
            Where somebody else has changed the concept since. That edit can no longer be undone,
            and the one before it is next.
        """
        return self._move(self._done, self._undone, inverse=True)

    def redo(self) -> Edit | None:
        """Do the edit again that was undone last; None where there is none.

        Raises
        ------
        NamesError
            Where somebody else has changed the concept since.
        """
        return self._move(self._undone, self._done)

    def _move(self, source: list[Edit], target: list[Edit], inverse: bool = False) -> Edit | None:
        if not source:
            return None
        edit = source.pop()
        try:
            self.dictionary.apply(edit.inverse if inverse else edit, self.author)
        except UnsavedNamesError:
            target.append(edit)  # it was done all the same
            raise
        target.append(edit)
        return edit
