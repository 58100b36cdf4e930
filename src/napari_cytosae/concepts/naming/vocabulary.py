"""The words that a lab names concepts with: families of terms, with their synonyms.

One of haematological morphology ships with the package; a lab edits its own copy of it, in the
program or in any editor or spreadsheet.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from napari_cytosae.concepts.durable import lock_beside, write_durably
from napari_cytosae.concepts.naming.places import names_folder
from napari_cytosae.concepts.naming.records import TISSUES, Naming, tidy
from napari_cytosae.errors import NamesError, RunError

SHIPPED: Final = Path(__file__).with_name("haematology.tsv")
_COLUMNS: Final = ("family", "term", "synonyms", "tissue", "meaning")
_PARTED: Final = "; "


@dataclass(frozen=True, slots=True)
class Term:
    """One word of the vocabulary.

    Parameters
    ----------
    family
        Which part of a cell, or which kind of thing, it is about.
    name
        The word to use.
    synonyms
        Other words for the same.
    tissue
        Where such a concept lives, one of `TISSUES` or empty.
    meaning
        What it means, in a line.

    Raises
    ------
    NamesError
        Where family or name is missing, or the tissue is unknown.
    """

    family: str
    name: str
    synonyms: tuple[str, ...] = ()
    tissue: str = ""
    meaning: str = ""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for field in ("family", "name", "meaning"):
            set_(self, field, tidy(getattr(self, field)))
        words = (tidy(word.replace(";", ",")) for word in self.synonyms)
        set_(self, "synonyms", tuple(dict.fromkeys(w for w in words if w and w != self.name)))
        set_(self, "tissue", self.tissue.strip().lower())
        if not self.family or not self.name:
            raise NamesError(f"A term needs a family and a name: {self.family!r}, {self.name!r}.")
        if self.tissue and self.tissue not in TISSUES:
            raise NamesError(
                f"“{self.name}”: “{self.tissue}” is no tissue; it is one of {', '.join(TISSUES)}."
            )

    @property
    def words(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)

    def naming(self, confidence: float | None = None, notes: str = "") -> Naming:
        """Give what a concept that is named by this term is called."""
        return Naming(self.name, self.synonyms, self.tissue, notes, confidence)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Terms in families; a value that edits give a new one of.

    Parameters
    ----------
    terms
        Every term, in the order in which they are offered.

    Raises
    ------
    NamesError
        Where two terms have the same name.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Term] = {}
        for term in self.terms:
            if (other := seen.setdefault(term.name.casefold(), term)) is not term:
                raise NamesError(
                    f"“{term.name}” is there twice, in {other.family} and in {term.family}; keep "
                    "one of the two."
                )

    def __len__(self) -> int:
        return len(self.terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the families, in the order of their first terms."""
        return tuple(dict.fromkeys(term.family for term in self.terms))

    def of_family(self, family: str) -> tuple[Term, ...]:
        """Give the terms of one family."""
        return tuple(term for term in self.terms if term.family == family)

    def find(self, words: str) -> Term | None:
        """Look a term up by its name or a synonym, in any case; None where there is none."""
        return self._by_word.get(_key(words))

    def search(self, text: str, k: int | None = None) -> list[Term]:
        """Find terms while a person types: those that begin with the text first.

        Parameters
        ----------
        text
            One or more beginnings of words, in any order; empty for all terms.
        k
            How many at most.
        """
        parts = _key(text).split()
        ranked = []
        for place, term in enumerate(self.terms):
            fits = [fit for word in term.words if (fit := _fit(_key(word), parts)) is not None]
            if fits:
                # A synonym counts a little less than the name itself.
                named = _fit(_key(term.name), parts)
                ranked.append((min(fits), named is None, place, term))
        return [term for *_, term in sorted(ranked, key=lambda each: each[:3])][:k]

    def with_term(self, term: Term) -> "Vocabulary":
        """Add a term at the end of its family, or replace the one of the same name."""
        names = [each.name.casefold() for each in self.terms]
        if term.name.casefold() in names:
            place = names.index(term.name.casefold())
            return replace(self, terms=(*self.terms[:place], term, *self.terms[place + 1 :]))
        place = max(
            (n + 1 for n, each in enumerate(self.terms) if each.family == term.family),
            default=len(self.terms),
        )
        return replace(self, terms=(*self.terms[:place], term, *self.terms[place:]))

    def without(self, name: str) -> "Vocabulary":
        """Take a term out, by its name."""
        kept = tuple(t for t in self.terms if t.name.casefold() != name.casefold())
        return replace(self, terms=kept)

    def missing_from(self, other: "Vocabulary") -> tuple[Term, ...]:
        """Give the terms that another one lacks, such as those of a new version of the package."""
        known = {term.name.casefold() for term in other.terms}
        return tuple(term for term in self.terms if term.name.casefold() not in known)

    @classmethod
    def shipped(cls) -> "Vocabulary":
        """Read the vocabulary of haematological morphology that ships with the package."""
        return cls.read(SHIPPED)

    @classmethod
    def read(cls, path: str | Path) -> "Vocabulary":
        """Read a vocabulary.

        Raises
        ------
        NamesError
            Where it cannot be read; the message names the line.
        """
        path = Path(path)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NamesError(f"{path} is not text in UTF-8; save it as UTF-8.") from error
        except OSError as error:
            raise NamesError(f"{path} cannot be read ({error.strerror or error}).") from error
        return cls(tuple(_terms(text, path)))

    def write(self, path: str | Path) -> None:
        """Write the vocabulary, whole or not at all.

        Raises
        ------
        NamesError
            Where it cannot be written.
        """
        path = Path(path).resolve()
        lines = ["\t".join(_COLUMNS)]
        lines += [
            "\t".join((t.family, t.name, _PARTED.join(t.synonyms), t.tissue, t.meaning))
            for t in self.terms
        ]
        text = "\n".join(lines) + "\n"

        def write(temporary: Path) -> None:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            if path.exists():
                shutil.copymode(path, temporary)

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with lock_beside(path):
                write_durably(path, write)
        except (RunError, OSError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            reason = getattr(cause, "strerror", None) or str(cause)
            raise NamesError(f"The vocabulary could not be saved to {path} ({reason}).") from error

    @cached_property
    def _by_word(self) -> dict[str, Term]:
        words = {_key(word): term for term in reversed(self.terms) for word in term.synonyms}
        return words | {_key(term.name): term for term in self.terms}


def vocabulary_path() -> Path:
    """File of the lab's own vocabulary, beside the dictionaries."""
    return names_folder() / "vocabulary.tsv"


def load_vocabulary() -> Vocabulary:
    """Read the lab's own vocabulary, or the shipped one where the lab has none.

    Raises
    ------
    NamesError
        Where the lab's own cannot be read.
    """
    path = vocabulary_path()
    return Vocabulary.read(path) if path.exists() else Vocabulary.shipped()


def _terms(text: str, path: Path) -> Iterable[Term]:
    columns: list[str] | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        if columns is None:
            columns = [field.lower() for field in fields]
            if not {"family", "term"} <= set(columns):
                raise NamesError(
                    f"{path}, line {number}: the first line should name the columns, "
                    f"{', '.join(_COLUMNS)}, with a tab between each two."
                )
            continue
        row = dict(zip(columns, fields, strict=False))
        try:
            yield Term(
                row.get("family", ""),
                row.get("term", ""),
                tuple(row.get("synonyms", "").split(";")),
                row.get("tissue", ""),
                row.get("meaning", ""),
            )
        except NamesError as error:
            raise NamesError(f"{path}, line {number}: {error}") from error


def _key(words: str) -> str:
    return tidy(words).casefold().replace("-", " ").replace("–", " ")


def _fit(words: str, parts: list[str]) -> int | None:
    """Tell how well a text fits: 0 from its beginning, 1 at beginnings of words, 2 inside; or not."""
    if words.startswith(" ".join(parts)):
        return 0
    starts = words.split()
    if all(any(word.startswith(part) for word in starts) for part in parts):
        return 1
    return 2 if all(part in words for part in parts) else None
