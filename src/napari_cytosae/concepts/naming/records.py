"""What is said of a concept, by whom and when: one record, one line of a file.

A record never changes. A new name is a new record that says which ones it replaces, so that the
records of two files can be put together in any order without losing anything: a record that no
other one replaces is what holds now, and two such records of one concept are a conflict.
"""

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from napari_cytosae.errors import NamesError

TISSUES: Final = ("nucleus", "cytoplasm", "membrane", "background", "artefact")
"""Where a concept lives; a record may also leave it open."""

_ID_LENGTH = 12
_KEYS: Final = {
    "concept", "name", "synonyms", "tissue", "notes", "confidence", "author", "date", "suggested_by",
    "withdrawn", "replaces", "id",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Naming:
    """What a person, or a suggestion, says of a concept.

    Parameters
    ----------
    name
        What to call it. Empty: somebody looked and has no name for it.
    synonyms
        Other words by which it is found.
    tissue
        One of `TISSUES`, or empty.
    notes
        Anything else.
    confidence
        0 to 1; None where nothing is said.

    Raises
    ------
    NamesError
        For an unknown tissue, or a confidence outside 0 to 1.
    """

    name: str = ""
    synonyms: tuple[str, ...] = ()
    tissue: str = ""
    notes: str = ""
    confidence: float | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "name", tidy(self.name))
        synonyms = dict.fromkeys(tidy(word) for word in self.synonyms)
        set_(self, "synonyms", tuple(word for word in synonyms if word and word != self.name))
        set_(self, "tissue", self.tissue.strip().lower())
        set_(self, "notes", self.notes.strip())
        if self.tissue and self.tissue not in TISSUES:
            raise NamesError(
                f"“{self.tissue}” is no tissue: it is one of {', '.join(TISSUES)}, or left empty."
            )
        if self.confidence is not None:
            if not (math.isfinite(self.confidence) and 0 <= self.confidence <= 1):
                raise NamesError(f"The confidence is {self.confidence}; it goes from 0 to 1.")
            set_(self, "confidence", round(float(self.confidence), 4))


@dataclass(frozen=True, slots=True)
class Record:
    """One naming of one concept, with its author and date.

    Parameters
    ----------
    concept_id
        The concept's index in the SAE.
    naming
        What is said of it.
    author
        Who says so.
    date
        ISO 8601, UTC.
    suggested_by
        What suggested it, for example ``"atlas"``; empty for a person's own record.
    withdrawn
        Takes back what `replaces` names, as if nothing had been said.
    replaces
        Ids of the records that this one takes the place of.
    extra
        Keys of the line that this version does not know, kept as they are.
    """

    concept_id: int
    naming: Naming
    author: str = ""
    date: str = ""
    suggested_by: str = ""
    withdrawn: bool = False
    replaces: tuple[str, ...] = ()
    extra: str = ""
    id: str = field(init=False, compare=False)
    _text: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = json.dumps(self._content(), ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        object.__setattr__(self, "id", digest[:_ID_LENGTH])
        object.__setattr__(self, "_text", text)

    @property
    def name(self) -> str:
        """What it calls the concept."""
        return self.naming.name

    @property
    def suggested(self) -> bool:
        """Whether no person stands behind it."""
        return bool(self.suggested_by)

    def to_line(self) -> str:
        """Write the record as one line of JSON; what is empty is left out."""
        return f'{self._text[:-1]}, "id": "{self.id}"}}'

    @classmethod
    def from_line(cls, line: str) -> "Record":
        """Read a line that `to_line` wrote, or that a person wrote or changed by hand.

        A line whose content no longer goes with its id was changed by hand: it is a new record
        that replaces the one of that id.

        Raises
        ------
        ValueError
            Where the line is no record; the message says why.
        """
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        record = cls._from_content(content)
        stated = content.get("id")
        if isinstance(stated, str) and stated and stated != record.id:
            return replace(record, replaces=tuple(dict.fromkeys((*record.replaces, stated))))
        return record

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> "Record":
        concept_id = content.get("concept")
        if type(concept_id) is not int or concept_id < 0:
            raise ValueError(f"“concept” is {concept_id!r}, not the number of a concept")
        confidence = content.get("confidence")
        if confidence is not None and type(confidence) not in (int, float):
            raise ValueError(f"“confidence” is {confidence!r}, not a number")
        extra = {key: value for key, value in content.items() if key not in _KEYS}
        try:
            naming = Naming(
                name=_text(content, "name"),
                synonyms=_texts(content, "synonyms"),
                tissue=_text(content, "tissue"),
                notes=_text(content, "notes"),
                confidence=confidence,
            )
        except NamesError as error:
            raise ValueError(str(error)) from error
        return cls(
            concept_id=concept_id,
            naming=naming,
            author=_text(content, "author"),
            date=_text(content, "date"),
            suggested_by=_text(content, "suggested_by"),
            withdrawn=content.get("withdrawn") is True,
            replaces=_texts(content, "replaces"),
            extra=json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else "",
        )

    def _content(self) -> dict[str, Any]:
        every = {
            "concept": self.concept_id,
            "name": self.naming.name,
            "synonyms": list(self.naming.synonyms),
            "tissue": self.naming.tissue,
            "notes": self.naming.notes,
            "confidence": self.naming.confidence,
            "author": self.author,
            "date": self.date,
            "suggested_by": self.suggested_by,
            "withdrawn": self.withdrawn,
            "replaces": list(self.replaces),
        }
        empty: tuple[object, ...] = (None, False, "", [])
        kept = {
            key: value
            for key, value in every.items()
            # By type as well: a confidence of 0 equals False, and is not empty.
            if key in ("concept", "name")
            or not any(value == nothing and type(value) is type(nothing) for nothing in empty)
        }
        return {**kept, **(json.loads(self.extra) if self.extra else {})}


def tidy(words: str) -> str:
    """Bring words to one form: composed letters, single spaces, no control characters."""
    composed = unicodedata.normalize("NFC", words)
    visible = "".join(
        " " if unicodedata.category(letter) == "Cc" else letter for letter in composed
    )
    return " ".join(visible.split())


def now() -> str:
    """Give the date that a record made now carries."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"“{key}” is {value!r}, not text")
    return value


def _texts(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"“{key}” is {value!r}, not a list of texts")
    return tuple(value)
