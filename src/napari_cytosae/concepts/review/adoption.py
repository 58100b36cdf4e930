"""What reviewers called concepts, beside what the dictionary calls them, and how it gets there."""

from collections.abc import Sequence
from dataclasses import dataclass

from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.records import Naming
from napari_cytosae.concepts.naming.vocabulary import Vocabulary
from napari_cytosae.concepts.review.sheet import ReviewSheet
from napari_cytosae.errors import NamesError


@dataclass(frozen=True, slots=True)
class GivenName:
    """A name that reviewers gave a concept.

    Parameters
    ----------
    name
        As the first of them wrote it.
    reviewers
        Who gave it, but for case.
    notes
        What they wrote beside it.
    unclear
        Whether all of them found the concept's cells unclear.
    """

    name: str
    reviewers: tuple[str, ...]
    notes: str = ""
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What could be adopted of one concept.

    Parameters
    ----------
    concept_id
        The concept.
    now
        What persons call it in the dictionary, several names where they disagree.
    given
        What reviewers called it, the name with the most reviewers first.
    """

    concept_id: int
    now: tuple[str, ...]
    given: tuple[GivenName, ...]

    @property
    def settled(self) -> bool:
        """Whether all say already what the dictionary says."""
        names = {given.name.casefold() for given in self.given}
        return len(self.now) == 1 and names == {self.now[0].casefold()}

    @property
    def conflict(self) -> bool:
        """Whether a person has to choose: reviewers differ, or the dictionary says otherwise."""
        return not self.settled and (len(self.given) > 1 or bool(self.now))

    @property
    def choice(self) -> GivenName | None:
        """What is adopted unless a person chooses otherwise: what nobody contradicts."""
        plain = not self.settled and not self.conflict and not self.given[0].unclear
        return self.given[0] if plain else None


def proposals(sheets: Sequence[ReviewSheet], dictionary: Dictionary) -> list[Proposal]:
    """List what reviewers named, in the review's order, beside what the dictionary says."""
    found = []
    concepts = dict.fromkeys(concept for sheet in sheets for concept in sheet.concepts)
    for concept in concepts:
        by_name: dict[str, list[tuple[str, str, str, str]]] = {}
        for sheet in sheets:
            answer = sheet.answers.get(concept)
            if answer is not None and answer.name:
                said = (answer.name, sheet.reviewer, answer.notes.strip(), answer.rating)
                by_name.setdefault(answer.name.casefold(), []).append(said)
        given = [
            GivenName(
                said[0][0],
                tuple(who for _, who, _, _ in said),
                "\n".join(dict.fromkeys(notes for _, _, notes, _ in said if notes)),
                all(rating == "unclear" for *_, rating in said),
            )
            for said in by_name.values()
        ]
        if given:
            ranked = sorted(given, key=lambda each: -len(each.reviewers))
            found.append(Proposal(concept, _now(dictionary, concept), tuple(ranked)))
    return found


def adopt(
    chosen: Sequence[tuple[Proposal, GivenName]], dictionary: Dictionary, vocabulary: Vocabulary
) -> int:
    """Write chosen names into a dictionary, each with its reviewers as authors.

    What the vocabulary knows of a name (synonyms, tissue) goes along; what was said before stays in
    the history.

    Returns
    -------
    How many concepts were named.

    Raises
    ------
    NamesError
        A concept was renamed since the proposals were made; nothing is written then. Or the file
        cannot be saved.
    """
    dictionary.refresh()
    for proposal, _ in chosen:
        if _now(dictionary, proposal.concept_id) != proposal.now:
            raise NamesError(
                f"Concept {proposal.concept_id} was named meanwhile. Look at the list once more."
            )
    by_author: dict[str, dict[int, Naming | None]] = {}
    for proposal, given in chosen:
        author = ", ".join(given.reviewers)
        by_author.setdefault(author, {})[proposal.concept_id] = _naming(given, vocabulary)
    return sum(
        len(dictionary.give_many(namings, author).changes) for author, namings in by_author.items()
    )


def _naming(given: GivenName, vocabulary: Vocabulary) -> Naming:
    term = vocabulary.find(given.name)
    if term is None:
        return Naming(given.name, notes=given.notes)
    synonyms = tuple(word for word in term.words if word.casefold() != given.name.casefold())
    return Naming(given.name, synonyms, term.tissue, given.notes)


def _now(dictionary: Dictionary, concept: int) -> tuple[str, ...]:
    standing = dictionary.entry(concept).standing
    return tuple(dict.fromkeys(record.name for record in standing if record.name))
