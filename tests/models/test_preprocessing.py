"""Crops reach the backbone as they did in DinoBloom's training."""

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cytosae.errors import CheckpointError, ImageError
from napari_cytosae.models import Preprocessing

RNG = np.random.default_rng(0)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def smooth(height: int, width: int) -> np.ndarray:
    coarse = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(288, 288), (100, 100), (640, 480), (225, 223), (31, 500)])
def test_resizes_as_pillow_does(size):
    crop = smooth(*size)
    resized = np.asarray(Image.fromarray(crop).resize((224, 224), Image.Resampling.BILINEAR))
    expected = (resized.astype(np.float32) / 255 - MEAN) / STD
    found = Preprocessing()([crop])[0].permute(1, 2, 0).numpy()
    levels = np.abs(found - expected) * STD * 255
    assert levels.max() < 2.01
    assert (levels > 0.01).mean() < 0.05


def test_a_crop_of_224_px_is_only_normalised():
    crop = smooth(224, 224)
    found = Preprocessing()([crop])
    assert (found.shape, found.dtype) == ((1, 3, 224, 224), torch.float32)
    expected = (crop.astype(np.float32) / 255 - MEAN) / STD
    np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, atol=1e-5)


def test_crops_of_several_sizes_share_a_batch():
    crops = [smooth(50, 50), smooth(224, 224)[:, ::-1], smooth(300, 300)[::2]]
    batch = Preprocessing()(crops)
    assert batch.shape == (3, 3, 224, 224)
    for row, crop in enumerate(crops):
        assert torch.equal(batch[row], Preprocessing()([crop])[0])


def test_no_crops_are_an_empty_batch():
    assert Preprocessing()([]).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    "crop",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)),
     np.zeros((0, 9, 3), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(crop):
    with pytest.raises(ImageError, match="RGB"):
        Preprocessing()([crop])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 518}, "518"),
        ({"interpolation": "bicubic"}, "bicubic"),
        ({"antialias": False}, "antialias"),
        ({"std": [1, 0, 1]}, "positive"),
        ({"mean": [1, 2]}, "cannot be read"),
        ({"mean": None}, "cannot be read"),
    ],
)
def test_a_manifest_that_asks_for_something_else_is_refused(change, says):
    with pytest.raises(CheckpointError, match=says):
        Preprocessing.from_json(Preprocessing().to_json() | change, "bundle.json")
