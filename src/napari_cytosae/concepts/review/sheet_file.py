"""A sheet that is being filled in: saved after every answer, beside others who write to it."""

from pathlib import Path

from napari_cytosae.concepts.durable import explain_write_error, lock_beside
from napari_cytosae.concepts.review.sheet import Answer, ReviewSheet, read_sheet
from napari_cytosae.errors import NamesError

Stamp = tuple[int, int, int]


class SheetFile:
    """One reviewer's sheet and its file.

    What cannot be saved stays in memory, `unsaved` tells of what concepts, and the next save tries
    again. What another program wrote into the file meanwhile is kept, but for those concepts.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    NamesError
        It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _stamp_of(path)
        self.sheet: ReviewSheet = read_sheet(path)
        self._unsaved: set[int] = set()

    @property
    def unsaved(self) -> frozenset[int]:
        """Concepts of which the answer is in memory only."""
        return frozenset(self._unsaved)

    @property
    def first_open(self) -> int | None:
        """Place of the first concept without a rating, from 0; None where all have one."""
        for place, concept in enumerate(self.sheet.concepts):
            if not self.said(concept).rating:
                return place
        return None

    def said(self, concept: int) -> Answer:
        """Give what is answered of a concept so far."""
        return self.sheet.answers.get(concept, Answer())

    def answer(self, concept: int, answer: Answer) -> None:
        """Take an answer, and save.

        Raises
        ------
        RunError, NamesError
            It cannot be saved; it is in memory all the same.
        """
        if answer != self.said(concept):
            self.sheet.answers[concept] = answer
            self._unsaved.add(concept)
        self.save()

    def save(self) -> None:
        """Write what is not saved yet.

        Raises
        ------
        RunError
            The file cannot be written.
        NamesError
            Another program has made something else of the file.
        """
        if not self._unsaved:
            return
        try:
            with lock_beside(self.path):
                stamp = _stamp_of(self.path)
                if stamp is not None and stamp != self._seen:
                    self._take_in(read_sheet(self.path))
                self.sheet.save(self.path)
                self._seen = _stamp_of(self.path)
        except OSError as error:
            raise explain_write_error(error, self.path) from error
        self._unsaved.clear()

    def move_to(self, path: Path) -> None:
        """Go on in another file, as where the first one's folder is gone.

        Raises
        ------
        NamesError
            There is such a file already.
        RunError
            It cannot be written; nothing has changed then.
        """
        if path.exists():
            raise NamesError(f"{path} is there already. Choose another folder.")
        self.sheet.save(path)
        self.path, self._seen = path, _stamp_of(path)
        self._unsaved.clear()

    def _take_in(self, other: ReviewSheet) -> None:
        if set(other.concepts) != set(self.sheet.concepts):
            raise NamesError(
                f"{self.path} has become the sheet of other concepts. Your answers are kept here: "
                "save them elsewhere."
            )
        for concept, answer in other.answers.items():
            if concept not in self._unsaved:
                self.sheet.answers[concept] = answer


def _stamp_of(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
