"""Atlases on disk: whole or absent, and honest about damage."""

import errno
import json

import numpy as np
import pandas as pd
import pytest

from made_runs import make_run
from napari_cytosae.concepts.atlas import Atlas, folder, parquet
from napari_cytosae.errors import AtlasError, NamesError, RunError


@pytest.fixture
def atlas(tmp_path):
    run = make_run(tmp_path / "runs" / "a.cytosae", 9, 1)
    return Atlas.build(run.path, name="made", labels="kind", k=3)


def test_an_atlas_comes_back_as_it_was(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    again = Atlas.open(tmp_path / "atlas")
    pd.testing.assert_frame_equal(again.table, atlas.table)
    pd.testing.assert_frame_equal(again.top(7), atlas.top(7))
    pd.testing.assert_frame_equal(again.partners(7), atlas.partners(7))
    assert again["made"].info == atlas["made"].info
    assert again.created == atlas.created


def test_other_programs_read_it(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    manifest = json.loads((tmp_path / "atlas" / "atlas.json").read_text())
    tables = tmp_path / "atlas" / manifest["tables"]
    concepts = pd.read_parquet(tables / "concepts.parquet")
    np.testing.assert_allclose(concepts["frequency"], atlas["made"].frequency)
    references = pd.read_parquet(tables / "00-references.parquet")
    mine = references[references["concept_id"] == 7].dropna(subset="value")
    assert list(mine["cell"]) == list(atlas.top(7)["cell"])
    assert list(mine["class"].astype(object).fillna("")) == list(atlas.top(7)["label"])
    counts = pd.read_parquet(tables / "00-counts.parquet")
    np.testing.assert_array_equal(counts["mass_units"], atlas["made"].counts.mass_units)


def test_it_fits_anndata(atlas, tmp_path):
    import anndata

    adata = anndata.AnnData(np.zeros((2, atlas.d_sae), np.float32), var=atlas.var)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    var = anndata.read_h5ad(tmp_path / "cells.h5ad").var
    np.testing.assert_allclose(var["frequency"], atlas.table["frequency"])


def test_it_moves_together_with_its_runs(atlas, tmp_path):
    atlas.save(tmp_path / "runs" / "atlas")
    (tmp_path / "runs").rename(tmp_path / "moved")
    top = Atlas.open(tmp_path / "moved" / "atlas").top(7)
    assert set(top["run"]) == {str(tmp_path / "moved" / "a.cytosae")}


def test_a_save_that_fails_leaves_the_old_atlas(atlas, tmp_path, monkeypatch):
    atlas.save(tmp_path / "atlas")
    before = sorted(path.name for path in (tmp_path / "atlas").rglob("*"))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet.pq, "write_table", full)
    with pytest.raises(RunError, match="disk is full"):
        atlas.save(tmp_path / "atlas")
    monkeypatch.undo()
    monkeypatch.setattr(folder, "write_json_durably", full)
    with pytest.raises(OSError, match="No space"):
        atlas.save(tmp_path / "atlas")
    assert sorted(path.name for path in (tmp_path / "atlas").rglob("*")) == before
    assert len(Atlas.open(tmp_path / "atlas").table) == atlas.d_sae


def test_saving_over_others_is_refused(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    atlas.save(tmp_path / "atlas")  # its own
    other = Atlas([atlas["made"]])
    with pytest.raises(AtlasError, match="holds an atlas"):
        other.save(tmp_path / "atlas")
    other.save(tmp_path / "atlas", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("important")
    with pytest.raises(AtlasError, match="other files"):
        atlas.save(tmp_path / "mine", overwrite=True)
    with pytest.raises(AtlasError, match="is a file"):
        atlas.save(tmp_path / "mine" / "thesis.docx")


def test_an_opened_atlas_can_be_saved_elsewhere_and_over_itself(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    opened = Atlas.open(tmp_path / "atlas")  # nothing of it is read yet
    opened.save(tmp_path / "atlas")
    opened = Atlas.open(tmp_path / "atlas")
    opened.save(tmp_path / "copy")
    pd.testing.assert_frame_equal(Atlas.open(tmp_path / "copy").top(7), atlas.top(7))


@pytest.mark.parametrize(
    "name", ["concepts", "00-counts", "00-references", "00-sources", "00-sample", "00-partners"]
)
def test_truncated_tables_are_named(atlas, tmp_path, name):
    atlas.save(tmp_path / "atlas")
    (file,) = (tmp_path / "atlas").glob(f"tables-*/{name}.parquet")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    def look():
        opened = Atlas.open(tmp_path / "atlas")
        return opened.table, opened.top(7), opened.partners(7), opened["made"].counts

    with pytest.raises(AtlasError, match=rf"{name}.parquet is damaged"):
        look(), Atlas.open(tmp_path / "atlas")["made"].sample


def test_tables_that_do_not_fit_are_named(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    (counts,) = (tmp_path / "atlas").glob("tables-*/00-counts.parquet")
    (references,) = (tmp_path / "atlas").glob("tables-*/00-references.parquet")
    parquet.write_table(parquet.read_table(counts).slice(0, 5), counts)
    parquet.write_table(parquet.read_table(references).drop_columns(["cell"]), references)
    data = Atlas.open(tmp_path / "atlas")["made"]
    with pytest.raises(AtlasError, match="does not fit"):
        _ = data.counts
    with pytest.raises(AtlasError, match=r"00-references\.parquet"):
        _ = data.references


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "{", "cannot be read"),
        (lambda text: "[]", "does not describe"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "version 9"),
        (lambda text: text.replace('"tables": "tables-', '"tables": "../'), "damaged"),
        (lambda text: text.replace('"name"', '"nome"'), "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(atlas, tmp_path, change, words):
    atlas.save(tmp_path / "atlas")
    file = tmp_path / "atlas" / "atlas.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(AtlasError, match=words):
        Atlas.open(tmp_path / "atlas")


def test_what_is_no_atlas_is_named(tmp_path):
    with pytest.raises(AtlasError, match="is no atlas"):
        Atlas.open(tmp_path)
    with pytest.raises(AtlasError, match="is no atlas"):
        Atlas.open(tmp_path / "nowhere")


def test_names_of_the_dictionary_are_shown_searched_and_up_to_date(atlas, tmp_path):
    from napari_cytosae.concepts.naming import Naming

    assert (atlas.table["name"] == "").all()
    dictionary = atlas.dictionary
    dictionary.give(7, Naming(name="Coarse Granules"), author="A. B.")
    assert atlas.table.loc[7, "name"] == "Coarse Granules"
    assert list(atlas.find("granules coarse")) == [7]
    dictionary.suggest({8: Naming(name="lymphocyte")}, "atlas")
    assert atlas.table.loc[8, "name_suggested"]
    assert not atlas.table.loc[7, "name_suggested"]
    atlas.names = {9: "mine"}
    assert list(atlas.find("mine")) == [9]
    assert list(atlas.find("granules")) == []


def test_searching(atlas):
    atlas.names = {1: "Größe", 12: "nucleus, lobed", 13: "lobed"}
    assert list(atlas.find("#1")) == [1, *range(10, 20)]
    assert list(atlas.find("lobed nuc")) == [12]
    assert list(atlas.find("größe")) == [1]
    assert list(atlas.find("  ")) == list(range(40))
    assert list(atlas.find("3")) == [3, *range(30, 40)]
    assert list(atlas.find("#99999999999999999999 007 ²")) == []
    found = atlas.search("lobed")
    assert set(found["concept_id"]) == {12, 13}
    assert found["rank"].is_monotonic_increasing


def test_an_atlas_of_an_unknown_sae_cannot_be_named(atlas):
    from dataclasses import replace

    data = atlas["made"]
    unknown = Atlas([data.with_info(replace(data.info, sae_digest=None))])
    assert (unknown.table["name"] == "").all()
    with pytest.raises(NamesError, match="not known which"):
        _ = unknown.dictionary


def test_data_sets_that_do_not_belong_together_are_refused(atlas):
    from dataclasses import replace

    data = atlas["made"]
    with pytest.raises(AtlasError, match="at least one"):
        Atlas([])
    with pytest.raises(AtlasError, match="called 'made'"):
        Atlas([data, data])
    for change in ({"d_sae": 41}, {"sae_digest": "f" * 64}):
        other = data.with_info(replace(data.info, name="other", **change))
        with pytest.raises(AtlasError, match="different sparse autoencoders"):
            Atlas([data, other])
    with pytest.raises(AtlasError, match="no data set 'x' in this atlas; it has made"):
        atlas["x"]
    with pytest.raises(AtlasError, match="go from 0 to 39"):
        atlas.top(40)
