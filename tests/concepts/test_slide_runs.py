"""Runs of slides: looked through tile by tile while their cells are encoded."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_cytosae.cells import PaintedLabels, cells_from_boxes, detect_cells
from napari_cytosae.cells import survey as survey_module
from napari_cytosae.cells.region import Region
from napari_cytosae.concepts import (
    AnalysisJob,
    CellsFound,
    EncodedBatch,
    MoreCells,
    Progress,
    Run,
    analysis,
    analyze,
    analyze_steps,
    durable,
    label_writer,
    open_run,
    shard_plan,
)
from napari_cytosae.concepts.label_writer import LabelWriter
from napari_cytosae.concepts.shard_plan import LABEL_STEP, label_step
from napari_cytosae.concepts.stored_labels import StoredLabels
from napari_cytosae.errors import Cancelled, OtherRunError, RunError, UnreachableImageError
from napari_cytosae.slides import Slide, sample_smear

MICRONS_PER_PIXEL = 0.13
TILE_PX = 400


@pytest.fixture(scope="module")
def pixels():
    return np.ascontiguousarray(sample_smear(seed=12).image[:800, :1200])


@pytest.fixture(autouse=True)
def small_slides(monkeypatch):
    """Take any image for a slide, in small tiles and shards."""
    monkeypatch.setattr(survey_module, "FIELD_PX", 1000)
    monkeypatch.setattr(analysis, "tile_side", lambda survey: TILE_PX)
    monkeypatch.setattr(analysis, "SHARD_CELLS", 2)


class Level:
    """An array in tiles of 100 px, of which some may be damaged, or all be gone."""

    chunk_shape = (100, 100)

    def __init__(self, pixels, damaged=(), gone=lambda: False):
        self.pixels, self.damaged, self.gone = pixels, damaged, gone
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, key):
        if self.gone():
            raise OSError(5, "Input/output error")
        rows, columns = key[0], key[1]
        for row, column in self.damaged:
            y, x = 100 * row, 100 * column
            if (
                rows.start < y + 100
                and y < rows.stop
                and columns.start < x + 100
                and x < columns.stop
            ):
                raise ValueError("broken tile")
        return self.pixels[key]


def slide_of(pixels, **settings):
    return Slide.from_levels([Level(pixels, **settings)], microns_per_pixel=MICRONS_PER_PIXEL)


@pytest.fixture
def job(pixels, bundle, tmp_path):
    return {
        "image": slide_of(pixels), "bundle": bundle, "out": tmp_path / "x.cytosae",
        "precision": "float32", "device": "cpu", "batch_cells": 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(pixels, bundle, tmp_path_factory):
    """Run of the slide that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey_module, "FIELD_PX", 1000)
        patch.setattr(analysis, "tile_side", lambda survey: TILE_PX)
        patch.setattr(analysis, "SHARD_CELLS", 2)
        return analyze(
            slide_of(pixels), bundle, out=tmp_path_factory.mktemp("whole") / "whole.cytosae",
            precision="float32", device="cpu", batch_cells=2,
        )  # fmt: skip


def content(run: Run) -> dict[str, bytes]:
    """What must be the same bits whatever happened on the way."""
    files = [*run.path.glob("tokens/*"), run.path / "cells.csv"]
    files += [
        path for name in ("labels", "nuclei") for path in run.path.glob(f"{name}.zarr/*/c/*/*")
    ]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def assert_same_run(one: Run, other: Run) -> None:
    mine, theirs = content(one), content(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    for layer in (None, "max", "count"):
        a, b = (run.adata.X if layer is None else run.adata.layers[layer] for run in (one, other))
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(a, part), getattr(b, part))
    pd.testing.assert_frame_equal(one.adata.obs, other.adata.obs)
    pd.testing.assert_frame_equal(one.adata.var, other.adata.var)
    for mine_top, their_top in zip(one.top_concepts(3), other.top_concepts(3), strict=True):
        np.testing.assert_array_equal(mine_top, their_top)
    leftovers = [*one.path.rglob("*.part"), *one.path.rglob("*.partial"), *one.path.glob("tiles")]
    assert leftovers == []
    assert not one.unfinished


def test_a_slide_run_holds_the_cells_that_detection_finds(whole, pixels):
    assert not whole.unfinished
    assert whole.manifest.as_dict()["format_version"] == 2
    assert whole.encoded.all()
    found = detect_cells(slide_of(pixels), tile_px=5000)
    assert len(whole) == len(found) > 4
    labels = whole.table["label"].to_numpy()
    assert (np.diff(labels) > 0).all()
    tiles = whole.table.assign(
        row=whole.table["centroid_y"] // TILE_PX, column=whole.table["centroid_x"] // TILE_PX
    )
    number = labels // LABEL_STEP
    # By its nucleus a cell may belong to the tile beside the one that has most of it.
    assert (number == tiles["row"] * 3 + tiles["column"]).mean() > 0.6
    columns = ["centroid_y", "centroid_x", "area_px", "nucleus_area_px"]
    mine = whole.table[columns].sort_values(columns).to_numpy()
    theirs = found.table[columns].sort_values(columns).to_numpy()
    np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in ((whole.labels, found.labels), (whole.nuclei, found.nuclei)):
        np.testing.assert_array_equal(np.asarray(mine) > 0, np.asarray(theirs) > 0)
    for cell in whole.table.itertuples():
        assert whole.labels[int(cell.centroid_y), int(cell.centroid_x)] == cell.label


def test_labels_fit_32_bits_however_many_tiles_a_slide_has(job, whole, monkeypatch):
    assert label_step((200_000, 100_000), 1024) == LABEL_STEP
    for shape in ((140_000, 160_000), (151_000, 150_000), (500_000, 450_000), (3_000_000, 900_000)):
        n_tiles = -(-shape[0] // 1024) * -(-shape[1] // 1024)
        step = label_step(shape, 1024)
        assert n_tiles * step < 2**31
        assert step == LABEL_STEP or n_tiles * step * 10 >= 2**31
    monkeypatch.setattr(shard_plan, "_LARGEST_LABEL", 500_000)  # for 6 tiles of 100,000 too few
    run = analyze(**job)
    assert (run.table["label"] // 10_000).tolist() == (whole.table["label"] // LABEL_STEP).tolist()
    assert len(run) == len(whole) > 0
    for one, other in zip(run.table["label"], whole.table["label"], strict=True):
        assert run.active_concepts(one) == whole.active_concepts(other)


def test_windows_of_a_finished_label_image_are_those_of_the_disk(whole, monkeypatch):
    monkeypatch.setattr(label_writer, "CHUNK_PX", 128)
    path = whole.path.with_name("chunks.zarr")
    labels = np.random.default_rng(0).integers(1, 9, (500, 700)).astype(np.int32)
    LabelWriter(path, labels.shape).paint_image(labels)
    kept, plain = StoredLabels(path, final=True), StoredLabels(path)
    assert kept.levels[0].chunks == (128, 128)
    rng = np.random.default_rng(1)
    for _ in range(200):
        (y0, y1), (x0, x1) = (sorted(rng.integers(-50, size + 99, 2)) for size in labels.shape)
        for each in (kept, plain):
            np.testing.assert_array_equal(each[y0:y1, x0:x1], labels[y0:y1, x0:x1])
    for key in ((3, 5), (slice(None, None, 3), 7), slice(9), (slice(5, 5), slice(3))):
        np.testing.assert_array_equal(kept[key], labels[key])
    assert 0 < len(kept._kept) <= 16


def test_cells_are_found_batches_come_meanwhile_and_the_run_last(job, whole):
    steps = list(analyze_steps(AnalysisJob(**job)))
    assert sum(isinstance(step, CellsFound) for step in steps) == 1
    found = [step for step in steps if isinstance(step, MoreCells)]
    assert len(found) == 6  # tiles
    assert sum(len(step.table) for step in found) == len(whole)
    encoded = np.concatenate([step.labels for step in steps if isinstance(step, EncodedBatch)])
    assert sorted(encoded) == list(whole.table["label"])
    counts = [step for step in steps if isinstance(step, Progress) and step.stage == "encode"]
    assert counts[-1].done == len(whole)
    assert all(0 <= step.done <= step.total for step in counts)
    assert isinstance(steps[-1], Run)
    assert_same_run(steps[-1], whole)


def test_what_is_in_view_comes_first_and_the_result_is_the_same(job, whole, pixels):
    view = (500, 850, 700, 1100)
    encoded = [
        label
        for step in analyze_steps(AnalysisJob(**job), in_view=lambda: view)
        if isinstance(step, EncodedBatch)
        for label in step.labels
    ]
    tile = 3 * (600 // TILE_PX) + 1000 // TILE_PX
    assert (whole.table["label"] // LABEL_STEP == tile).any()
    assert encoded[0] // LABEL_STEP == tile
    assert encoded != sorted(encoded)
    assert_same_run(open_run(job["out"]), whole)


@pytest.mark.parametrize("n_steps", [2, 3, 6, 9, 14])
def test_a_stopped_search_goes_on_and_ends_with_the_same_bits(job, whole, n_steps):
    steps = analyze_steps(AnalysisJob(**job))
    seen = [next(steps) for _ in range(n_steps)]
    steps.close()
    if not any(isinstance(step, CellsFound) for step in seen):
        assert not job["out"].exists()
        return
    half = open_run(job["out"])
    assert half.unfinished
    assert half.encoded.sum() <= len(half) <= len(whole)
    assert half.labels.shape == whole.labels.shape
    for label in half.table["label"][half.encoded]:
        assert half.active_concepts(label)
    finished = analyze(**job)
    assert_same_run(finished, whole)


def test_an_abandoned_search_frees_the_folder_and_leaves_no_thread(job, whole):
    before = threading.active_count()
    steps = analyze_steps(AnalysisJob(**job))
    for step in steps:
        if isinstance(step, EncodedBatch):
            break
    steps.close()
    assert threading.active_count() == before
    assert_same_run(analyze(**job), whole)


def test_the_same_slide_again_is_reopened_without_search_or_model(job, monkeypatch):
    analyze(**job)

    def forbidden(*_, **__):
        raise AssertionError

    monkeypatch.setattr("napari_cytosae.concepts.tile_search.cells_of_tile", forbidden)
    monkeypatch.setattr("napari_cytosae.models.Bundle.tokens", forbidden)
    assert not analyze(**job).unfinished


def test_a_damaged_tile_costs_its_cells_and_is_reported_by_position(job, whole, pixels):
    hit = whole.table.iloc[len(whole) // 2]
    row, column = int(hit["centroid_y"]) // 100, int(hit["centroid_x"]) // 100
    slide = slide_of(pixels, damaged=[(row, column)])
    run = analyze(**{**job, "image": slide})
    y0, x0 = 100 * row, 100 * column
    boxes = whole.table[["crop_y0", "crop_x0", "crop_y1", "crop_x1"]].to_numpy()
    lost = (
        (boxes[:, 0] < y0 + 100) & (boxes[:, 2] > y0) & (boxes[:, 1] < x0 + 100) & (boxes[:, 3] > x0)
    )  # fmt: skip
    assert 0 < lost.sum() < len(whole)
    assert len(run) == len(whole) - lost.sum()
    np.testing.assert_allclose(
        run.table[["centroid_y", "centroid_x"]],
        whole.table.loc[~lost, ["centroid_y", "centroid_x"]],
        atol=3,  # the stain is measured without the damaged tile
    )
    assert run.problems.to_numpy().tolist() == [[y0, x0, y0 + 100, x0 + 100]]
    assert f"y {y0} … {y0 + 100}, x {x0} … {x0 + 100} px" in run.note
    assert "problems.csv" in run.note
    again = analyze(**{**job, "image": slide, "out": job["out"].with_name("again.cytosae")})
    assert_same_run(again, run)


@pytest.mark.parametrize(("found", "share"), [(False, 0.5), (True, 0.1), (True, 0.5), (True, 0.9)])
def test_a_drive_that_vanishes_ends_the_run_which_goes_on_when_it_is_back(
    job, whole, pixels, tmp_path, found, share
):
    reads: list[int] = []
    most = [10**9]

    def is_gone():
        reads.append(1)
        return len(reads) > most[0]

    slide = slide_of(pixels, gone=is_gone)
    n_before = 0
    for step in analyze_steps(AnalysisJob(**{**job, "image": slide, "out": tmp_path / "x"})):
        if isinstance(step, CellsFound):
            n_before = len(reads)
    assert 0 < n_before < len(reads)
    most[0] = int(n_before + share * (len(reads) - n_before) if found else share * n_before)
    reads.clear()
    slide = slide_of(pixels, gone=is_gone)
    with pytest.raises(UnreachableImageError):
        analyze(**{**job, "image": slide})
    most[0] = 10**9
    # Before the slide has been measured there is nothing to keep.
    assert not job["out"].exists() or open_run(job["out"]).unfinished
    assert job["out"].exists() == found
    run = analyze(**{**job, "image": slide})
    assert_same_run(run, whole)
    assert run.problems.empty


@pytest.mark.parametrize("n_files", [9, 14, 20, 27])
def test_a_full_disk_ends_the_run_which_goes_on_when_there_is_room(
    job, whole, monkeypatch, n_files
):
    fsync = os.fsync
    written: list[int] = []

    def full_disk(descriptor):
        written.append(descriptor)
        if len(written) > n_files:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full_disk)
        with pytest.raises(RunError, match="disk is full"):
            analyze(**job)
    assert not list(job["out"].rglob("*.part"))
    assert_same_run(analyze(**job), whole)


def test_a_region_keeps_its_cells_with_the_labels_they_have_anyway(job, whole):
    region = Region.of([[(100, 200), (100, 900), (500, 1100), (700, 150)]])
    run = analyze(**job, region=region)
    # The nucleus decides; it lies near the cell's centre.
    inside = region.contains(whole.table[["centroid_y", "centroid_x"]].to_numpy())
    assert 0 < len(run) < len(whole)
    assert abs(len(run) - inside.sum()) <= 2
    kept = whole.table[whole.table["label"].isin(run.table["label"])]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), run.table)
    assert set(np.unique(np.asarray(run.labels))) == {0, *run.table["label"]}
    assert run.region.polygons[0].tolist() == region.polygons[0].tolist()
    with pytest.raises(OtherRunError, match="another region"):
        analyze(**job)


def test_a_region_without_cells_is_a_finished_run_that_says_so(job):
    run = analyze(**job, region=Region.of_box(0, 0, 5, 5))
    assert len(run) == 0
    assert not run.unfinished
    assert "this part of" in run.note
    assert run.strengths(3).shape == (0,)
    assert run.top_concepts(3)[0].shape == (0, 3)


def test_known_cells_of_a_slide_keep_their_label_image_on_the_disk(job, pixels):
    boxes = [(y, x, y + 60, x + 50) for y, x in [(20, 30), (400, 700), (700, 1100), (10, 1000)]]
    cells = cells_from_boxes(boxes, pixels.shape[:2], microns_per_pixel=MICRONS_PER_PIXEL)
    assert isinstance(cells.labels, PaintedLabels)
    run = analyze(**{**job, "cells": cells})
    assert (run.path / "labels.zarr").is_dir()
    assert run.nuclei is None
    np.testing.assert_array_equal(np.asarray(run.labels), np.asarray(cells.labels))
    assert run.manifest.as_dict()["format_version"] == 1
    part = analyze(
        **{**job, "cells": cells, "out": job["out"].with_name("part.cytosae")},
        region=Region.of_box(0, 0, 500, 800),
    )
    assert list(part.table["label"]) == [1, 2]
    assert set(np.unique(np.asarray(part.labels))) == {0, 1, 2}


def test_a_damaged_shard_of_a_stopped_search_is_computed_anew(job, whole):
    messages: list[str] = []
    with pytest.raises(Cancelled):
        analyze(
            **job,
            progress=lambda step: messages.append(step.stage),
            cancelled=lambda: messages.count("encode") > 3,
        )
    shard = next(job["out"].glob("tokens/*"))
    shard.write_bytes(shard.read_bytes()[:100])
    run = analyze(**job, progress=lambda step: messages.append(step.message))
    assert_same_run(run, whole)
    assert any(shard.name in message for message in messages)


KILLED = """
import json, os, random, signal, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import numpy as np
from napari_cytosae.cells import survey
from napari_cytosae.concepts import analysis
from napari_cytosae.models import load_bundle
from napari_cytosae.slides import Slide
survey.FIELD_PX, analysis.SHARD_CELLS = 1000, 2
analysis.tile_side = lambda survey: 400
backbone, sae, image, folder = sys.argv[2:6]
bundle = load_bundle(backbone=backbone, sae=sae)
pixels = np.load(image)

# Importing torch anew for each attempt would take longer than all of them.
for line in sys.stdin:
    name, seconds = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if not child:
        analysis.analyze(
            Slide.from_array(pixels, microns_per_pixel=0.13), bundle, out=Path(folder, name),
            precision="float32", device="cpu", batch_cells=2,
        )
        os._exit(0)
    killer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL)) if seconds else None
    if killer:
        killer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if killer:
        killer.cancel()
    print(json.dumps([status, time.monotonic() - began]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded torch")
def test_killed_at_fifty_random_moments_a_slide_run_ends_with_the_same_bits(
    bundle_files, pixels, tmp_path
):
    np.save(tmp_path / "pixels.npy", pixels)
    arguments = [Path(__file__).parent, *bundle_files, tmp_path / "pixels.npy", tmp_path]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip

        def attempt(name: str, seconds: float) -> tuple[int, float]:
            process.stdin.write(json.dumps([name, seconds]) + "\n")
            process.stdin.flush()
            status, took = json.loads(process.stdout.readline())
            return status, took

        status, took = attempt("whole.cytosae", 0)
        assert status == 0
        undisturbed = open_run(tmp_path / "whole.cytosae")
        rng = np.random.default_rng(0)
        kills, folders = 0, 0
        while kills < 50:
            name = f"killed-{folders}.cytosae"
            status, _ = attempt(name, float(rng.uniform(0.01, 0.6 * took)))
            assert status in (0, -signal.SIGKILL)
            kills += status != 0
            if status == 0:
                assert_same_run(open_run(tmp_path / name), undisturbed)
                folders += 1
        assert attempt(name, 0)[0] == 0
        assert_same_run(open_run(tmp_path / name), undisturbed)
        process.stdin.close()
