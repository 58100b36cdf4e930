"""Slides in the window: opened by the plugin's reader, read lazily, analysed from the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import napari
import npe2
import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtTest import QTest
from window_actions import analysed, click, until, world_of

from napari_cytosae.cells import detect_cells
from napari_cytosae.concepts import Run, analyze
from napari_cytosae.errors import ImageError
from napari_cytosae.slides import SampleSmear, Slide
from napari_cytosae.slides.chunks import ChunkedLevel
from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.open_slide import open_in
from napari_cytosae.viewer.open_window import open_in_napari
from napari_cytosae.viewer.placement import slide_of
from napari_cytosae.viewer.reader import get_reader
from napari_cytosae.viewer.slide_layers import SLIDE_KEY, slide_behind

Open = Callable[..., CytoSAEDock]


def write_smear(path: Path, image: np.ndarray, um: float | None = 0.1, **metadata: object) -> Path:
    """A pyramid of three levels in 64 px tiles."""
    size = {} if um is None else {"PhysicalSizeX": um, "PhysicalSizeY": um}
    how = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(image, subifds=2, metadata={"axes": "YXS"} | size | metadata, **how)
        for step in (2, 4):
            tif.write(image[::step, ::step], subfiletype=1, **how)
    return path


@pytest.fixture
def smear_file(tmp_path: Path, smear: SampleSmear) -> Path:
    return write_smear(tmp_path / "smear.ome.tif", smear.image)


def test_a_slide_becomes_a_lazy_layer_in_microns(smear_file: Path, smear: SampleSmear) -> None:
    reader = get_reader(str(smear_file))
    assert reader is not None
    ((levels, settings, kind),) = reader(str(smear_file))
    assert kind == "image"
    assert [level.shape for level in levels] == [(420, 640, 3), (210, 320, 3), (105, 160, 3)]
    assert settings["name"] == "smear"
    assert settings["scale"] == (0.1, 0.1)
    assert settings["units"] == ("um", "um")
    assert settings["axis_labels"] == ("y", "x")
    assert isinstance(settings["metadata"][SLIDE_KEY], Slide)
    np.testing.assert_array_equal(levels[0][100:120, 30:50], smear.image[100:120, 30:50])


def test_other_files_are_left_to_other_readers(tmp_path: Path, smear: SampleSmear) -> None:
    stack = tmp_path / "stack.ome.tif"
    tifffile.imwrite(stack, np.zeros((5, 40, 60), np.uint8), metadata={"axes": "ZYX"})
    assert get_reader(str(stack)) is None
    text = tmp_path / "words.svs"
    text.write_text("words")
    assert get_reader(str(text)) is None
    (tmp_path / "empty.svs").write_bytes(b"")
    assert get_reader(str(tmp_path / "empty.svs")) is None
    assert get_reader(str(tmp_path / "missing.svs")) is None
    assert get_reader(str(tmp_path)) is None
    zarr.create_array(tmp_path / "stack.zarr", shape=(30, 40, 50), dtype="u1")
    assert get_reader(str(tmp_path / "stack.zarr")) is None
    slide = write_smear(tmp_path / "a.ome.tif", smear.image)
    assert get_reader([str(slide), str(slide)]) is None
    assert get_reader([str(slide)]) is not None


def test_plain_pictures_are_not_claimed(smear_file: Path) -> None:
    patterns = [
        pattern
        for manifest in [npe2.PluginManifest.from_distribution("napari-cytosae")]
        for reader in manifest.contributions.readers or []
        for pattern in reader.filename_patterns
    ]
    assert "*.svs" in patterns
    assert not {"*", "*.tif", "*.tiff", "*.png", "*.jpg"} & set(patterns)


def test_a_damaged_slide_says_what_is_wrong(smear_file: Path) -> None:
    path = smear_file.with_name("smear.svs")
    path.write_bytes(smear_file.read_bytes()[:4000])
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(ImageError, match=r"smear\.svs is (damaged|incomplete)"):
        reader(str(path))


def test_stains_become_a_layer_each(tmp_path: Path) -> None:
    stains = np.random.default_rng(0).integers(0, 3000, (4, 90, 120)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stains, photometric="minisblack",
        metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
    )  # fmt: skip
    layers = get_reader(str(tmp_path / "a.ome.tif"))(str(tmp_path / "a.ome.tif"))
    assert [settings["name"] for _, settings, _ in layers] == [f"a [channel {n}]" for n in range(4)]
    for (data, settings, _), stain in zip(layers, stains, strict=True):
        np.testing.assert_array_equal(data, stain)
        assert settings["contrast_limits"] == (0.0, 4095.0)
        assert settings["blending"] == "additive"
        assert settings["scale"] == (0.25, 0.5)  # pixels that are not square stay so


@pytest.mark.gui
def test_opening_reads_only_what_is_seen(
    viewer: napari.Viewer, smear: SampleSmear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, ...]] = []
    plain = ChunkedLevel.__getitem__

    def noting(level: ChunkedLevel, window: tuple[slice, slice]) -> np.ndarray:
        block = plain(level, window)
        read.append((level.shape[0], block.shape[0]))
        return block

    monkeypatch.setattr(ChunkedLevel, "__getitem__", noting)
    # A picture four times as large as the smear, so that the window never shows all its pixels.
    large = np.tile(smear.image, (4, 4, 1))
    path = write_smear(tmp_path / "large.ome.tif", large)
    (layer,) = viewer.open(path, plugin="napari-cytosae")
    QTest.qWait(300)
    assert layer.multiscale
    assert read
    assert all(of != 1680 for of, _ in read)
    getattr(viewer, "scene", viewer).camera.zoom *= 20  # napari 0.9 moved it
    QTest.qWait(300)
    from_level_0 = [rows for of, rows in read if of == 1680]
    assert from_level_0
    assert max(from_level_0) < 420


@pytest.mark.gui
def test_the_dock_analyses_straight_from_the_file(
    viewer: napari.Viewer, smear_file: Path, smear: SampleSmear, open_dock: Open, tiny_bundle: Path
) -> None:
    (layer,) = viewer.open(smear_file, plugin="napari-cytosae")
    dock = open_dock()
    assert dock.form.pixel.value() == pytest.approx(0.1)
    assert dock.form.pixel_origin.text() == "from the file"
    slide = slide_of(layer, 0.1)
    assert slide.path == smear_file
    assert slide.digest == Slide.open(smear_file).digest
    analysed(dock)
    run = dock.session.results.run
    assert run.path == smear_file.with_name("smear.cytosae")
    assert len(run) > 0
    # The command line knows the same run.
    before = run.adata.X.toarray()
    again = analyze(smear_file, bundle=tiny_bundle, out=run.path)
    np.testing.assert_array_equal(again.adata.X.toarray(), before)


@pytest.mark.gui
def test_a_file_without_a_pixel_size_asks_for_it(
    viewer: napari.Viewer, tmp_path: Path, smear: SampleSmear, open_dock: Open
) -> None:
    viewer.open(write_smear(tmp_path / "a.ome.tif", smear.image, um=None), plugin="napari-cytosae")
    dock = open_dock()
    assert dock.form.pixel.text() == "unknown"
    assert dock.form.pixel_origin.text() == "type it"
    assert "does not say how large" in dock.form.pixel_origin.toolTip()


@pytest.mark.gui
@pytest.mark.parametrize("kind", [da.from_array, np.asarray])
def test_a_pyramid_of_another_reader_works_as_well(
    viewer: napari.Viewer, smear: SampleSmear, open_dock: Open, tmp_path: Path, kind: Callable
) -> None:
    levels = [kind(np.ascontiguousarray(smear.image[::step, ::step])) for step in (1, 2, 4)]
    layer = viewer.add_image(
        levels, rgb=True, multiscale=True, name="other", scale=(0.1, 0.1), units=("um", "um")
    )
    assert slide_behind(layer) is None
    dock = open_dock()
    dock.form.folder.setText(str(tmp_path))
    labels = detect_cells(smear.image, microns_per_pixel=0.1)
    inside = np.argwhere(labels.labels == labels.table["label"].iloc[0])
    click(viewer, world_of(layer, tuple(inside[len(inside) // 2])))
    until(lambda: not dock.jobs.busy)
    assert dock.panel.concepts.rows
    analysed(dock)
    assert len(dock.session.results.run) == len(labels.table)


@pytest.mark.gui
def test_view_opens_a_slide_and_its_run_lazily(
    smear_file: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = analyze(smear_file, bundle=tiny_bundle, out=smear_file.with_name("run.cytosae"))

    def never(_: Slide) -> None:
        raise AssertionError("level 0 was read whole")

    monkeypatch.setattr(Slide, "read", never)
    for path in (smear_file, run.path):
        viewer = open_in_napari(path, block=False)
        layer = viewer.layers["smear"]
        assert layer.multiscale
        np.testing.assert_allclose(layer.scale, 0.1)
        viewer.close()
    assert isinstance(run, Run)


@pytest.mark.gui
def test_an_ome_zarr_folder_is_a_slide_not_a_run(tmp_path: Path, smear: SampleSmear) -> None:
    group = zarr.open_group(tmp_path / "smear.zarr", mode="w", zarr_format=2)
    for number, step in enumerate((1, 2)):
        group.create_array(str(number), data=smear.image[::step, ::step], chunks=(64, 64, 3))
    axes = [{"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}, {"name": "c"}]
    scale = [{"type": "scale", "scale": [0.1, 0.1, 1.0]}]
    datasets = [{"path": str(n), "coordinateTransformations": scale} for n in (0, 1)]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    viewer = open_in_napari(tmp_path / "smear.zarr", block=False)
    assert viewer.layers["smear"].multiscale
    np.testing.assert_allclose(viewer.layers["smear"].scale, 0.1)
    viewer.close()


@pytest.mark.gui
def test_the_menu_opens_any_image_or_says_why_not(
    viewer: napari.Viewer, tmp_path: Path, smear_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.tif"
    shutil.copyfile(smear_file, plain)
    open_in(viewer, plain)
    assert viewer.layers["plain"].multiscale
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0")
    told: list[str] = []
    napari.utils.notifications.notification_manager.notification_ready.connect(
        lambda note: told.append(note.message)
    )
    open_in(viewer, broken)
    assert any("broken.tif is damaged" in message for message in told)


@pytest.mark.gui
def test_every_shared_slide_opens(viewer: napari.Viewer, shared: Path) -> None:
    paths = sorted((shared / "data/slides").iterdir())
    assert len(paths) >= 4
    for path in paths:
        (layer,) = viewer.open(path, plugin="napari-cytosae")
        size = Slide.open(path).microns_per_pixel
        np.testing.assert_allclose(layer.scale, size or 1.0)
        assert str(layer.units[0]) == ("micrometer" if size else "pixel")
        QTest.qWait(50)
        assert layer.thumbnail[..., :3].std() > 3
