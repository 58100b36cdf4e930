"""Pyramidal layers that other readers, or a script, made: analysed like any slide."""

from collections.abc import Callable
from pathlib import Path

import dask.array as da
import napari
import numpy as np
import pytest
import zarr
from window_actions import analysed, click, world_of

from napari_cytosae.cells import survey as survey_module
from napari_cytosae.concepts import analysis
from napari_cytosae.slides import SampleSmear
from napari_cytosae.viewer.main_dock import CytoSAEDock

pytestmark = pytest.mark.gui
Open = Callable[..., CytoSAEDock]


@pytest.fixture(autouse=True)
def small_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any image for a slide, in small tiles."""
    monkeypatch.setattr(survey_module, "FIELD_PX", 300)
    monkeypatch.setattr(analysis, "tile_side", lambda survey: 320)


def as_dask(level: np.ndarray, folder: Path) -> object:
    return da.from_array(level, chunks=(100, 100, *level.shape[2:]))


def as_zarr(level: np.ndarray, folder: Path) -> object:
    path = folder / f"{level.shape[0]}.zarr"
    array = zarr.create_array(path, shape=level.shape, dtype=level.dtype, chunks=(100, 100, 3))
    array[:] = level
    return array


def with_alpha(level: np.ndarray) -> np.ndarray:
    return np.dstack([level, np.full(level.shape[:2], 255, np.uint8)])


def with_16_bits(level: np.ndarray) -> np.ndarray:
    return level.astype(np.uint16) * 257


def with_12_bits(level: np.ndarray) -> np.ndarray:
    return ((level.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)


def as_float(level: np.ndarray) -> np.ndarray:
    return level.astype(np.float32) / 255


def unchanged(level: np.ndarray) -> np.ndarray:
    return level


def pyramid(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels, np.ascontiguousarray(pixels[::2, ::2]), np.ascontiguousarray(pixels[::4, ::4])]


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return {}


@pytest.mark.parametrize(
    ("values", "store"),
    [
        (unchanged, lambda level, folder: level),
        (unchanged, as_dask),
        (unchanged, as_zarr),
        (with_alpha, as_dask),
        (with_16_bits, as_zarr),
        (with_12_bits, as_dask),
        (as_float, as_dask),
    ],
    ids=["numpy", "dask", "zarr", "rgba", "16-bit", "12-bit", "float"],
)
def test_a_layer_of_levels_gives_the_same_cells_whatever_it_is_kept_in(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear, tmp_path: Path, values, store,
    expected: dict[str, np.ndarray],
) -> None:  # fmt: skip
    size = smear.microns_per_pixel
    levels = [store(values(level), tmp_path) for level in pyramid(smear.image)]
    image = viewer.add_image(
        levels, name="theirs", multiscale=True, rgb=True, scale=(size, size), units=("um", "um")
    )
    dock = open_dock()
    dock.form.folder.setText(str(tmp_path))
    analysed(dock)
    results = dock.session.results
    assert results is not None, dock.run_bar.message.text()
    assert results.run.encoded.all()
    centres = results.table[["centroid_y", "centroid_x"]].to_numpy()
    known = expected.setdefault("centres", centres)
    np.testing.assert_allclose(centres, known, atol=1)
    assert len(known) > 3
    row = results.table.iloc[0]
    inside = np.argwhere(np.asarray(results.labels) == row["label"])
    click(viewer, world_of(image, inside[len(inside) // 2]))
    assert dock.session.selected == row["label"]
    assert dock.panel.concepts.rows


def test_a_grey_layer_of_levels_says_that_its_cells_have_to_be_given(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear, tmp_path: Path
) -> None:
    grey = smear.image.mean(axis=2).astype(np.uint16) * 200
    image = viewer.add_image([as_dask(level, tmp_path) for level in pyramid(grey)], name="grey")
    dock = open_dock()
    dock.form.folder.setText(str(tmp_path))
    analysed(dock)
    assert "The image is grey" in dock.run_bar.message.text()
    labels = np.zeros(grey.shape, np.int32)
    labels[100:160, 200:250] = 7
    viewer.add_labels(labels, name="mine")
    dock.form.choose_layer(image)
    dock.form.cells.setCurrentIndex(dock.form.cells.findText("cells in “mine”"))
    analysed(dock)
    assert dock.session.results.run.encoded.tolist() == [True]
    assert dock.session.results.active_concepts(7)


def test_planes_of_colours_are_told_how_to_become_one_image(
    viewer: napari.Viewer, open_dock: Open, smear: SampleSmear
) -> None:
    viewer.add_image(np.moveaxis(smear.image, -1, 0), name="planes", rgb=False)
    dock = open_dock()
    dock.run_bar.run.click()
    assert "red, green and blue" in dock.run_bar.message.text()
    assert not dock.jobs.busy
