"""Any number of workers gives the same integers, and a lost worker costs its task only."""

import os
import signal
import threading
import time

import pytest
from extraction_cases import assert_same_bits, settings_for

from napari_cytosae.cohorts import read_cohort
from napari_cytosae.cohorts.baselines import (
    CLASS_TOKENS,
    RANDOM,
    RAW_TOKENS,
    make_baselines,
    read_baselines,
)
from napari_cytosae.cohorts.extraction import dask_workers, extract
from napari_cytosae.cohorts.extraction.on_dask import _content_key
from napari_cytosae.cohorts.extraction.plan import plan_units
from napari_cytosae.errors import Cancelled, CohortError

pytest.importorskip("distributed")
# Clients and clusters leave sockets to the garbage collector when they close.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def here(patients, bundle_files, tmp_path):
    cohort = read_cohort(patients)
    return cohort, extract(cohort, tmp_path / "here", settings_for(bundle_files))


def test_one_worker_and_four_give_the_same_bits(here, bundle_files, tmp_path):
    cohort, expected = here
    for count in (1, 4):
        told = []
        with dask_workers(n_workers=count, threads=1) as workers:
            assert workers.n_workers == count
            assert workers.dashboard.startswith("http://")
            found = extract(
                cohort, tmp_path / f"{count}", settings_for(bundle_files),
                workers=workers, progress=told.append,
            )  # fmt: skip
            assert_same_bits(found, expected)
            again = extract(
                cohort, tmp_path / f"{count}", settings_for(bundle_files), workers=workers
            )
            assert_same_bits(again, expected)
        assert [step.done for step in told] == [0, 1, 2, 3, 4]
        assert told[-1].cells == 14


def test_a_killed_worker_costs_its_task(here, bundle_files, tmp_path):
    cohort, expected = here
    with dask_workers(n_workers=2, threads=1) as workers:
        victims = workers.client.run(os.getpid)

        def kill_one():
            time.sleep(0.3)
            os.kill(next(iter(victims.values())), signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        found = extract(cohort, tmp_path / "killed", settings_for(bundle_files), workers=workers)
        killer.join()
        assert_same_bits(found, expected)


@pytest.mark.usefixtures("short_training")
def test_a_scheduler_that_runs_already_is_used_and_left_alone(here, bundle_files, tmp_path):
    from distributed import Client, LocalCluster

    cohort, expected = here
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        with dask_workers(cluster.scheduler_address) as workers:
            found = extract(cohort, tmp_path / "c", settings_for(bundle_files), workers=workers)
            make_baselines(cohort, tmp_path / "c", settings_for(bundle_files), workers=workers)
        assert_same_bits(found, expected)
        assert set(read_baselines(tmp_path / "c", found)) == {RAW_TOKENS, CLASS_TOKENS, RANDOM}
        with Client(cluster) as client:
            with dask_workers(client=client) as workers:
                found = extract(cohort, tmp_path / "d", settings_for(bundle_files), workers=workers)
            assert_same_bits(found, expected)
            assert client.submit(sum, [1, 2]).result() == 3


def test_failures_are_named_and_a_wish_to_stop_is_heard(patients, bundle_files, tmp_path):
    bad = patients / "AML/patient 1/1.png"
    whole = bad.read_bytes()
    cohort = read_cohort(patients)
    with dask_workers(n_workers=1, threads=1) as workers:
        bad.write_bytes(whole[:60])
        with pytest.raises(CohortError, match="patient patient 1"):
            extract(cohort, tmp_path / "c", settings_for(bundle_files), workers=workers)
        bad.write_bytes(whole)
        with pytest.raises(Cancelled):
            extract(
                cohort, tmp_path / "d", settings_for(bundle_files),
                workers=workers, cancelled=lambda: True,
            )  # fmt: skip
        found = extract(cohort, tmp_path / "c", settings_for(bundle_files), workers=workers)
        assert list(found.patients["n_cells"]) == [3, 5, 2, 4]


def test_workers_that_cannot_be_reached_are_an_error_in_words(monkeypatch):
    with pytest.raises(CohortError, match="cannot be reached"):
        dask_workers("no-protocol://nowhere")
    with pytest.raises(CohortError, match="0 workers"):
        dask_workers(n_workers=0)
    monkeypatch.setattr("napari_cytosae.cohorts.extraction.on_dask.dask_available", lambda: False)
    with pytest.raises(CohortError, match=r"napari-cytosae\[distributed\]"):
        dask_workers()


def test_a_changed_file_is_other_work(patients, bundle_files, tmp_path):
    unit = plan_units(read_cohort(patients), tmp_path, "whole")[0]
    settings = settings_for(bundle_files)
    before = _content_key(unit, settings)
    assert _content_key(unit, settings) == before
    assert _content_key(unit, settings_for(bundle_files, threshold=0.3)) != before
    unit.sources[0].write_bytes(b"other")
    assert _content_key(unit, settings) != before
