"""Large images without a pyramid, in the window: shown at once, their small levels as they come."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import napari
import numpy as np
import pytest
import tifffile
from window_actions import until

from napari_cytosae.slides import Slide
from napari_cytosae.slides import virtual as virtual_levels
from napari_cytosae.slides.virtual import reduce
from napari_cytosae.viewer import level_making
from napari_cytosae.viewer.open_slide import open_in
from napari_cytosae.viewer.slide_layers import SLIDE_KEY, slide_layer

pytestmark = pytest.mark.gui


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image of 1500 × 2000 px, and a package that takes it for a large one."""
    monkeypatch.setattr(virtual_levels, "_TOO_LARGE_PX", 1 << 18)
    monkeypatch.setattr(virtual_levels, "_SMALL_PX", 1 << 16)
    monkeypatch.setattr("napari_cytosae.slides.tiffs.FIELD_PX", 1 << 18)
    monkeypatch.setattr(level_making, "_SECONDS", 0.0)
    image = np.random.default_rng(0).integers(100, 200, (1500, 2000, 3), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "scan.tif", image, tile=(256, 256), photometric="rgb", compression="zlib"
    )
    return tmp_path / "scan.tif"


def test_levels_and_thumbnail_come_while_the_layer_is_shown(
    viewer: napari.Viewer, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threading.Event()
    begin = Slide.make_levels
    monkeypatch.setattr(
        Slide, "make_levels", lambda self: iter(begin(self) if made.wait(30) else ())
    )
    open_in(viewer, scan)
    (layer,) = viewer.layers
    slide = layer.metadata[SLIDE_KEY]
    assert len(layer.data) == 3
    assert (layer.thumbnail[..., :3] == 255).any()
    made.set()
    until(lambda: slide.levels_made and not level_making._under_way)
    assert layer.thumbnail[..., :3].max() < 255
    assert layer.get_value((700, 900))[1].max() < 255  # on the level that is on show
    expected = reduce(reduce(tifffile.imread(scan)))
    np.testing.assert_array_equal(np.asarray(layer.data[2]), expected)


def test_a_level_is_blank_and_not_waited_for_before_it_is_made(
    viewer: napari.Viewer, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level_making.JobRunner, "start", lambda *_: None)  # nobody makes them
    levels, _, _ = slide_layer(Slide.open(scan))
    assert (levels[1][:] == 255).all()
    assert (levels[0][:100, :100] < 255).all()
    for making in list(level_making._under_way.values()):
        making._end()


def test_removing_the_layer_ends_the_work(
    viewer: napari.Viewer, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: Slide) -> Iterator[float]:
        while True:
            time.sleep(0.05)
            yield 0.5

    monkeypatch.setattr(Slide, "make_levels", endless)
    open_in(viewer, scan)
    (work,) = level_making._under_way.values()
    until(lambda: work._shown, 20)
    viewer.layers.clear()
    until(lambda: not level_making._under_way, 20)
    assert work._slide is None


def test_grey_values_of_16_bits_get_their_contrast_without_waiting(
    viewer: napari.Viewer, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tifffile.imread(scan)[..., 0].astype(np.uint16) * 16
    tifffile.imwrite(scan, deep, tile=(256, 256), compression="zlib")
    slide = Slide.open(scan)
    monkeypatch.setattr(level_making.JobRunner, "start", lambda *_: None)
    _, settings, _ = slide_layer(slide)
    assert settings["contrast_limits"] == (0.0, 4095.0)
    assert not slide.levels_made
    for making in list(level_making._under_way.values()):
        making._end()


def test_without_a_window_levels_are_waited_for(scan: Path, tmp_path: Path) -> None:
    code = f"""
import numpy as np
from napari_cytosae.slides import virtual, tiffs
virtual._TOO_LARGE_PX, virtual._SMALL_PX, tiffs.FIELD_PX = 1 << 18, 1 << 16, 1 << 18
from napari_cytosae.viewer.reader import get_reader
from napari_cytosae.viewer.slide_layers import layers_of, open_slides
((levels, settings, _),) = layers_of(open_slides({str(scan)!r}))
print(int(np.asarray(levels[-1]).max()))
"""
    environment = os.environ | {"NAPARI_CYTOSAE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 255
