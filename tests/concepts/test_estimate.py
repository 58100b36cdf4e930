"""What an analysis would find and cost, told beforehand and compared with what it does."""

import shutil
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from napari_cytosae.cells import count, detect_cells
from napari_cytosae.cells import survey as survey_module
from napari_cytosae.concepts import AnalysisJob, Progress, analysis, analyze
from napari_cytosae.concepts.estimate import Estimate, check_room, in_words, together
from napari_cytosae.concepts.trial import estimate_analysis
from napari_cytosae.errors import Cancelled, CellsError, RunError
from napari_cytosae.slides import Slide, sample_smear


@pytest.fixture(scope="module")
def slide():
    pixels = np.ascontiguousarray(sample_smear(seed=12).image[:800, :1200])
    return Slide.from_levels([pixels, pixels[::4, ::4]], microns_per_pixel=0.13)


@pytest.fixture
def slides(monkeypatch):
    """Take any image for a slide, in small tiles."""
    monkeypatch.setattr(survey_module, "FIELD_PX", 1000)
    monkeypatch.setattr(analysis, "tile_side", lambda survey: 400)
    monkeypatch.setattr(count, "tile_side", lambda survey: 400)
    monkeypatch.setattr(analysis, "SHARD_CELLS", 2)


@pytest.fixture
def job(slide, bundle, tmp_path):
    return AnalysisJob(
        slide, bundle, out=tmp_path / "x.cytosae", precision="float32", device="cpu", batch_cells=2
    )


def estimated(job, cancelled=lambda: False):
    steps, told = estimate_analysis(job, cancelled), []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            assert all(isinstance(step, Progress) for step in told)
            return end.value


@pytest.mark.usefixtures("slides")
def test_the_estimate_of_a_slide_is_about_what_its_run_takes(job, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    estimate = estimated(job)
    assert not job.out.exists()
    assert list((tmp_path / "scratch").iterdir()) == []
    run = analyze(job.image, job.bundle, out=job.out, precision="float32", batch_cells=2)
    assert estimate.exact
    assert estimate.cells == len(run) > 4
    n_bytes = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    assert n_bytes / 3 < estimate.n_bytes < 3 * n_bytes
    assert 0 < estimate.seconds_low <= estimate.seconds <= estimate.seconds_high
    assert estimate.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


@pytest.mark.parametrize("cells", ["detect", "given", "whole"])
def test_cells_of_a_field_and_known_ones_are_counted(job, slide, cells):
    found = detect_cells(slide)
    wanted = {"detect": "detect", "given": found, "whole": "whole"}[cells]
    estimate = estimated(replace(job, cells=wanted))
    assert estimate.exact
    assert estimate.cells == (1 if cells == "whole" else len(found))
    assert estimate.n_bytes > 0


def test_an_image_without_cells_is_no_error(job):
    glass = Slide.from_array(np.full((300, 400, 3), 240, np.uint8), microns_per_pixel=0.2)
    estimate = estimated(replace(job, image=glass))
    assert estimate.cells == estimate.n_bytes == 0
    assert in_words(estimate).startswith("no cells")


def test_what_would_stop_the_analysis_stops_the_estimate(job):
    dark = np.zeros((300, 400, 3), np.uint8)
    dark[100:120, 100:120] = (90, 10, 200)
    with pytest.raises(CellsError):
        estimated(replace(job, image=Slide.from_array(dark)))
    with pytest.raises(Cancelled):
        estimated(job, cancelled=lambda: True)


def made(**settings):
    numbers = {
        "cells": 12_345, "cells_low": 10_871, "cells_high": 13_921, "seconds": 540.0,
        "seconds_low": 400.0, "seconds_high": 660.0, "n_bytes": 412_345_678,
        "n_bytes_high": 460_000_000, "free_bytes": 10**12,
    }  # fmt: skip
    return Estimate(**numbers | settings)


def test_an_estimate_is_said_without_digits_that_mean_nothing():
    assert in_words(made()) == "about 12,000 cells (11,000 to 14,000), 9 min (up to 11 min), 410 MB"
    exact = made(cells=1, cells_low=1, cells_high=1, seconds=0.2, seconds_high=0.3, n_bytes=9)
    assert in_words(exact) == "1 cell, 1 s, under 1 MB"
    none = made(cells=0, cells_low=0, cells_high=31, n_bytes=1)
    assert in_words(none).startswith("no cells in the sample, at most 31")
    assert in_words(made(n_bytes=12_600_000_000)).endswith("13 GB")


def test_a_disk_that_is_too_small_is_told_before_the_run(tmp_path):
    check_room(made(), tmp_path)
    with pytest.raises(RunError, match=r"450 MB free, and up to 460 MB are needed"):
        check_room(made(free_bytes=450_000_000), tmp_path)
    both = together([made(free_bytes=800_000_000)] * 2)
    assert both.cells == 24_690
    assert both.free_bytes == 800_000_000
    with pytest.raises(RunError):
        check_room(both, tmp_path)
