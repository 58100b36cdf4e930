"""Tokens are made once, known by content, and gone on with wherever the work stopped."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from napari_cytosae.concepts import analyze
from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import Bundle
from napari_cytosae.slides import sample_smear
from napari_cytosae.training import SaeTrainingConfig, train_sae
from napari_cytosae.training.tokens import (
    CropOptions,
    StreamedTokens,
    TokenModel,
    TokenStore,
    extract_tokens,
    gather_images,
)


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """How many crops went through the backbone, call by call."""
    counts: list[int] = []
    tokens = TokenModel.tokens

    def counted(self, crops):
        counts.append(len(crops))
        return tokens(self, crops)

    monkeypatch.setattr(TokenModel, "tokens", counted)
    return counts


def extract(images, bundle, out, **settings) -> TokenStore:
    settings = {"device": "cpu", "precision": "float32", "shard_images": 2, **settings}
    return extract_tokens([images], bundle, out, **settings)


def test_every_images_tokens_are_those_of_the_backbone(images, bundle: Bundle, tmp_path) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    assert store.shape == (9, 257, 64)
    assert sum(store.shard_sizes) == len(store) == 9
    assert store.block == 0
    assert sorted(store.labels) == ["blast"] * 3 + ["eosinophil"] * 3 + ["monocyte"] * 3
    model = TokenModel.of(bundle)
    for row, crop in enumerate(store.crops):
        assert crop.path.parent.name == crop.label
        pixels = np.asarray(Image.open(crop.path))
        np.testing.assert_array_equal(store.crop(row), pixels)
        np.testing.assert_array_equal(store[row], model.tokens([pixels])[0].numpy())
    np.testing.assert_array_equal(store[[5, 0, 5]], np.stack([store[5], store[0], store[5]]))
    np.testing.assert_array_equal(store.read(np.array([1, 2, 7])), store[[1, 2, 7]])
    again = store.model()
    assert again.digest == TokenModel.of(bundle).digest


def test_images_that_cannot_be_read_are_named_and_left_out(images, bundle, tmp_path) -> None:
    broken = images / "blast" / "0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (images / "monocyte" / "none.png").write_bytes(b"")
    store = extract(images, bundle, tmp_path / "tokens")
    assert len(store) == 8
    assert {item.path.name for item in store.skipped} == {"0.png", "none.png"}
    assert any("empty" in item.reason for item in store.skipped)


def test_nothing_to_use_is_an_error_that_says_why(bundle, tmp_path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"a\.png.*empty"):
        extract(folder, bundle, tmp_path / "tokens")
    with pytest.raises(TrainingError, match="holds no images"):
        gather_images([tmp_path / "tokens"])


def test_a_stopped_extraction_goes_on_and_equals_an_uninterrupted_one(
    images, bundle, tmp_path, made
) -> None:
    whole = extract(images, bundle, tmp_path / "whole")
    made.clear()
    asked = iter([*[False] * 13, *[True] * 99])
    with pytest.raises(Cancelled, match="kept"):
        extract(images, bundle, tmp_path / "parts", batch_images=1, cancelled=lambda: next(asked))
    with pytest.raises(TrainingError, match="not finished"):
        TokenStore(tmp_path / "parts")
    shards = len(list((tmp_path / "parts" / "shards").iterdir()))
    assert 0 < shards < 5
    made.clear()
    store = extract(images, bundle, tmp_path / "parts")
    assert sum(made) == 9 - 2 * shards
    assert store.identity == whole.identity
    np.testing.assert_array_equal(store[:], whole[:])


def test_the_same_images_elsewhere_are_the_same_tokens(images, bundle, tmp_path, made) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    made.clear()
    moved = tmp_path / "moved"
    shutil.move(images, moved)
    (moved / "blast" / "0.png").rename(moved / "blast" / "another name.png")
    again = extract(moved, bundle, tmp_path / "tokens")
    assert not made
    assert again.identity == store.identity
    assert all(crop.path.exists() for crop in again.crops)


def test_a_changed_image_is_never_taken_for_the_old_one(images, bundle, tmp_path, made) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    pixels = np.random.default_rng(9).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / "blast" / "1.png")
    with pytest.raises(TrainingError, match="tokens of 1 crops that are not among these"):
        extract(images, bundle, tmp_path / "tokens")
    made.clear()
    changed = extract(images, bundle, tmp_path / "tokens", overwrite=True)
    assert 1 <= sum(made) <= 2  # its shard alone
    assert changed.identity != store.identity
    (row,) = (
        n for n, c in enumerate(changed.crops) if c.path.name == "1.png" and c.label == "blast"
    )
    expected = TokenModel.of(bundle).tokens([pixels])[0]
    np.testing.assert_array_equal(changed[row], expected.numpy())


def test_another_backbone_is_never_taken_for_this_one(images, bundle, tmp_path) -> None:
    extract(images, bundle, tmp_path / "tokens")
    torch.manual_seed(5)
    backbone = type(bundle.backbone)(bundle.backbone.shape, 0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.2)
    other = Bundle("other", backbone, bundle.sae)
    with pytest.raises(TrainingError, match="another backbone"):
        extract(images, other, tmp_path / "tokens")


def test_a_damaged_shard_is_made_anew(images, bundle, tmp_path, made) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    before, crops = store[:], store.crops
    shard = sorted((tmp_path / "tokens" / "shards").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(TrainingError, match="Repeat the extraction"):
        store[:]
    made.clear()
    again = extract(images, bundle, tmp_path / "tokens")
    assert sum(made) == 2
    assert sorted(crop.id for crop in again.crops) == sorted(crop.id for crop in crops)
    rows = {crop.id: row for row, crop in enumerate(again.crops)}
    for row, crop in enumerate(crops):
        np.testing.assert_array_equal(again[rows[crop.id]], before[row])


def test_a_flipped_bit_is_found_and_its_shard_made_anew(images, bundle, tmp_path, made) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    before = store[:]
    shard = sorted((tmp_path / "tokens" / "shards").iterdir())[1]
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 4
    shard.write_bytes(content)
    with pytest.raises(TrainingError, match=f"{shard.name} is damaged.*crop 1"):
        store[:]
    np.testing.assert_array_equal(store[:3], before[:3])  # what is whole is still read
    made.clear()
    steps: list[str] = []
    again = extract(
        images, bundle, tmp_path / "tokens", progress=lambda step: steps.append(step.stage)
    )
    assert sum(made) == 2
    assert "check" in steps
    assert again[:].shape == before.shape


def test_an_open_store_never_reads_the_tokens_of_another(images, bundle, tmp_path) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    shards = sorted((tmp_path / "tokens" / "shards").iterdir())
    shards[0].write_bytes(shards[1].read_bytes())
    with pytest.raises(TrainingError, match="open them again"):
        store[0]


def test_a_store_without_sums_is_read(images, bundle, tmp_path) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    before = store[:]
    for shard in (tmp_path / "tokens" / "shards").iterdir():
        with safe_open(shard, "pt") as file:
            about, tokens = file.metadata(), file.get_tensor("tokens")
        del about["crc32"]
        save_file({"tokens": tokens}, shard, about)
    path = tmp_path / "tokens" / "store.json"
    content = json.loads(path.read_text())
    content["shards"] = [[name, size] for name, size, _ in content["shards"]]
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(TokenStore(tmp_path / "tokens")[:], before)
    np.testing.assert_array_equal(extract(images, bundle, tmp_path / "tokens")[:], before)


def test_an_open_store_never_names_the_crops_of_another(images, bundle, tmp_path) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    sorted((tmp_path / "tokens" / "shards").iterdir())[1].unlink()
    extract(images, bundle, tmp_path / "tokens")  # it comes last now
    with pytest.raises(TrainingError, match="open it again"):
        _ = store.crops


def test_files_that_are_no_tokens_are_never_deleted(images, bundle, tmp_path) -> None:
    mine = tmp_path / "model" / "shards" / "000000.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"weights")
    with pytest.raises(TrainingError, match="no token store"):
        extract(images, bundle, tmp_path / "model", overwrite=True)
    assert mine.read_bytes() == b"weights"
    store = extract(images, bundle, tmp_path / "tokens")
    other = store.path / "shards" / "mine.safetensors"
    other.write_bytes(b"weights")
    extract(images, bundle, store.path)
    assert other.read_bytes() == b"weights"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x"}'])
def test_a_damaged_description_is_named(images, bundle, tmp_path, content: str) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    (store.path / "store.json").write_text(content)
    with pytest.raises(TrainingError, match=r"store\.json"):
        TokenStore(store.path)


def test_a_full_disk_is_told_before_the_work(images, bundle, tmp_path, monkeypatch, made) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TrainingError, match="GB are free"):
        extract(images, bundle, tmp_path / "tokens")
    assert not made


def test_class_tokens_alone(images, bundle, tmp_path) -> None:
    whole = extract(images, bundle, tmp_path / "whole")
    store = extract(images, bundle, tmp_path / "class", class_token_only=True)
    assert store.shape == (9, 1, 64)
    np.testing.assert_array_equal(store[:], whole[:][:, :1])


def test_tables_runs_and_fields(images, bundle, tmp_path) -> None:
    table = tmp_path / "cells.csv"
    table.write_text("path,label\nimages/blast/0.png,x\nimages/monocyte/2.png,y\n")
    assert sorted(extract(table, bundle, tmp_path / "t1").labels) == ["x", "y"]
    table.write_text("path\nimages/blast/none.png\n")
    with pytest.raises(TrainingError, match="row 2: there is no"):
        extract(table, bundle, tmp_path / "t2")
    smear = sample_smear(seed=3, shape=(420, 640))
    field = smear.save(tmp_path)
    run = analyze(field, bundle, precision="float32", device="cpu", out=tmp_path / "a.cytosae")
    of_field = extract(field, bundle, tmp_path / "t3")
    of_run = extract(run.path, bundle, tmp_path / "t4")
    assert len(of_field) == len(of_run) == len(run) > 1
    assert of_field.identity == of_run.identity
    whole = extract(field, bundle, tmp_path / "t5", options=CropOptions(cells=("whole",)))
    assert len(whole) == 1


def test_streamed_tokens_are_those_of_the_store(images, bundle, tmp_path) -> None:
    (images / "blast" / "0.png").write_bytes(b"no image")
    store = extract(images, bundle, tmp_path / "tokens")
    stream = StreamedTokens([images], bundle, device="cpu", precision="float32")
    assert stream.shape == store.shape
    assert stream.block == store.block
    assert [item.path.name for item in stream.skipped] == ["0.png"]
    rows = np.array([0, 3, 7])
    torch.testing.assert_close(stream.read(rows), torch.from_numpy(store[rows]))


def test_a_training_reads_the_store_and_becomes_a_bundle(images, bundle, tmp_path) -> None:
    store = extract(images, bundle, tmp_path / "tokens")
    config = SaeTrainingConfig(
        d_sae=128, steps=4, batch_images=3, warmup_steps=2, seed=1, precision="float32"
    )
    trained = train_sae(store, config, out=tmp_path / "sae", device="cpu")
    assert trained.sae.block == 0
    again = train_sae(torch.from_numpy(store[:]), config, device="cpu", block=0)
    assert again.sae.d_sae == 128
    joined = trained.to_bundle(bundle, "mine")
    joined.save(tmp_path / "bundle")
    from napari_cytosae.models import load_bundle

    assert load_bundle(tmp_path / "bundle").digest == joined.digest
    log = (tmp_path / "sae" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]


def test_paths_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not exist"):
        gather_images([tmp_path / "nowhere"])
