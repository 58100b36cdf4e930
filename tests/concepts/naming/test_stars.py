"""Stars are kept, and kept apart from one SAE to the next."""

from pathlib import Path

import pytest

from napari_cytosae.concepts.naming import Stars
from napari_cytosae.errors import NamesError


def test_stars_are_there_again(tmp_path: Path) -> None:
    stars = Stars("a" * 64, tmp_path)
    assert stars.toggle(12)
    assert stars.toggle(3)
    assert not stars.toggle(12)
    assert Stars("a" * 64, tmp_path).ids == [3]
    assert not Stars("b" * 64, tmp_path).ids


@pytest.mark.parametrize("content", ["", "[]", '{"concepts": ["x"]}', '{"concepts": 3}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    stars = Stars("a" * 64, tmp_path)
    stars.toggle(1)
    stars.path.write_text(content)
    with pytest.raises(NamesError, match=r"stars\.json cannot be read"):
        Stars("a" * 64, tmp_path)


def test_what_cannot_be_saved_has_not_happened(tmp_path: Path) -> None:
    stars = Stars("a" * 64, tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NamesError):
        stars.toggle(1)
    assert 1 not in stars
