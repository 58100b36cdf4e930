"""Building from stored runs: right numbers, in any order, from halves, and after a stop."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from made_runs import D_SAE, make_run
from napari_cytosae.concepts.atlas import Atlas, BuildJob, build, build_atlas
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.errors import AtlasError, Cancelled, RunError

SIZES = (9, 4, 13, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four runs, of which the third lies in a folder of its own."""
    home = tmp_path_factory.mktemp("runs")
    return [
        make_run(home / f"class-{seed % 2}" / f"slide-{seed}.cytosae", n_cells, seed)
        for seed, n_cells in enumerate(SIZES, start=1)
    ]


def folders(runs):
    return [run.path for run in runs]


def assert_same(first: Atlas, second: Atlas) -> None:
    """Compare two atlases bit for bit in all that is counted."""
    assert [data.name for data in first] == [data.name for data in second]
    for mine, other in zip(first, second, strict=True):
        for name in ("n_images", "classes", "class_sizes", "labelled_by", "k"):
            assert getattr(mine.info, name) == getattr(other.info, name), name
        for part, names in {
            "counts": ("images", "mass", "mass_units", "patches", "tokens_above"),
            "references": ("values", "sources", "cells", "patches", "labels"),
            "sample": ("priorities", "sources", "cells", "indptr", "concept_ids", "values"),
            "partners": ("concept_ids", "cosines", "shares"),
        }.items():
            for name in names:
                np.testing.assert_array_equal(
                    getattr(getattr(mine, part), name),
                    getattr(getattr(other, part), name),
                    err_msg=f"{part}.{name}",
                )
        assert mine.sources.identities == other.sources.identities
        assert mine.sources.n_cells == other.sources.n_cells
    pd.testing.assert_frame_equal(first.table, second.table)


def test_numbers_are_those_of_the_dense_activations(runs):
    atlas = Atlas.build(folders(runs), name="made", labels="kind", k=3, tissue="blood")
    data = atlas["made"]
    dense = np.concatenate([run.dense for run in runs]).astype(np.float64)
    means = dense.mean(axis=1)
    active = (means > 0).sum(axis=0)
    assert data.info.n_images == sum(SIZES)
    np.testing.assert_allclose(data.frequency, active / sum(SIZES))
    np.testing.assert_allclose(data.mean_activation, means.sum(axis=0) / np.maximum(active, 1))
    assert data.mean_activation[3] == 0
    np.testing.assert_allclose(data.mass_share, means.sum(axis=0) / means.sum())
    np.testing.assert_allclose(data.patch_frequency, (dense[:, 1:] > 0).mean(axis=(0, 1)))
    np.testing.assert_array_equal(data.counts.tokens_above, (dense > 0.2).sum(axis=(0, 1)))
    kinds = np.concatenate([run.kinds for run in runs])
    assert data.info.classes == ("lymphocyte", "neutrophil")
    assert data.info.class_sizes == tuple((kinds == name).sum() for name in data.info.classes)
    for concept in range(D_SAE):
        best = -np.sort(-means[:, concept])[:3]
        np.testing.assert_allclose(data.top(concept)["value"], best[best > 0])


def test_references_name_their_cell_and_patch(runs):
    atlas = Atlas.build(folders(runs), labels="kind", k=4)
    by_path = {str(run.path): run for run in runs}
    top = atlas.top(7)
    assert len(top) == 4
    for row in top.itertuples():
        run = by_path[row.run]
        at = list(run.cells).index(row.cell)
        activations = run.dense[at, :, 7].astype(np.float64)
        assert row.value == pytest.approx(activations.mean())
        assert row.label == run.kinds[at]
        assert activations[1 + 16 * row.patch_row + row.patch_column] == activations[1:].max()
        assert Path(row.image).name.startswith("slide-")
    assert (np.diff(top["value"]) <= 0).all()
    assert atlas.top(3).empty


@pytest.mark.parametrize("parts", [(1, 3), (2, 2), (3, 1)])
def test_halves_merged_are_the_whole(runs, parts):
    whole = Atlas.build(folders(runs), name="made", labels="kind", k=5, sample_cells=8)
    first, second = runs[: parts[0]], runs[parts[0] :]
    halves = [
        Atlas.build(folders(half), name="made", labels="kind", k=5, sample_cells=8)
        for half in (first, second)
    ]
    assert_same(halves[0].merge(halves[1]), whole)
    assert_same(halves[1].merge(halves[0]), whole)


def test_the_order_of_runs_does_not_matter(runs):
    built = Atlas.build(folders(runs), name="made", k=5, labels="kind")
    assert_same(Atlas.build(folders(runs)[::-1], name="made", k=5, labels="kind"), built)


def test_saved_halves_merge_alike(runs, tmp_path):
    halves = []
    for number, half in enumerate((runs[:2], runs[2:])):
        folder = tmp_path / f"half-{number}"
        Atlas.build(folders(half), name="made", labels="kind", out=folder)
        halves.append(Atlas.open(folder))
    whole = Atlas.build(folders(runs), name="made", labels="kind", out=tmp_path / "whole")
    merged = halves[0].merge(halves[1])
    merged.save(tmp_path / "merged")
    assert_same(Atlas.open(tmp_path / "merged"), whole)


def test_several_threads_count_alike(runs):
    alone = Atlas.build(folders(runs), name="made", labels="kind", workers=1)
    assert_same(Atlas.build(folders(runs), name="made", labels="kind", workers=5), alone)


def test_a_stopped_build_goes_on(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_SAVE_EVERY_SECONDS", 0.0)
    asked = iter([False] * 5 + [True] * 100)
    with pytest.raises(Cancelled):
        Atlas.build(
            folders(runs), name="made", labels="kind", out=tmp_path / "a",
            cancelled=lambda: next(asked),
        )  # fmt: skip
    part = Atlas.open(tmp_path / "a")
    assert not part.finished
    assert 0 < part["made"].info.n_images < sum(SIZES)
    assert len(part.table) == D_SAE  # it can be looked at
    counted = []
    whole = Atlas.build(
        folders(runs), name="made", labels="kind", out=tmp_path / "a",
        progress=lambda step: counted.append(step.done) if step.stage == "count" else None,
    )  # fmt: skip
    assert counted[0] == part["made"].info.n_images  # what was counted is not counted again
    assert_same(whole, Atlas.build(folders(runs), name="made", labels="kind"))
    assert whole.finished


def test_a_finished_build_is_reopened_and_takes_in_what_has_come(runs, tmp_path):
    first = Atlas.build(folders(runs[:3]), name="made", out=tmp_path / "a")
    tables = sorted((tmp_path / "a").glob("tables-*"))
    Atlas.build(folders(runs[:3]), name="made", out=tmp_path / "a")
    assert sorted((tmp_path / "a").glob("tables-*")) == tables  # nothing was written
    grown = Atlas.build(folders(runs), name="made", out=tmp_path / "a")
    assert len(grown["made"]) == len(first["made"]) + SIZES[3]
    assert_same(grown, Atlas.build(folders(runs), name="made"))


@pytest.mark.slow
def test_a_killed_build_loses_nothing_that_was_saved(runs, tmp_path):
    code = (
        "import sys, time\n"
        "from napari_cytosae.concepts.atlas import Atlas, build\n"
        "build._SAVE_EVERY_SECONDS = 0.0\n"
        "Atlas.build(sys.argv[2:], name='made', labels='kind', out=sys.argv[1],\n"
        "            progress=lambda step: time.sleep(0.02))\n"
    )
    whole = Atlas.build(folders(runs), name="made", labels="kind")
    for wait_seconds in (0.0, 0.1, 0.25):
        out = tmp_path / f"a-{wait_seconds}"
        arguments = [sys.executable, "-c", code, str(out), *map(str, folders(runs))]
        process = subprocess.Popen(arguments)
        while not (out / "atlas.json").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(wait_seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(Atlas.open(out).table) == D_SAE
        assert_same(Atlas.build(folders(runs), name="made", labels="kind", out=out), whole)
        assert len(list(out.glob("tables-*"))) == 1


def test_a_folder_of_runs_is_searched(runs, tmp_path):
    home = runs[0].path.parent.parent
    assert_same(
        Atlas.build(home, name="made", labels="kind"),
        Atlas.build(folders(runs), name="made", labels="kind"),
    )
    by_folder = Atlas.build(home, labels="folder")
    assert by_folder[home.name].info.classes == ("class-0", "class-1")
    assert by_folder[home.name].info.class_sizes == (SIZES[1] + SIZES[3], SIZES[0] + SIZES[2])


def test_labels_from_a_mapping_and_from_a_table(runs, tmp_path):
    mapping = {runs[0].path.name: "a", f"slide-{2}.png": "b", str(runs[2].path): "c"}
    atlas = Atlas.build(folders(runs), name="made", labels=mapping)
    assert atlas["made"].info.classes == ("a", "b", "c")
    assert atlas["made"].info.class_sizes == SIZES[:3]
    table = tmp_path / "classes.csv"
    rows = [
        {"image": run.path.stem, "cell": cell, "class": kind}
        for run in runs
        for cell, kind in zip(run.cells, run.kinds, strict=True)
    ]
    pd.DataFrame(rows).to_csv(table, index=False)
    by_table = Atlas.build(folders(runs), name="made", labels=table)["made"]
    by_column = Atlas.build(folders(runs), name="made", labels="kind")["made"]
    assert by_table.info.class_sizes == by_column.info.class_sizes
    np.testing.assert_array_equal(by_table.references.labels, by_column.references.labels)


@pytest.mark.parametrize(
    ("content", "words"),
    [("a,b\n1,2\n", "it needs image and class"), ("image,cell,class\nx,one,y\n", "cannot be read")],
)
def test_tables_that_are_none_are_named(tmp_path, content, words):
    file = tmp_path / "classes.csv"
    file.write_text(content)
    with pytest.raises(AtlasError, match=words):
        Labels.of(file)


def test_a_column_that_is_not_there_is_named(runs):
    with pytest.raises(AtlasError, match=r"no column 'king'.*kind"):
        Atlas.build(folders(runs), labels="king")


def test_cells_that_are_there_twice_count_once(runs, tmp_path):
    again = tmp_path / "again.cytosae"
    shutil.copytree(runs[0].path, again)
    atlas = Atlas.build([*folders(runs), again], name="made")
    assert_same(atlas, Atlas.build(folders(runs), name="made"))
    assert "again.cytosae" in atlas["made"].info.notes[0]
    half = Atlas.build([again], name="made")
    with pytest.raises(AtlasError, match="count twice"):
        half.merge(Atlas.build(folders(runs), name="made"))


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    other = make_run(tmp_path / "other.cytosae", 3, 50, bundle="c" * 64)
    with pytest.raises(AtlasError, match="An atlas is of one model"):
        Atlas.build([*folders(runs), other.path])
    unfinished = make_run(tmp_path / "begun.cytosae", 3, 51, state="encoding")
    with pytest.raises(AtlasError, match=r"begun.cytosae is unfinished"):
        Atlas.build([*folders(runs), unfinished.path])


def test_damaged_and_missing_shards_are_named(tmp_path):
    run = make_run(tmp_path / "a.cytosae", 9, 60)
    shard = run.path / "tokens" / "shard-000001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(RunError, match="shard-000001"):
        Atlas.build(run.path)
    shard.unlink()
    with pytest.raises(AtlasError, match="should hold 9 cells, but only 5"):
        Atlas.build(run.path)
    for path in (run.path / "tokens").iterdir():
        path.unlink()
    other = make_run(tmp_path / "b.cytosae", 9, 61)
    with pytest.raises(AtlasError, match=r"a.cytosae should hold 9 cells, but only 0"):
        Atlas.build([run.path, other.path])


def test_runs_without_cells(runs, tmp_path):
    empty = make_run(tmp_path / "empty.cytosae", 0, 70)
    with pytest.raises(AtlasError, match="nothing to count"):
        Atlas.build(empty.path, out=tmp_path / "a")
    with_empty = Atlas.build([*folders(runs), empty.path], name="made")["made"]
    without = Atlas.build(folders(runs), name="made")["made"]
    np.testing.assert_array_equal(with_empty.references.cells, without.references.cells)
    np.testing.assert_array_equal(with_empty.counts.mass_units, without.counts.mass_units)
    assert len(with_empty.sources.identities) == len(without.sources.identities) + 1


def test_another_atlas_in_the_folder_is_left_alone(runs, tmp_path):
    out = tmp_path / "a"
    Atlas.build(folders(runs[:2]), name="made", out=out)
    before = (out / "atlas.json").read_bytes()
    for settings, words in (
        ({"k": 3}, "another k"),
        ({"name": "else"}, "another name"),
        ({"threshold": 0.1}, "another threshold"),
        ({"labels": "kind"}, "another labelled by"),
        ({"sample_cells": 5}, "sample of"),
    ):
        with pytest.raises(AtlasError, match=words):
            Atlas.build(folders(runs), **{"name": "made", "out": out, **settings})
    with pytest.raises(AtlasError, match="other cells"):
        Atlas.build(folders(runs[1:]), name="made", out=out)
    assert (out / "atlas.json").read_bytes() == before
    assert len(Atlas.build(folders(runs[1:]), name="made", out=out, overwrite=True)["made"]) == sum(
        SIZES[1:]
    )


def test_sources_that_are_none_are_named(tmp_path, runs):
    with pytest.raises(AtlasError, match="does not exist"):
        Atlas.build(tmp_path / "nowhere")
    with pytest.raises(AtlasError, match="neither runs nor images"):
        Atlas.build(tmp_path)
    (tmp_path / "image.png").write_bytes(b"")
    with pytest.raises(AtlasError, match="both runs"):
        Atlas.build([*folders(runs), tmp_path / "image.png"])
    for settings in ({"k": 0}, {"workers": 0}, {"sources": ()}, {"threshold": float("nan")}):
        with pytest.raises(AtlasError):
            BuildJob(**{"sources": (tmp_path,), **settings})


def test_a_second_process_is_kept_out(runs, tmp_path):
    from napari_cytosae.concepts.durable import only_process

    (tmp_path / "a").mkdir()
    with only_process(tmp_path / "a"), pytest.raises(RunError, match="is being written"):
        build_atlas(BuildJob(tuple(folders(runs)), out=tmp_path / "a"))
