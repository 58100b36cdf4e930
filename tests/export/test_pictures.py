import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from napari_cytosae.concepts import open_run
from napari_cytosae.errors import ImageError
from napari_cytosae.export import export_run, remove_exports, strongest_on_cell, write_pictures
from napari_cytosae.export.canvas import Canvas
from napari_cytosae.export.overview import cell_outline, round_length
from napari_cytosae.export.pictures import patch_maximum, show_cells
from napari_cytosae.slides import Slide


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def pictures(run, slide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    files = write_pictures(run, slide, folder)
    assert [file.name for file in files] == ["overview.png", "concepts.png"]
    return {file.stem: read(file) for file in files}


def test_the_overview_is_the_slide_with_a_line_around_each_cell(pictures, slide, run):
    scale = 1600 / 640
    assert pictures["overview"].shape[1] == 1600
    plain = Image.fromarray(slide.read()).resize((1600, 1050), Image.Resampling.BICUBIC)
    changed = np.abs(pictures["overview"][:1050].astype(int) - np.asarray(plain)).max(axis=2) > 40
    for _, cell in run.table.iterrows():
        inside = run.labels == cell["label"]
        # A line lies in the cell's box, and none in its middle.
        y0, x0, y1, x1 = (int(cell[f"box_{side}"] * scale) for side in ("y0", "x0", "y1", "x1"))
        assert changed[y0:y1, x0:x1].mean() > 0.01
        y, x = np.argwhere(inside).mean(axis=0)
        middle = changed[int(y * scale) - 8 : int(y * scale) + 8, int(x * scale) - 8 :][:, :16]
        assert middle.mean() < 0.2
    in_any_box = np.zeros(changed.shape, bool)
    for _, cell in run.table.iterrows():
        y0, x0, y1, x1 = (int(cell[f"box_{side}"] * scale) for side in ("y0", "x0", "y1", "x1"))
        in_any_box[max(y0 - 60, 0) : y1 + 10, max(x0 - 10, 0) : x1 + 10] = True
    assert not changed[~in_any_box].any()


def test_an_outline_runs_along_the_pixels_of_its_cell_only():
    labels = np.zeros((20, 30), np.int32)
    labels[5:9, 10:16] = 3
    labels[5:9, 16:20] = 4
    (outline,) = cell_outline(labels, 3, np.array([5, 10, 9, 16]))
    assert_array_equal(outline.min(axis=0), [10, 5])
    assert_array_equal(outline.max(axis=0), [16, 9])
    assert_array_equal(outline[0], outline[-1])


@pytest.mark.parametrize(("most", "length"), [(7.3, 5), (23, 20), (10, 10), (0.9, 0.5), (199, 100)])
def test_scale_bars_have_round_lengths(most, length):
    assert round_length(most) == length


def test_the_sheet_shows_each_cell_with_its_four_strongest_concepts(run, slide):
    shown = show_cells(run, slide)
    assert len({cell.label for cell in shown}) == min(8, len(run))
    for cell in shown:
        ranked = [ranked.concept.concept_id for ranked in strongest_on_cell(run, cell.label, 4)]
        assert [concept.concept.concept_id for concept in cell.concepts] == ranked
        for concept in cell.concepts:
            assert_array_equal(
                concept.concept_map, run.concept_map(cell.label, concept.concept.concept_id)
            )


def test_crops_on_the_sheet_are_those_that_the_model_saw(run, slide):
    for cell in show_cells(run, slide):
        row = run.table.index[run.table["label"] == cell.label][0]
        y0, x0, y1, x1 = run.boxes[row].round().astype(int)
        if min(y0, x0) >= 0 and y1 <= slide.shape[0] and x1 <= slide.shape[1]:
            seen = slide.read_region(y0, x0, y1 - y0, x1 - x0)
            assert abs(seen.mean() - cell.crop.mean()) < 1


def test_colour_is_full_at_the_largest_patch_of_the_run(run):
    strongest = run.active_concepts(int(run.table["label"][0]), k=3)
    for concept in strongest:
        maps = run.concept_maps(concept.concept_id)
        assert patch_maximum(run, concept.concept_id) == maps.max()


def test_the_sheet_has_colour_beside_each_crop(pictures):
    sheet = pictures["concepts"].astype(int)
    colourful = (sheet.max(axis=2) - sheet.min(axis=2)) > 60
    assert colourful.mean() > 0.02


def test_an_image_without_cells_still_has_an_overview(empty_run, tmp_path):
    slide = Slide.from_array(np.full((90, 120, 3), 240, np.uint8))
    (overview,) = write_pictures(empty_run, slide, tmp_path)
    assert overview.name == "overview.png"
    assert (read(overview)[:200] == 240).all()


def test_exports_lie_in_the_run_folder_and_leave_the_run_readable(run):
    files = export_run(run)
    assert {file.name for file in files} == {
        "cells.csv", "concepts.csv", "overview.png", "concepts.png",
    }  # fmt: skip
    assert {file.parent for file in files} == {run.path / "export"}
    assert len(open_run(run.path).table) == len(run)
    (run.path / "export" / "mine.txt").write_text("kept")
    remove_exports(run.path)
    assert [file.name for file in (run.path / "export").iterdir()] == ["mine.txt"]


def test_pictures_of_an_array_need_the_array(empty_run):
    with pytest.raises(ImageError, match="in memory"):
        export_run(empty_run)


def test_words_that_do_not_fit_are_cut_with_an_ellipsis(tmp_path):
    for room, reaches in ((None, True), (60, False)):
        canvas = Canvas(400, 40)
        canvas.text("a long name of a concept", 10, 25, 16, room=room)
        canvas.save(tmp_path / "text.png")
        dark = (read(tmp_path / "text.png") < 128).any(axis=(0, 2))
        assert dark[:70].any()
        assert dark[75:].any() == reaches
