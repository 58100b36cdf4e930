"""Reference cells are cut anew from their images, and say why where that is not possible."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cytosae.cells import cells_from_boxes
from napari_cytosae.concepts import Run, analyze
from napari_cytosae.concepts.atlas import DataSet, DataSetInfo, ReferencePictures, References
from napari_cytosae.concepts.atlas.data_set import Counts, Sources
from napari_cytosae.models import Bundle


@pytest.fixture
def run(bundle: Bundle, tmp_path: Path) -> Run:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "field.png")
    boxes = np.array([[20, 20, 60, 60], [100, 200, 150, 260]])
    return analyze(
        tmp_path / "field.png", bundle, cells_from_boxes(boxes, (200, 300)), precision="float32",
        device="cpu",
    )  # fmt: skip


def data_set_of(kind: str, sources: Sources, cells: list[int]) -> DataSet:
    references = References.empty(96, 10)
    for place, cell in enumerate(cells):
        references.values[7, place] = 1.0 - place / 10
        references.cells[7, place] = cell
        references.sources[7, place] = 0 if sources.paths else -1
    info = DataSetInfo("made", kind, d_sae=96, k=10, n_images=2)  # type: ignore[arg-type]
    counts = Counts(np.zeros(96, np.int64), np.zeros(96))
    return DataSet.of(info, counts, references, sources)


def test_cells_of_a_run_come_with_their_crop_and_map(run: Run) -> None:
    image = str(run.slide_path)
    data = data_set_of("runs", Sources(("a",), (str(run.path),), (image,), (2,)), [2, 1])
    with ReferencePictures() as pictures:
        found = list(pictures.of(data, 7))
    assert [each.cell for each in found] == [2, 1]
    assert [each.value for each in found] == [1.0, 0.9]
    for each in found:
        assert not each.missing
        assert each.crop is not None
        assert each.crop.shape[0] == each.crop.shape[1]
        np.testing.assert_array_equal(each.concept_map, run.concept_map(each.cell, 7))
    y0, x0, y1, x1 = run.boxes[0].astype(int)
    whole = np.asarray(Image.open(image))
    inside = slice(max(y0, 0), y1), slice(max(x0, 0), x1)
    expected = whole[inside]
    np.testing.assert_array_equal(
        found[1].crop[-expected.shape[0] :, -expected.shape[1] :], expected
    )


def test_an_image_that_has_gone_is_said_so_and_the_map_still_shows(run: Run) -> None:
    image = Path(run.slide_path or "")
    image.unlink()
    data = data_set_of("runs", Sources(("a",), (str(run.path),), (str(image),), (2,)), [1])
    (found,) = ReferencePictures().of(data, 7)
    assert found.crop is None
    assert "does not exist" in found.missing
    np.testing.assert_array_equal(found.concept_map, run.concept_map(1, 7))


def test_whole_images_are_shown_square(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / "cell.png")
    path = str(tmp_path / "cell.png")
    (found,) = ReferencePictures().of(
        data_set_of("images", Sources(("a",), (path,), (path,), (1,)), [1]), 7
    )
    assert found.crop is not None
    assert found.crop.shape == (60, 60, 3)
    assert found.concept_map is None


def test_published_references_without_their_images_say_so() -> None:
    (found,) = ReferencePictures().of(data_set_of("published", Sources(), [123]), 7)
    assert found.crop is None
    assert "without its images" in found.missing


def test_an_unknown_concept_is_an_error() -> None:
    from napari_cytosae.errors import AtlasError

    with pytest.raises(AtlasError, match="There is no concept 96"):
        list(ReferencePictures().of(data_set_of("published", Sources(), []), 96))
