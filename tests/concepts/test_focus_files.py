"""Lists of concepts to focus on come from files of several kinds, and from nothing else."""

import numpy as np
import pytest

from napari_cytosae.concepts import read_focus
from napari_cytosae.concepts.focus import concept_ids_of, focus_text
from napari_cytosae.errors import FocusError


@pytest.mark.parametrize(
    "text",
    [
        "3\n1\n40\n",
        "concept_id\n3\n1\n40",
        "# worth showing\n3  # nucleus\n\n1\r\n40\r\n",
        'name,concept_id\nnucleus,3\n"lilac, pale",1\n,40\n',
        "name;concept_id\nnucleus;3\npale;1\n;40\n",
        "concept_id\tname\n3\tx\n1\ty\n40\tz\n",
        "\ufeffconcept_id\n3\n1\n40\n",
        "3,\n1,\n40,\n".replace(",", ""),
    ],
)
def test_text_files(tmp_path, text):
    path = tmp_path / "focus.csv"
    path.write_text(text, encoding="utf-8")
    assert read_focus(path).tolist() == [3, 1, 40]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "focus.npy", np.array([3, 1, 40], dtype))
    assert read_focus(tmp_path / "focus.npy").tolist() == [3, 1, 40]


def test_what_a_run_writes_is_read_back(tmp_path):
    ids = np.array([0, 7, 49_151])
    (tmp_path / "focus.csv").write_text(focus_text(ids))
    np.testing.assert_array_equal(read_focus(tmp_path / "focus.csv"), ids)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"label,name\n1,x\n", "'label, name'.*concept_id"),
        ("a.csv", b"1,2\n3,4\n", "several columns"),
        ("a.csv", b"1\n-2\n", "'-2' is no concept id"),
        ("a.csv", b"1\n2.5\n", "2.5"),
        ("a.csv", b"concept_id,name\n1,x\n,y\n", "'' is no concept id"),
        ("a.csv", b"1\n99999999999999999999\n", "is no concept id"),
        ("a.csv", b"\xff\xfe\x00\x81", "no list of concept ids"),
        ("a.npy", b"", "no list of concept ids"),
        ("a.npy", b"\x93NUMPY\x01", "no list of concept ids"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FocusError, match=rf"(?s){name}.*{says}"):
        read_focus(tmp_path / name)


def test_pickled_floating_and_flat_arrays_are_refused(tmp_path):
    for values in (np.array([1.0]), np.array([[1]]), np.array([{}], object)):
        np.save(tmp_path / "a.npy", values, allow_pickle=True)
        with pytest.raises(FocusError, match=r"a\.npy"):
            read_focus(tmp_path / "a.npy")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FocusError, match="cannot be read"):
        read_focus(tmp_path / "none.csv")
    with pytest.raises(FocusError, match="cannot be read"):
        read_focus(tmp_path)


def test_an_atlass_focus_stands_for_its_ids():
    class Focus:
        concept_ids = np.array([4, 5])

    assert concept_ids_of(Focus()).tolist() == [4, 5]
    assert concept_ids_of(range(3)).tolist() == [0, 1, 2]
