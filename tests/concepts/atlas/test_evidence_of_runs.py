"""Evidence of stored runs: built, saved, merged, gone on with, absent, and damaged."""

import numpy as np
import pandas as pd
import pytest

from made_runs import D_SAE, SHARD_CELLS, make_run, measure_made_run
from napari_cytosae.concepts.atlas import Atlas, evidence_counts
from napari_cytosae.concepts.atlas.evidence_sample import MEASURES
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.errors import AtlasError, Cancelled, RunError

SIZES = (41, 8, 30)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three measured runs, with what was measured of them."""
    home = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(home / f"slide-{seed}.cytosae", n, seed, distinct=25)
        for seed, n in enumerate(SIZES, start=1)
    ]
    return [(run, measure_made_run(run, seed)) for seed, run in enumerate(runs)]


@pytest.fixture(scope="module")
def folders(made):
    return [run.path for run, _ in made]


@pytest.fixture(scope="module")
def atlas(folders):
    return Atlas.build(folders, name="made")


def assert_same(first, second):
    """Compare the evidence of two atlases bit for bit."""
    for mine, other in zip(first, second, strict=True):
        assert mine.info.measured_cells == other.info.measured_cells
        for part, names in {
            "where": ("units", "points", "cells", "n_cells"),
            "measured": ("priorities", "sources", "cells", "indptr", "concept_ids", "values"),
            "correlations": ("rho", "p", "q", "cells", "active"),
        }.items():
            for name in (*names, *(("measures",) if part == "measured" else ())):
                np.testing.assert_array_equal(
                    getattr(getattr(mine, part), name),
                    getattr(getattr(other, part), name),
                    err_msg=f"{part}.{name}",
                )
    pd.testing.assert_frame_equal(first.table, second.table)


def test_it_is_that_of_the_dense_activations(made, atlas):
    data = atlas["made"]
    dense = np.concatenate([run.dense for run, _ in made]).astype(np.float64)
    points = np.concatenate([measured.points for _, measured in made]).astype(np.float64)
    points = points.reshape(len(points), 6, 256)
    morphology = np.concatenate([measured.morphology for _, measured in made])
    expected = np.einsum("npk,ncp->kc", dense[:, 1:], points) / 16
    np.testing.assert_array_equal(data.where.activation, expected)
    assert data.where.n_cells == points.any(axis=(1, 2)).sum()
    ranked = np.isfinite(morphology).any(axis=1)
    assert data.info.measured_cells == (ranked | points.any(axis=(1, 2))).sum()
    assert len(data.measured) == ranked.sum()
    # The sample is in the order of hashes; each cell's row holds its own concepts and measures.
    index = {
        (row, cell): place
        for place, (row, cell) in enumerate(
            (row, int(cell))
            for row in range(3)
            for cell in next(
                run.cells for run, _ in made if data.sources.paths[row] == str(run.path.resolve())
            )
        )
    }
    by_path = {str(run.path.resolve()): (run, measured) for run, measured in made}
    runs = [by_path[path] for path in data.sources.paths]
    means = np.concatenate([run.dense.astype(np.float64).mean(axis=1) for run, _ in runs])
    measures = np.concatenate([measured.morphology for _, measured in runs])
    for place in range(len(data.measured)):
        at = index[int(data.measured.sources[place]), int(data.measured.cells[place])]
        entries = slice(*data.measured.indptr[place : place + 2])
        there = np.flatnonzero(means[at])
        np.testing.assert_array_equal(data.measured.concept_ids[entries], there)
        np.testing.assert_array_equal(
            data.measured.values[entries], means[at, there].astype(np.float32)
        )
        np.testing.assert_array_equal(data.measured.measures[place], measures[at])


def test_the_measure_that_goes_with_a_concept_is_found(atlas):
    table = atlas["made"].evidence.measure_table(5)
    assert table["measure"][0] == MEASURES[0]
    assert table["rho"][0] > 0.99
    assert atlas.table["correlates"][5].startswith("cell area ρ 1.00")


def test_it_comes_back_from_disk_and_other_programs_read_it(atlas, tmp_path):
    atlas.save(tmp_path / "a")
    again = Atlas.open(tmp_path / "a")
    assert_same(atlas, again)
    (path,) = (tmp_path / "a").rglob("*-correlations.parquet")
    pairs = pd.read_parquet(path)
    first = pairs[(pairs["concept_id"] == 5) & (pairs["measure"] == MEASURES[0])]
    assert first["rho"].item() > 0.99
    (path,) = (tmp_path / "a").rglob("*-where.parquet")
    where = pd.read_parquet(path)
    np.testing.assert_allclose(
        where.loc[5, [f"share_{name}" for name in ("nucleus", "cell_border")]].astype(float),
        atlas["made"].where.shares[5, [0, 2]],
    )


@pytest.mark.parametrize("size", [2048, 7])
def test_halves_merged_are_the_whole_on_disk_too(folders, tmp_path, monkeypatch, size):
    monkeypatch.setattr(evidence_counts.EvidenceAccumulator.__init__, "__defaults__", (257, size))
    whole = Atlas.build(folders, name="made")
    assert len(whole["made"].measured) == min(size, len(whole["made"].measured))
    for cut in (1, 2):
        first = Atlas.build(folders[:cut], name="made", out=tmp_path / f"{cut}-first")
        second = Atlas.build(folders[cut:], name="made", out=tmp_path / f"{cut}-second")
        assert_same(first.merge(second), whole)
        assert_same(second.merge(first), whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_of_runs_and_threads_does_not_matter(atlas, folders, workers):
    assert_same(Atlas.build(folders[::-1], name="made", workers=workers), atlas)


def test_a_stopped_build_ends_the_same(atlas, folders, tmp_path, monkeypatch):
    from napari_cytosae.concepts.atlas import build

    monkeypatch.setattr(build, "_SAVE_EVERY_SECONDS", 0.0)
    out = tmp_path / "a"
    with pytest.raises(Cancelled):
        Atlas.build(
            folders,
            name="made",
            out=out,
            cancelled=lambda: (out / "atlas.json").exists(),
            workers=1,
        )
    part = Atlas.open(tmp_path / "a")
    assert not part.finished
    assert 0 < part["made"].info.measured_cells < atlas["made"].info.measured_cells
    whole = Atlas.build(folders, name="made", out=tmp_path / "a")
    assert_same(whole, atlas)


# -- absent ---------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path):
    """A run whose cells were not measured."""
    return make_run(tmp_path / "bare.cytosae", 12, 9, distinct=25)


def test_runs_without_measures_have_an_atlas_without_evidence(bare, tmp_path):
    atlas = Atlas.build(bare.path, name="made", out=tmp_path / "a")
    for found in (atlas, Atlas.open(tmp_path / "a")):
        data = found["made"]
        assert data.evidence is None
        assert data.measured is None
        assert data.info.measured_cells == 0
        assert "compartment" not in found.table
        assert "measure_run" in data.info.notes[0]
    assert not list((tmp_path / "a").rglob("*-where.parquet"))


def test_it_can_be_switched_off(folders, tmp_path):
    atlas = Atlas.build(folders, name="made", evidence=False, out=tmp_path / "a")
    assert atlas["made"].evidence is None
    assert atlas["made"].info.notes == ()
    with pytest.raises(AtlasError, match="without evidence"):
        Atlas.build(folders, name="made", out=tmp_path / "a")
    with_it = Atlas.build(folders, name="made", out=tmp_path / "a", overwrite=True)
    assert with_it["made"].evidence is not None


def test_what_was_not_measured_adds_nothing(atlas, bare, folders):
    mixed = Atlas.build([*folders, bare.path], name="made")
    assert "bare.cytosae" in mixed["made"].info.notes[0]
    for name in ("units", "points", "cells"):
        np.testing.assert_array_equal(
            getattr(mixed["made"].where, name), getattr(atlas["made"].where, name)
        )
    halves = atlas.merge(Atlas.build(bare.path, name="made", evidence=False))
    assert_same(halves, mixed)
    assert halves["made"].info.evidence
    assert len(halves["made"]) == sum(SIZES) + 12


def test_a_run_that_is_measured_in_part_adds_its_part(made, tmp_path):
    run = make_run(tmp_path / "part.cytosae", 12, 3, distinct=25)
    measure_made_run(run)
    (run.path / "measures" / "shard-000001.npz").unlink()
    data = Atlas.build(run.path, name="made")["made"]
    assert 0 < data.info.measured_cells <= 12 - SHARD_CELLS
    assert "part.cytosae" in data.info.notes[0]


def test_a_concept_is_asked_of_all_data_sets(atlas, folders, bare):
    bare_one = Atlas.build(bare.path, name="third")
    both = atlas.merge(Atlas.build(folders[1:], name="other")).merge(bare_one)
    where = both.where(5)
    assert where["data_set"].unique().tolist() == ["made", "other"]
    assert where.groupby("data_set")["share"].sum().to_list() == pytest.approx([1, 1])
    assert both.correlates(5)["data_set"].unique().tolist() == ["made", "other"]
    assert bare_one.where(5).empty
    assert bare_one.correlates(5).empty
    with pytest.raises(AtlasError, match="no concept 99"):
        both.where(99)


def test_two_data_sets_side_by_side(atlas, folders, bare):
    other = Atlas.build(folders[1:], name="other")
    third = Atlas.build(bare.path, name="third")
    both = atlas.merge(other).merge(third)
    assert both["third"].evidence is None
    most = both["made"].where.cells
    assert (most >= both["other"].where.cells).all()
    assert both.table["seen"].tolist() == atlas.table["seen"].tolist()


# -- hostile --------------------------------------------------------------------------------------


def write_measures(run, change):
    path = run.path / "measures" / "shard-000000.npz"
    shard = ShardMeasures.read(path)
    values = {name: getattr(shard, name) for name in ShardMeasures.__slots__}
    ShardMeasures(**(values | change(shard))).write(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda shard: {"labels": shard.labels[::-1].copy()},
        lambda shard: {"compartments": np.full_like(shard.compartments, 200)},
    ],
)
def test_measures_of_other_cells_or_of_nonsense_are_named(bare, change):
    measure_made_run(bare)
    write_measures(bare, change)
    with pytest.raises(RunError, match=r"shard-000000\.npz"):
        Atlas.build(bare.path)
    Atlas.build(bare.path, evidence=False)


def test_truncated_measures_are_named(bare):
    measure_made_run(bare)
    path = bare.path / "measures" / "shard-000001.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"shard-000001\.npz"):
        Atlas.build(bare.path)


def test_measures_without_a_single_number_are_no_evidence(bare):
    measure_made_run(bare)
    for index in range(3):
        path = bare.path / "measures" / f"shard-{index:06d}.npz"
        shard = ShardMeasures.read(path)
        ShardMeasures(
            shard.labels,
            np.full_like(shard.morphology, np.nan),
            shard.columns,
            np.zeros_like(shard.compartments),
            shard.compartment_names,
        ).write(path)
    assert Atlas.build(bare.path, name="made")["made"].evidence is None


def test_infinite_measures_count_as_missing(bare):
    measure_made_run(bare)
    write_measures(bare, lambda shard: {"morphology": np.full_like(shard.morphology, np.inf)})
    data = Atlas.build(bare.path, name="made")["made"]
    assert not np.isinf(data.measured.measures).any()


@pytest.mark.parametrize("name", ["where", "measured", "correlations"])
def test_truncated_tables_are_named(atlas, tmp_path, name):
    atlas.save(tmp_path / "a")
    (path,) = (tmp_path / "a").rglob(f"*-{name}.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    again = Atlas.open(tmp_path / "a")
    assert len(again.table) == D_SAE  # what is intact is shown
    with pytest.raises(AtlasError, match=name):
        getattr(again["made"], name)
