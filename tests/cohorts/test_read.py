"""What makes a cohort, and what is wrong with one is named."""

import numpy as np
import pytest
from PIL import Image

from napari_cytosae.cohorts import Cohort, Patient, read_cohort
from napari_cytosae.errors import CohortError


@pytest.fixture
def picture(tmp_path):
    """Write small images wherever they are wanted."""

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(path)
        return tmp_path

    return write


def table(folder, text, name="cohort.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_patients_with_images_and_covariates(picture):
    folder = picture("a 1.png", "b/10.png", "b/2.png", "c.png")
    cohort = read_cohort(
        table(
            folder,
            "Patient ID;Diagnosis;Image;site;age\n"
            "P1;AML;a 1.png;Munich;50\nP2;healthy;b;Berlin;61\nP1;AML;c.png;Bern;52\n",
        )
    )
    assert [p.patient_id for p in cohort.patients] == ["P1", "P2"]
    assert [image.name for image in cohort.patients[0].images] == ["a 1.png", "c.png"]
    assert [image.name for image in cohort.patients[1].images] == ["2.png", "10.png"]
    assert cohort.patients[0].covariates == {"site": "Munich+Bern", "age": 51.0}
    assert cohort.diagnoses == ("AML", "healthy")
    assert cohort.covariates == ("site", "age")
    assert list(cohort.table()["n_images"]) == [2, 2]


def test_folders_hold_diagnoses_patients_and_images(picture):
    folder = picture(
        "cohort/NPM1/ABC/1.png", "cohort/NPM1/ABC/2.png", "cohort/control/XYZ/1.png",
        "cohort/control/field.png", "cohort/NPM1/field.png",
    )  # fmt: skip
    (folder / "cohort/NPM1/ABC/notes.txt").write_text("no image")
    (folder / "cohort/.cache").mkdir()
    cohort = read_cohort(folder / "cohort")
    assert {p.patient_id: (p.diagnosis, len(p.images)) for p in cohort.patients} == {
        "ABC": ("NPM1", 2),
        "XYZ": ("control", 1),
        "NPM1/field": ("NPM1", 1),
        "control/field": ("control", 1),
    }


def test_a_table_written_by_a_cohort_reads_the_same(picture):
    folder = picture("NPM1/ABC/1.png", "NPM1/ABC/2.png", "control/XYZ/1.png")
    first = read_cohort(folder)
    path = folder / "table.csv"
    first.image_table(beside=folder).to_csv(path, index=False)
    again = read_cohort(path)
    assert again.patients == first.patients
    assert again.digest == first.digest


def test_stars_stand_for_many_images(picture):
    folder = picture("f_1.png", "f_2.png", "g.png")
    (folder / "f_3.txt").write_text("")
    cohort = read_cohort(table(folder, "patient,diagnosis,image\nA,x,f_*\nB,y,g.png\n"))
    assert [image.name for image in cohort.patients[0].images] == ["f_1.png", "f_2.png"]


def test_everything_that_is_wrong_is_named_at_once(picture):
    folder = picture("1.png", "2.png", "3.png", "4.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no image, whatever its name says")
    path = table(
        folder,
        "patient,diagnosis,image\nA,x,1.png\nA,y,2.png\na ,x,3.png\nB,x,1.png\nC,,4.png\n"
        "D,x,empty.png\nE,x,text.png\nF,x,missing.png\nG,x,\n",
    )
    with pytest.raises(CohortError) as error:
        read_cohort(path)
    message = str(error.value)
    for words in (
        "patient A has two diagnoses: x, y",
        "“A”, “a” differ by case or blanks only",
        "1.png is given twice, for patient A, B",
        "patient C has no diagnosis",
        "empty.png is empty",
        "text.png is not an image",
        "missing.png does not exist",
        "patient G: there is no image",
    ):
        assert words in message


def test_bad_images_are_left_out_where_that_is_wished_but_contradictions_are_not(picture):
    folder = picture("1.png", "2.png")
    (folder / "bad.png").write_bytes(b"")
    rows = "patient,diagnosis,image\nA,x,1.png\nA,x,bad.png\nB,y,bad.png\nC,y,2.png\n"
    path = table(folder, rows)
    cohort = read_cohort(path, skip_bad=True)
    assert [p.patient_id for p in cohort.patients] == ["A", "C"]
    table(folder, rows + "A,y,2.png\n")
    with pytest.raises(CohortError, match="two diagnoses"):
        read_cohort(path, skip_bad=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no row below a header"),
        ("patient,diagnosis,image\n", "no row below a header"),
        ("who,diagnosis,image\nA,x,1.png\n", "no column patient"),
        ("patient,image\nA,1.png\n", "no column diagnosis"),
        ("patient,diagnosis,image\nA,x\n", "row 2: 2 fields"),
        ("patient,patient,diagnosis,image\nA,A,x,1.png\n", "two columns"),
    ],
)
def test_broken_tables_are_refused_in_words(tmp_path, text, words):
    with pytest.raises(CohortError, match=words):
        read_cohort(table(tmp_path, text))


def test_hostile_places_are_refused(tmp_path):
    with pytest.raises(CohortError, match="does not exist"):
        read_cohort(tmp_path / "nothing.csv")
    with pytest.raises(CohortError, match="no folders"):
        read_cohort(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(CohortError, match="no images"):
        read_cohort(tmp_path)
    binary = tmp_path / "table.csv"
    binary.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(CohortError, match="no text"):
        read_cohort(binary)


def test_a_cohort_made_in_python_is_checked_too():
    with pytest.raises(CohortError, match="no patients"):
        Cohort(())
    twice = (Patient("A", "x", ()), Patient("A", "y", ()))
    with pytest.raises(CohortError, match="two patients of one id: A"):
        Cohort(twice)


def test_pixel_sizes_are_read_image_by_image(picture):
    root = picture("a.png", "b.png", "c.png")
    table = root / "t.csv"
    table.write_text(
        "patient,diagnosis,image,Microns per pixel\nP,x,a.png,0.25\nP,x,b.png,\nQ,y,c.png,0.5\n"
    )
    cohort = read_cohort(table)
    assert cohort.covariates == ()
    assert [
        {image.name: size for image, size in patient.pixel_sizes.items()}
        for patient in cohort.patients
    ] == [{"a.png": 0.25}, {"c.png": 0.5}]
    cohort.image_table(root).to_csv(root / "again.csv", index=False)
    again = read_cohort(root / "again.csv")
    assert [p.pixel_sizes for p in again.patients] == [p.pixel_sizes for p in cohort.patients]
    for wrong in ("zero", "0", "-1", "nan", "inf"):
        table.write_text(f"patient,diagnosis,image,mpp\nP,x,a.png,{wrong}\n")
        with pytest.raises(CohortError, match=f"gives {wrong} as a pixel size"):
            read_cohort(table)
