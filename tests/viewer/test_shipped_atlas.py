"""The atlas that a bundle brings along: its own SAE's, or none; a damaged one hides no other."""

import shutil

import pytest

from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.models.registry import STARTER
from napari_cytosae.viewer import atlas_work


@pytest.fixture
def good(tmp_path, monkeypatch):
    bad, good = tmp_path / "bad", tmp_path / "good"
    (bad / "atlas").mkdir(parents=True)
    good.mkdir()
    shutil.copytree(STARTER / "atlas", good / "atlas")
    monkeypatch.setattr(atlas_work, "bundle_folders", lambda: [bad, good])
    return good


@pytest.mark.parametrize("content", ["", "[]", '{"format": "napari-cytosae atlas"', "{}"])
def test_a_damaged_atlas_is_passed_over(good, content):
    (good.parent / "bad" / "atlas" / "atlas.json").write_text(content)
    digest = Atlas.open(good / "atlas").sae_digest
    assert atlas_work.shipped_atlas(digest) == good / "atlas"


def test_another_sae_gets_no_atlas(good):
    assert atlas_work.shipped_atlas("0" * 64) is None
    assert atlas_work.shipped_atlas(None) is None


def test_what_ships_says_nothing_of_the_computer_that_wrote_it():
    assert not (STARTER / "atlas" / "run.lock").exists()
