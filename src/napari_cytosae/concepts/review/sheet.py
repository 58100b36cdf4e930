"""One reviewer's sheet: a table that any program opens, saved after every answer."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import NamesError

RATINGS: Final = ("unclear", "partly", "clear")
"""What a reviewer says of a concept's cells: nothing in common, something in some, one thing in all."""

_COLUMNS: Final = ("place", "concept", "rating", "name", "notes", "reviewer", "sae")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reviewer says of one concept.

    Parameters
    ----------
    rating
        One of `RATINGS`; empty where the concept was not looked at yet.
    name
        What the cells have in common, in the reviewer's words.
    notes
        Anything else.
    """

    rating: str = ""
    name: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rating", self.rating.strip().lower())
        object.__setattr__(self, "name", " ".join(self.name.split()))
        if self.rating and self.rating not in RATINGS:
            raise NamesError(f"The rating is {self.rating!r}; it is one of {', '.join(RATINGS)}.")


@dataclass(slots=True)
class ReviewSheet:
    """A reviewer's answers to the same concepts, in the same order, as all reviewers'.

    Parameters
    ----------
    concepts
        Ids, in the order in which they are shown.
    reviewer
        Who answers.
    sae_digest
        Of the autoencoder; empty where it is not known.
    answers
        By concept.
    """

    concepts: Sequence[int]
    reviewer: str
    sae_digest: str = ""
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many concepts have a rating."""
        return sum(bool(self.answers.get(concept, Answer()).rating) for concept in self.concepts)

    def ratings(self) -> Mapping[int, str]:
        """Give the ratings that are there, by concept."""
        return {c: a.rating for c in self.concepts if (a := self.answers.get(c, Answer())).rating}

    def save(self, path: str | Path) -> Path:
        """Write the sheet as CSV, whole or not at all.

        Raises
        ------
        RunError
            It cannot be written.
        """
        path = Path(path)

        def write(part: Path) -> None:
            with part.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(_COLUMNS)
                for place, concept in enumerate(self.concepts, start=1):
                    answer = self.answers.get(concept, Answer())
                    writer.writerow(
                        [place, concept, answer.rating, answer.name, answer.notes,
                         self.reviewer, self.sae_digest]
                    )  # fmt: skip

        write_durably(path, write)
        return path


def read_sheet(path: str | Path) -> ReviewSheet:
    """Read a sheet, filled in or not.

    Spreadsheets of some languages part columns by semicolons or tabs, and leave empty rows at the
    end: both are read.

    Raises
    ------
    NamesError
        It cannot be read, or a rating is none.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            heading = file.readline()
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=_delimiter(heading)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NamesError(f"{path} cannot be read ({error}).") from error
    if not rows or not {"concept", "rating"} <= rows[0].keys():
        raise NamesError(
            f"{path} is no sheet of a review: it lacks the columns concept and rating."
        )
    answers: dict[int, Answer] = {}
    for number, row in enumerate(rows, start=2):
        if not any(isinstance(value, str) and value.strip() for value in row.values()):
            continue
        try:
            concept = _whole_number(row["concept"])
            answer = Answer(row["rating"] or "", row.get("name") or "", row.get("notes") or "")
        except NamesError as error:
            raise NamesError(f"{path}, row {number}: {error}") from error
        if concept in answers:
            raise NamesError(f"{path}, row {number}: concept {concept} is there twice.")
        answers[concept] = answer
    first = rows[0]
    who = (first.get("reviewer") or "").strip() or path.stem
    return ReviewSheet(list(answers), who, (first.get("sae") or "").strip(), answers)


def _delimiter(heading: str) -> str:
    return max(",;\t", key=heading.count)


def _whole_number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise NamesError(f"{text or ''!r} is no concept's number.") from None
