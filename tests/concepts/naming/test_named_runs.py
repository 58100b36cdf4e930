"""Runs show the names of their SAE's dictionary as they are now."""

import json
import logging
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_cytosae.concepts import analyze, open_run
from napari_cytosae.concepts.naming import Dictionary, Naming, dictionary_of, names_path
from napari_cytosae.errors import NamesError
from napari_cytosae.export import cell_table, concept_table
from napari_cytosae.models import load_bundle


@pytest.fixture
def image():
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def folder(bundle, image, tmp_path):
    labels = np.zeros(image.shape[:2], np.int32)
    labels[10:30, 10:30], labels[50:80, 40:70] = 1, 2
    return analyze(
        image, bundle, labels, tmp_path / "x.cytosae", precision="float32", device="cpu"
    ).path


def test_names_stand_wherever_a_concept_of_the_run_appears(folder):
    run = open_run(folder)
    first, second = (concept.concept_id for concept in run.active_concepts(1, k=2))
    run.dictionary.give(first, Naming("granules"), "A")
    run.dictionary.suggest({second: Naming("nucleus")}, "evidence")
    for seen in (run, open_run(folder)):
        concepts = seen.active_concepts(1, k=3)
        assert [c.name for c in concepts] == ["granules", "nucleus", ""]
        assert [c.suggested for c in concepts] == [False, True, False]
        assert [c.title for c in concepts] == [
            f"#{first} granules",
            f"#{second} nucleus (suggested)",
            f"#{concepts[2].concept_id}",
        ]
        for table in (seen.concepts, seen.adata.var):
            assert table["name"].iloc[[first, second]].to_list() == ["granules", "nucleus"]
            assert np.flatnonzero(table["name_suggested"]).tolist() == [second]
            assert (table["name"] != "").sum() == 2
        listed = concept_table(seen).set_index("concept_id")
        assert listed["name"][first] == "granules"
        assert listed["name_suggested"][second]
        cells = cell_table(seen, 96).filter(like="_name").iloc[0].to_list()
        assert {"granules", "nucleus (suggested)"} <= set(cells)
    run.dictionary.give(first, None, "A")
    assert run.active_concepts(1, k=1)[0].name == run.concepts["name"].iloc[first] == ""


def test_names_follow_the_sae_to_another_backbone_and_back(folder, bundle):
    digest = open_run(folder).sae_digest
    assert dictionary_of(digest) is dictionary_of(digest)
    dictionary_of(digest).give(3, Naming("red cell"), "A")
    assert names_path(digest).is_file()
    assert replace(bundle, digest="another").sae_digest == digest
    assert open_run(folder).names == {3: "red cell"}


def test_names_are_written_for_other_programs_and_for_computers_without_the_dictionary(
    bundle, image, tmp_path, monkeypatch
):
    dictionary = dictionary_of(bundle.sae_digest)
    dictionary.give(3, Naming("red cell"), "A")
    dictionary.give(4, Naming("glass"), "A")
    dictionary.suggest({5: Naming("nucleus")}, "atlas")
    run = analyze(image, bundle, "whole", tmp_path / "x.cytosae", device="cpu")
    var = anndata.read_h5ad(run.path / "cells.h5ad").var
    assert var["name"].iloc[3:6].to_list() == ["red cell", "glass", "nucleus"]
    assert var["name_suggested"].iloc[3:6].to_list() == [False, False, True]

    monkeypatch.setenv("NAPARI_CYTOSAE_HOME", str(tmp_path / "another computer"))
    elsewhere = open_run(run.path)
    assert elsewhere.names == {3: "red cell", 4: "glass", 5: "nucleus"}
    elsewhere.dictionary.give(3, Naming("erythrocyte"), "B")
    elsewhere.dictionary.give(4, Naming(""), "B")
    assert elsewhere.names == {3: "erythrocyte", 5: "nucleus"}
    assert elsewhere.names.title(5) == "#5 nucleus (suggested)"


def test_a_dictionary_that_cannot_be_read_does_not_keep_cells_from_being_shown(folder, caplog):
    run = open_run(folder)
    path = names_path(run.sae_digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xfe no text")
    with caplog.at_level(logging.WARNING):
        assert all(concept.name == "" for concept in run.active_concepts(1))
    assert "UTF-8" in caplog.text
    with pytest.raises(NamesError, match="UTF-8"):
        _ = run.dictionary
    path.unlink()
    run.dictionary.give(run.active_concepts(1)[0].concept_id, Naming("x"), "A")


def test_a_run_of_an_earlier_version_has_no_names_and_says_why(folder):
    path = folder / "run.json"
    content = json.loads(path.read_text())
    del content["sae_digest"]
    path.write_text(json.dumps(content))
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    del cells.var["name_suggested"]
    cells.write_h5ad(folder / "cells.h5ad")
    run = open_run(folder)
    assert run.names == {}
    assert not run.concepts["name_suggested"].any()
    with pytest.raises(NamesError, match="same analysis again"):
        _ = run.dictionary


def test_a_bundle_brings_its_names_along(bundle, image, tmp_path):
    folder = bundle.save(tmp_path / "mine")
    Dictionary(folder / "names.jsonl", bundle.sae_digest).suggest({7: Naming("nucleus")}, "mine")
    found = load_bundle(folder)
    run = analyze(image, found, "whole", tmp_path / "x.cytosae", device="cpu")
    assert open_run(run.path).names == {7: "nucleus"}
    assert not names_path(bundle.sae_digest).exists()
    again = found.save(tmp_path / "copy")
    assert (again / "names.jsonl").read_bytes() == (folder / "names.jsonl").read_bytes()


def test_a_bundle_that_is_known_by_name_brings_its_names_along(bundle, tmp_path):
    from napari_cytosae.models import add_bundle

    folder = bundle.save(tmp_path / "mine")
    Dictionary(folder / "names.jsonl", bundle.sae_digest).suggest({7: Naming("nucleus")}, "mine")
    info = add_bundle(folder, name="known")
    (info.folder.parent / "other").mkdir()
    (info.folder.parent / "other" / "names.jsonl").write_text("damaged")
    dictionary = dictionary_of(bundle.sae_digest)
    assert dict(dictionary.names) == {7: "nucleus"}
    dictionary.give(7, Naming("chromatin"), "A")
    assert dictionary.name(7) == "chromatin"
    assert not isinstance(dictionary.names, pd.DataFrame)
