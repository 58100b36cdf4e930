import json

import pytest

from napari_cytosae.errors import TrainingError
from napari_cytosae.training import SaeTrainingConfig


def test_the_defaults_are_the_papers():
    config = SaeTrainingConfig()
    assert config.concepts(768) == 49_152
    assert (config.l1, config.lr, config.warmup_steps) == (8e-5, 4e-4, 500)
    assert (config.batch_images, config.batch_tokens) == (64, None)
    assert config.steps * config.batch_images == 1_000_000
    assert config.dead_feature_window == 64
    assert config.ghost_gradients


def test_learning_rate_rises_linearly_then_stays():
    config = SaeTrainingConfig(lr=1.0, warmup_steps=4)
    assert [config.learning_rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert SaeTrainingConfig(lr=1.0, warmup_steps=0).learning_rate(0) == 1.0


def test_json_there_and_back(tmp_path):
    config = SaeTrainingConfig(activation="topk", k=8, prefixes=(16, 64), batch_tokens=512, seed=3)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_json()))
    assert SaeTrainingConfig.read(path) == config
    path.write_text('{"l1": 1e-4}')
    assert SaeTrainingConfig.read(path) == SaeTrainingConfig(l1=1e-4)


@pytest.mark.parametrize("text", ["", "[]", '{"lambda": 1}', '{"l1": "much"}', "[" * 100_000])
def test_files_that_are_no_settings(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"config\.json"):
        SaeTrainingConfig.read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"expansion": 0},
        {"expansion": 1.5},
        {"steps": True},
        {"l1": float("nan")},
        {"lr": -1e-3},
        {"lr": float("inf")},
        {"batch_images": 2, "batch_tokens": 2},
        {"activation": "topk", "k": None},
        {"k": 4},
        {"activation": "gelu"},
        {"prefixes": (4, 2)},
        {"prefixes": (0,)},
        {"b_dec_init": "median"},
        {"precision": "float16"},
        {"ghost_gradients": 1},
    ],
)
def test_impossible_settings_are_named(fields):
    with pytest.raises(TrainingError, match="|".join(fields)):
        SaeTrainingConfig(**fields)


def test_sizes_must_go_together():
    with pytest.raises(TrainingError, match="only 8 concepts"):
        SaeTrainingConfig(d_sae=8, activation="topk", k=9).concepts(4)
    with pytest.raises(TrainingError, match="only 8 concepts"):
        SaeTrainingConfig(d_sae=8, prefixes=(8,)).concepts(4)
