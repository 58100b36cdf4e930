import pytest

from napari_cytosae.concepts.naming import TISSUES, Term, Vocabulary, load_vocabulary
from napari_cytosae.concepts.naming.vocabulary import vocabulary_path
from napari_cytosae.errors import NamesError


@pytest.fixture(scope="module")
def shipped():
    return Vocabulary.shipped()


def test_the_shipped_one_has_the_families_of_the_field(shipped):
    wanted = {"nucleus", "cytoplasm", "granules", "inclusions", "red cells", "artefacts"}
    assert wanted <= set(shipped.families)
    assert all(len(shipped.of_family(family)) >= 10 for family in wanted)
    assert all(term.meaning and term.tissue in TISSUES for term in shipped)


def test_no_word_of_the_shipped_one_means_two_things(shipped):
    meaning = {}
    for term in shipped:
        for word in term.words:
            assert meaning.setdefault(word.casefold(), term.name) == term.name


@pytest.mark.parametrize(
    ("word", "term"),
    [
        ("Auer rod", "Auer rod"),
        ("DACROCYTE", "teardrop cell"),
        ("hemophagocytosis", "phagocytosed cell"),
        ("howell jolly body", "Howell–Jolly body"),
        ("faggot cell", "bundle of Auer rods"),
        ("nonsense", None),
    ],
)
def test_terms_are_found_by_name_or_synonym(shipped, word, term):
    found = shipped.find(word)
    assert (found.name if found else None) == term


def test_typing_finds_beginnings_first(shipped):
    found = [term.name for term in shipped.search("eos")]
    assert found[0] == "eosinophilic granules"
    assert "immature eosinophilic granules" in found
    assert shipped.search("nucleus lob")[0].name == "segmented nucleus"
    assert len(shipped.search("", k=5)) == 5
    assert shipped.search("zzz") == []


def test_a_term_gives_a_naming(shipped):
    naming = shipped.find("Auer body").naming(0.7, "seen twice")
    assert naming.name == "Auer rod"
    assert naming.synonyms == ("Auer body",)
    assert (naming.tissue, naming.confidence, naming.notes) == ("cytoplasm", 0.7, "seen twice")


def test_edits_give_a_new_vocabulary_that_comes_back_from_its_file(shipped, tmp_path):
    new = Term("granules", "our granules", ("og; 1", "og"), "cytoplasm", "seen\there only")
    edited = shipped.with_term(new).without("AUER ROD")
    assert shipped.find("our granules") is None
    assert edited.of_family("granules")[-1] == new
    assert edited.find("Auer rod") is None
    changed = edited.with_term(Term("granules", "Our granules", tissue="artefact"))
    assert len(changed) == len(edited)
    assert changed.find("our granules").tissue == "artefact"
    edited.write(tmp_path / "v.tsv")
    assert Vocabulary.read(tmp_path / "v.tsv").terms == edited.terms
    assert [term.name for term in shipped.missing_from(edited)] == ["Auer rod"]


def test_the_lab_edits_its_own_copy(shipped, home):
    assert load_vocabulary().terms == shipped.terms
    shipped.without("bubble").write(vocabulary_path())
    assert load_vocabulary().find("bubble") is None
    assert Vocabulary.shipped().find("bubble") is not None


def test_a_spreadsheets_file_is_read(tmp_path):
    path = tmp_path / "v.tsv"
    path.write_bytes(
        "\ufeffTerm\tFamily\tours\r\n\r\n# a remark\r\nring form\tparasites\tx\r\n".encode()
    )
    assert Vocabulary.read(path).terms == (Term("parasites", "ring form"),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"nucleus\tround\n", "line 1.*columns"),
        (b"family\tterm\nnucleus\t\n", "line 2.*family and a name"),
        (b"family\tterm\ttissue\nnucleus\tround\tliver\n", "line 2.*liver"),
        (b"family\tterm\na\tx\nb\tX\n", "twice"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_line(tmp_path, content, says):
    path = tmp_path / "v.tsv"
    path.write_bytes(content)
    with pytest.raises(NamesError, match=says):
        Vocabulary.read(path)
