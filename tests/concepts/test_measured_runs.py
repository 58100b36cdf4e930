"""Measures stand in the table of a run, survive stops and damage, and leave it when not wanted."""

import anndata
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_cytosae.cells.compartments import COMPARTMENTS, POINTS_PER_PATCH
from napari_cytosae.cells.morphology import MORPHOLOGY, measure_morphology
from napari_cytosae.cells.survey import survey_slide
from napari_cytosae.concepts import analyze, open_run
from napari_cytosae.concepts.measure_files import ShardMeasures, with_morphology
from napari_cytosae.errors import Cancelled, RunError
from napari_cytosae.export import cell_table
from napari_cytosae.slides import Slide, sample_smear


@pytest.fixture(scope="module")
def smear():
    return sample_smear(seed=3, shape=(640, 640))


@pytest.fixture(scope="module")
def slide(smear):
    return Slide.from_array(smear.image, microns_per_pixel=0.1)


@pytest.fixture(scope="module")
def finished(slide, bundle, tmp_path_factory):
    return analyze(slide, bundle, out=tmp_path_factory.mktemp("runs") / "x.cytosae", device="cpu")


@pytest.fixture
def job(slide, bundle, tmp_path):
    return {"image": slide, "bundle": bundle, "out": tmp_path / "x.cytosae", "device": "cpu"}


def test_the_table_and_the_profiles_carry_the_measures(finished, slide):
    run = open_run(finished.path)
    survey = survey_slide(slide)
    expected = measure_morphology(
        slide, run.table, run.labels, run.nuclei, survey.reference, 0.1
    ).dropna(axis=1, how="all")
    assert {"nc_ratio", "basophilia", "lobes", "area_um2"} <= set(expected)
    assert_allclose(run.table[list(expected)], expected)
    obs = anndata.read_h5ad(run.path / "cells.h5ad").obs
    assert_allclose(obs[list(expected)].astype(float), expected)
    exported = cell_table(run)
    assert_allclose(exported["nc_ratio"], expected["nc_ratio"])
    assert exported.columns.is_unique


def test_what_each_patch_shows_is_kept_beside_the_tokens(finished):
    run = open_run(finished.path)
    (measures,) = run.measures()
    assert_array_equal(measures.labels, run.table["label"])
    assert measures.compartment_names == COMPARTMENTS
    assert measures.compartments.shape == (len(run), len(COMPARTMENTS), 16, 16)
    assert measures.compartments.sum(axis=1).max() == POINTS_PER_PATCH
    assert (measures.compartments[:, 0].sum(axis=(1, 2)) > 0).all()  # every cell has a nucleus


def test_a_run_without_measures_says_how_to_get_them(job):
    run = analyze(**job, morphology=False)
    assert not set(MORPHOLOGY) & set(run.table)
    with pytest.raises(RunError, match="measure_run"):
        list(run.measures())


def test_a_run_of_an_earlier_version_can_be_measured_later(job, slide, finished):
    from napari_cytosae.concepts import measure_run

    run = analyze(**job, morphology=False)
    measured = measure_run(run, slide)
    assert_array_equal(
        measured.table["nc_ratio"].to_numpy(), open_run(finished.path).table["nc_ratio"].to_numpy()
    )
    assert "nc_ratio" in anndata.read_h5ad(run.path / "cells.h5ad").obs
    assert len(list(measured.measures())) == 1
    # What is there is not measured again.
    before = (run.path / "measures" / "shard-000000.npz").stat().st_mtime_ns
    measure_run(measured, slide)
    assert (run.path / "measures" / "shard-000000.npz").stat().st_mtime_ns == before


def test_stopped_while_measuring_a_run_goes_on_and_ends_the_same(job, finished, monkeypatch):
    import napari_cytosae.concepts.encode_work as encode_work

    stages = []

    def stop_in_measuring():
        return "measure" in stages

    with pytest.raises(Cancelled):
        analyze(**job, progress=lambda step: stages.append(step.stage), cancelled=stop_in_measuring)
    assert open_run(job["out"]).unfinished
    monkeypatch.setattr(encode_work, "encode_crops", None)  # nothing is left to be encoded

    def no_model(*arguments, **options):
        yield from ()

    monkeypatch.setattr(encode_work, "encode_crops", no_model)
    run = analyze(**job)
    assert not run.unfinished
    for name in ("cells.csv",):
        assert (run.path / name).read_bytes() == (finished.path / name).read_bytes()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 broken", None])
def test_damaged_measures_are_named_and_made_anew(job, damage):
    run = analyze(**job)
    path = run.path / "measures" / "shard-000000.npz"
    intact = ShardMeasures.read(path)
    if damage is None:
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.write_bytes(damage)
    with pytest.raises(RunError, match=r"shard-000000\.npz"):
        list(open_run(run.path).measures())
    analyze(**job, threshold=0.3)  # goes through the run once more
    (again,) = open_run(run.path).measures()
    assert_array_equal(again.compartments, intact.compartments)


def test_a_persons_own_columns_are_kept():
    table = pd.DataFrame({"label": [1, 2], "lobes": ["two", "three"]})
    shard = ShardMeasures(
        np.array([1, 2]),
        np.array([[2.0, 0.4, np.nan], [3.0, 0.5, np.nan]]),
        ("lobes", "nc_ratio", "vacuoles"),
        np.zeros((2, 1, 16, 16), np.uint8),
        ("nucleus",),
    )
    found = with_morphology(table, [shard])
    assert list(found) == ["label", "lobes", "nc_ratio"]
    assert found["lobes"].to_list() == ["two", "three"]


def test_an_image_without_cells_is_measured_as_well(bundle, tmp_path):
    image = np.full((90, 120, 3), 240, np.uint8)
    run = analyze(image, bundle, out=tmp_path / "x.cytosae", device="cpu")
    assert list(run.measures()) == []
    assert len(run.table) == 0


def test_a_fluorescent_image_is_measured_by_shape_alone(bundle, tmp_path):
    rng = np.random.default_rng(0)
    image = np.zeros((160, 160), np.uint8)
    labels = np.zeros((160, 160), np.int32)
    labels[40:90, 50:100] = 3
    image[labels > 0] = 200
    image += rng.integers(0, 9, image.shape, dtype=np.uint8)
    run = analyze(
        image, bundle, labels, tmp_path / "x.cytosae", microns_per_pixel=0.2, device="cpu"
    )
    assert run.table["area_um2"].iloc[0] == pytest.approx(2500 * 0.04)
    assert "basophilia" not in run.table
