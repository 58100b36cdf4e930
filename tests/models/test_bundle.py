"""Bundles: what belongs together, its digest, and the folder it is written to."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import D_MODEL, D_SAE, dinov2_state, sae_state

from napari_cytosae.errors import CheckpointError, CytoSAEError
from napari_cytosae.models import Preprocessing, bundle_folder, load_bundle, load_sae, save_sae

PIXELS = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def bundle(backbone_file, sae_folder):
    return load_bundle(backbone=backbone_file, sae=sae_folder)


@pytest.fixture
def folder(bundle, tmp_path):
    return replace(bundle, name="mine", card={"summary": "tiny", "licences": ["BSD"]}).save(
        tmp_path / "bundle"
    )


def test_a_pair_of_files(bundle):
    assert (bundle.block, bundle.d_model, bundle.d_sae) == (1, D_MODEL, D_SAE)
    assert bundle.name == "tiny + sae"
    assert bundle.sae.block == 1
    assert bundle.tokens(PIXELS).shape == (1, 257, D_MODEL)
    assert bundle.preprocess([np.zeros((50, 50, 3), np.uint8)]).shape == (1, 3, 224, 224)


def test_the_digest_is_the_models_not_the_files(bundle, tmp_path, sae_folder):
    save_file(dinov2_state(), tmp_path / "plain.safetensors")
    lens = save_sae(load_sae(sae_folder), tmp_path / "lens", "saelens")
    again = load_bundle(backbone=tmp_path / "plain.safetensors", sae=lens, block=-2)
    assert again.digest == bundle.digest
    assert len(bundle.digest) == 64
    assert load_bundle(bundle.save(tmp_path / "saved")).digest == bundle.digest
    assert bundle.to("cpu", "bfloat16").digest == bundle.digest


def test_whatever_changes_the_numbers_changes_the_digest(bundle, tmp_path, backbone_file):
    digests = {bundle.digest}
    digests.add(load_bundle(backbone=backbone_file, sae=_sae_folder(tmp_path), block=2).digest)
    digests.add(load_bundle(backbone=backbone_file, sae=_sae_folder(tmp_path), block=0).digest)
    other = sae_state()
    other["b_enc"][7] += 1e-6
    digests.add(load_bundle(backbone=backbone_file, sae=_sae_folder(tmp_path, other)).digest)
    state = dinov2_state()
    state["blocks.0.ls1.gamma"][3] += 1e-6
    torch.save(state, tmp_path / "other.pth")
    digests.add(load_bundle(backbone=tmp_path / "other.pth", sae=_sae_folder(tmp_path)).digest)
    changed = replace(bundle, preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5)), digest="")
    digests.add(changed.digest)
    assert len(digests) == 6


def test_the_saes_own_digest_knows_nothing_of_the_backbone(bundle, tmp_path, sae_folder):
    state = dinov2_state()
    state["blocks.0.ls1.gamma"][3] += 1
    torch.save(state, tmp_path / "other.pth")
    elsewhere = load_bundle(
        backbone=tmp_path / "other.pth",
        sae=save_sae(load_sae(sae_folder), tmp_path / "lens", "saelens"),
    )
    assert elsewhere.digest != bundle.digest
    assert elsewhere.sae_digest == bundle.sae_digest
    assert bundle.to("cpu", "bfloat16").sae_digest == bundle.sae_digest
    other = sae_state()
    other["b_enc"][7] += 1e-6
    changed = load_sae(_sae_folder(tmp_path, other))
    assert replace(bundle, sae=changed, digest="").sae_digest != bundle.sae_digest


def _sae_folder(tmp_path, state=None):
    folder = tmp_path / f"sae-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    save_file(state or sae_state(), folder / "sae.safetensors")
    config = {"format": "cytosae-sae", "version": 1, "architecture": "relu", "hook": "resid"}
    (folder / "sae.json").write_text(json.dumps(config | {"block": -2}))
    return folder


def test_a_later_block_that_nobody_reads_does_not_change_the_digest(bundle, tmp_path):
    state = dinov2_state()
    state["blocks.2.norm1.weight"] += 1
    torch.save(state, tmp_path / "later.pth")
    again = load_bundle(backbone=tmp_path / "later.pth", sae=_sae_folder(tmp_path))
    assert again.digest == bundle.digest


def test_two_that_do_not_belong_together(tmp_path, sae_folder):
    torch.save(dinov2_state(d=128), tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match=r"128 wide.*64 wide"):
        load_bundle(backbone=tmp_path / "wide.pth", sae=sae_folder)


@pytest.mark.parametrize(
    "arguments", [{}, {"backbone": "x"}, {"sae": "x"}, {"name": "starter", "sae": "x"}]
)
def test_half_a_bundle(arguments):
    with pytest.raises(CheckpointError, match="both a backbone file and an SAE file"):
        load_bundle(**arguments)


def test_precision_can_be_changed_there_and_back(bundle):
    exact = bundle.tokens(PIXELS)
    rounded = bundle.to("cpu", "bfloat16")
    assert (rounded.precision, bundle.precision) == ("bfloat16", "float32")
    assert not torch.equal(rounded.tokens(PIXELS), exact)
    assert torch.equal(rounded.to("cpu", "float32").tokens(PIXELS), exact)
    assert rounded.to("cpu", "bfloat16") is rounded
    assert bundle.to("cpu", "float32") is bundle


def test_float32_twice_shares_the_weights(bundle):
    rounded = bundle.to("cpu", "bfloat16")
    assert rounded.sae.W_enc.data_ptr() == bundle.sae.W_enc.data_ptr()
    assert rounded.backbone.pos_embed.data_ptr() == bundle.backbone.pos_embed.data_ptr()


def test_a_device_that_is_not_there(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CytoSAEError, match="sees no CUDA"):
        bundle.to("cuda", "float32")


def test_a_saved_bundle_is_read_back(folder, bundle):
    again = load_bundle(folder)
    assert (again.name, again.block, again.digest) == ("mine", 1, bundle.digest)
    assert again.card == {"summary": "tiny", "licences": ["BSD"]}
    assert torch.equal(again.tokens(PIXELS), bundle.tokens(PIXELS))
    assert sorted(path.name for path in folder.iterdir()) == [
        "backbone.safetensors", "bundle.json", "sae.json", "sae.safetensors"
    ]  # fmt: skip
    assert not any("blocks.2" in key for key in load_file(folder / "backbone.safetensors"))
    assert load_bundle(str(folder)).digest == bundle.digest


def test_negative_blocks_still_count_from_the_whole_networks_end(folder):
    # Of three blocks, two were saved; −2 is block 1 all the same.
    assert load_bundle(folder, block=-2).block == 1
    assert load_bundle(folder, block=-3).block == 0
    with pytest.raises(CheckpointError, match="first 2 blocks of the network's 3"):
        load_bundle(folder, block=-1)


def test_a_rounded_bundle_is_saved_whole(bundle, tmp_path):
    folder = bundle.to("cpu", "bfloat16").save(tmp_path / "rounded")
    assert load_bundle(folder).digest == bundle.digest


def test_an_existing_folder_is_not_overwritten(bundle, folder):
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        bundle.save(folder)
    assert (folder / "bundle.json").read_bytes() == before


def test_a_save_that_fails_leaves_nothing(bundle, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_folder, "save_sae", full)
    with pytest.raises(CheckpointError, match="No space left"):
        bundle.save(tmp_path / "new" / "bundle")
    assert list((tmp_path / "new").iterdir()) == []


def manifest(folder):
    return json.loads((folder / "bundle.json").read_text())


def rewrite(folder, **changes):
    (folder / "bundle.json").write_text(json.dumps(manifest(folder) | changes))


@pytest.mark.parametrize("name", ["backbone.safetensors", "sae.safetensors", "sae.json"])
def test_a_changed_file_is_noticed(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is not the file"):
        load_bundle(folder)


def test_a_missing_file_is_noticed(folder):
    (folder / "sae.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 'sae\.safetensors'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "does not describe a bundle"),
        ({"block": "1"}, "which block"),
        ({"depth": "3"}, "which block"),
        ({"preprocessing": None}, "preprocessing"),
        ({"files": None}, "should list"),
        ({"files": {"backbone.safetensors": "0"}}, "should list"),
        ({"block": 2}, "no block 2"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(folder, changes, says):
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match=says):
        load_bundle(folder)


def test_a_manifest_cannot_point_outside_its_folder(folder, tmp_path):
    (tmp_path / "secret").write_text("x")
    rewrite(folder, files=manifest(folder)["files"] | {"../secret": "0"})
    with pytest.raises(CheckpointError, match="lacks"):
        load_bundle(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', "[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(folder, content):
    (folder / "bundle.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"bundle\.json"):
        load_bundle(folder)


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(CheckpointError, match=r"no bundle.*bundle\.json"):
        load_bundle(tmp_path)


def test_some_folder_of_a_bundles_name_does_not_stand_in_its_way(tmp_path, monkeypatch):
    (tmp_path / "starter").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_bundle("starter").name == "starter"
    with pytest.raises(CheckpointError, match="no bundle"):
        load_bundle(tmp_path / "starter")
