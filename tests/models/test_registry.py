"""The bundles that are known by name."""

import subprocess
import sys

import pytest
import torch
from tiny_models import dinov2_state, write_zenodo

from napari_cytosae.errors import Cancelled, CheckpointError, DownloadError
from napari_cytosae.models import (
    add_bundle,
    available_bundles,
    fetch_bundle,
    load_bundle,
    registry,
)

BACKBONE = "DinoBloom-B.pth"
SAE = "final_sparse_autoencoder_dinov2_vitb14_-2_resid_49152.pt"


@pytest.fixture(autouse=True)
def own_home(home):
    return home


def named(name):
    return next(info for info in available_bundles() if info.name == name)


def test_listing_bundles_imports_no_torch():
    code = (
        "import sys; from napari_cytosae.models import available_bundles; "
        "names = [info.name for info in available_bundles()]; "
        "assert 'cytosae' in names; "
        "heavy = {'torch', 'timm', 'safetensors', 'qtpy', 'napari', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_starter_is_shipped_and_the_published_one_is_not():
    starter, cytosae = named("starter"), named("cytosae")
    assert starter.installed
    assert starter.size_bytes < 20e6
    assert not starter.sources
    assert not cytosae.installed
    assert "49,152" in cytosae.summary
    hosts = {source.split("/")[2] for source in cytosae.sources}
    assert hosts == {"zenodo.org", "huggingface.co", "nefeli.helmholtz-munich.de"}


def test_a_bundle_that_is_not_here_yet_says_how_to_get_it(own_home):
    with pytest.raises(DownloadError) as caught:
        load_bundle("cytosae")
    message = str(caught.value)
    assert "napari-cytosae bundles fetch cytosae" in message
    assert BACKBONE in message
    assert SAE in message
    assert str(own_home) in message


def test_a_slip_of_the_pen():
    with pytest.raises(CheckpointError, match="Did you mean starter"):
        load_bundle("startr")
    with pytest.raises(CheckpointError, match="Known are: starter, cytosae"):
        load_bundle("xyz")


@pytest.fixture
def published(tmp_path, backbone_file, sae_folder):
    """Small files in the published ones' layouts, as local addresses to fetch from."""
    from test_sae import write_upstream

    return backbone_file.read_bytes(), write_upstream(tmp_path / "up.pt").read_bytes()


@pytest.fixture
def fetched(monkeypatch, published):
    """Replace the network: every address gives the file of its name."""
    contents = dict(zip((BACKBONE, SAE), published, strict=True))
    asked = []

    def download(urls, target, *, progress, cancelled):
        asked.append((tuple(urls), target))
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            progress(0, None)
            if cancelled():
                raise Cancelled
            target.write_bytes(contents[target.name])
        progress(target.stat().st_size, None)
        return target

    monkeypatch.setattr(registry, "download", download)
    return asked


def test_fetching_the_published_one_makes_it_loadable(fetched, own_home):
    seen = []
    folder = fetch_bundle("cytosae", progress=lambda *state: seen.append(state))
    assert folder == own_home / "bundles" / "cytosae"
    assert named("cytosae").installed
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] == sum(p.stat().st_size for p in folder.iterdir())
    assert [urls[0].split("/")[2] for urls, _ in fetched] == [
        "zenodo.org", "nefeli.helmholtz-munich.de"
    ]  # fmt: skip
    bundle = load_bundle("cytosae")
    assert (bundle.name, bundle.block) == ("cytosae", 1)
    assert "2507.12464" in bundle.card["paper"]


def test_other_sources_can_be_given(fetched):
    fetch_bundle("cytosae", sources={BACKBONE: ["http://mirror/x"], SAE: ["http://mirror/y"]})
    assert [urls for urls, _ in fetched] == [("http://mirror/x",), ("http://mirror/y",)]


def test_a_cancelled_fetch_is_not_installed(fetched):
    with pytest.raises(Cancelled):
        fetch_bundle("cytosae", cancelled=lambda: True)
    assert not named("cytosae").installed


def test_a_loaded_file_is_trusted_and_must_not_change(fetched, own_home, tmp_path):
    folder = fetch_bundle("cytosae")
    load_bundle("cytosae")
    write_zenodo(folder / BACKBONE, dinov2_state(seed=9))
    with pytest.raises(DownloadError, match="not the file that was used before"):
        load_bundle("cytosae")


def test_a_file_that_does_not_load_is_not_trusted(fetched, published, own_home):
    folder = fetch_bundle("cytosae")
    (folder / BACKBONE).write_bytes(b"\x80\x02 broken")
    with pytest.raises(CheckpointError):
        load_bundle("cytosae")
    (folder / BACKBONE).write_bytes(published[0])
    assert load_bundle("cytosae").name == "cytosae"


def test_files_put_there_by_hand_are_found(published, own_home):
    folder = own_home / "bundles" / "cytosae"
    folder.mkdir(parents=True)
    (folder / BACKBONE).write_bytes(published[0])
    assert not named("cytosae").installed
    (folder / SAE).write_bytes(published[1])
    assert named("cytosae").installed
    assert load_bundle("cytosae").d_sae == 256


def test_fetching_what_is_here_does_nothing():
    assert fetch_bundle("starter") == named("starter").folder


def test_one_files_own_pair_gets_a_name(backbone_file, sae_folder):
    pair = load_bundle(backbone=backbone_file, sae=sae_folder)
    info = add_bundle(backbone=backbone_file, sae=sae_folder, name="our lab")
    assert info == named("our lab")
    assert info.installed
    backbone_file.unlink()  # the copy is its own
    again = load_bundle("our lab")
    assert (again.name, again.digest) == ("our lab", pair.digest)


def test_a_bundle_folder_gets_a_name(backbone_file, sae_folder, tmp_path):
    folder = load_bundle(backbone=backbone_file, sae=sae_folder).save(tmp_path / "b")
    add_bundle(folder, name="theirs")
    assert load_bundle("theirs").name == "theirs"
    assert load_bundle("theirs").digest == load_bundle(folder).digest


def test_a_name_is_given_only_once(backbone_file, sae_folder):
    for name in ("starter", "cytosae"):
        with pytest.raises(CheckpointError, match="already"):
            add_bundle(backbone=backbone_file, sae=sae_folder, name=name)


@pytest.mark.parametrize("name", ["../evil", ".hidden", "a/b", "a\\b", "-x"])
def test_a_name_is_no_path(backbone_file, sae_folder, name, own_home):
    with pytest.raises(CheckpointError, match="no name"):
        add_bundle(backbone=backbone_file, sae=sae_folder, name=name)
    assert not own_home.exists()


def test_what_cannot_be_loaded_gets_no_name(tmp_path, sae_folder, own_home):
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError):
        add_bundle(backbone=tmp_path / "empty.pth", sae=sae_folder, name="x")
    assert not own_home.exists()


def test_a_damaged_bundle_does_not_hide_the_others(own_home):
    folder = own_home / "bundles" / "broken"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{")
    info = named("broken")
    assert not info.installed
    assert "damaged" in info.summary
    assert named("starter").installed
    with pytest.raises(CheckpointError, match="broken"):
        load_bundle("broken")
