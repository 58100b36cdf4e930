"""The starter bundle is what its card says it is."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.io import imread

from napari_cytosae import models
from napari_cytosae.models import load_bundle

FOLDER = Path(models.__file__).parent / "starter"
CROP_PX = 334  # 25 µm: a red cell of BCCD, 7.5 µm, is about 100 px wide
HELD_OUT = 64  # the first images of BCCD are not trained on
FIELDS = range(0, HELD_OUT, 4)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("starter")


@dataclass(frozen=True)
class Seen:
    """Tokens and activations of held-out white cells, and which patches show a nucleus."""

    tokens: torch.Tensor  # (n, 257, d_model)
    activations: torch.Tensor  # (n, 257, d_sae)
    nucleus: NDArray[np.bool_]  # (n, 256)
    rest: NDArray[np.bool_]  # (n, 256); patches in neither are not scored


@pytest.fixture(scope="module")
def seen(bundle, shared) -> Seen:
    """Encode the white cells of sixteen fields that nothing was trained on."""
    crops, nucleus, rest = [], [], []
    images = sorted((shared / "data" / "bccd" / "JPEGImages").glob("*.jpg"))
    for index in FIELDS:
        image = imread(images[index])
        boxes = white_cell_boxes(shared / "data" / "bccd", images[index].stem)
        purple = purple_pixels(image)
        in_box = np.zeros(purple.shape, bool)
        for y0, x0, y1, x1 in boxes:
            in_box[max(0, y0 - 6) : y1 + 6, max(0, x0 - 6) : x1 + 6] = True
        for y0, x0, y1, x1 in boxes:
            centre = ((y0 + y1) // 2, (x0 + x1) // 2)
            crops.append(cut(image, centre))
            covered = share_per_patch(cut(purple & in_box, centre))
            elsewhere = share_per_patch(cut(purple & ~in_box, centre))
            nucleus.append(covered > 0.5)
            # Purple outside the boxes: a platelet, or a white cell without a box.
            rest.append((covered < 0.05) & (elsewhere < 0.05))
    with torch.no_grad():
        tokens = bundle.tokens(bundle.preprocess(crops))
        activations = bundle.sae.encode(tokens)
    return Seen(tokens, activations, np.stack(nucleus), np.stack(rest))


def white_cell_boxes(bccd: Path, stem: str) -> list[tuple[int, int, int, int]]:
    boxes = []
    for item in ElementTree.parse(bccd / "Annotations" / f"{stem}.xml").iter("object"):
        box = [int(item.findtext(f"bndbox/{key}")) for key in ("ymin", "xmin", "ymax", "xmax")]
        if item.findtext("name") == "WBC" and box[2] > box[0] and box[3] > box[1]:
            boxes.append(tuple(box))
    return boxes


def purple_pixels(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Chromatin absorbs red light, which red cells do not."""
    flat = image.reshape(-1, 3).astype(float)
    bright = flat.sum(1) > np.quantile(flat.sum(1), 0.8)
    density = -np.log(np.clip(image, 1, None) / np.median(flat[bright], axis=0))
    return (density[..., 0] > 0.2) & (density[..., 1] > 0.45)


def cut(image: NDArray, centre: tuple[int, int]) -> NDArray:
    half = CROP_PX // 2
    padded = np.pad(
        image, [(half, half), (half, half)] + [(0, 0)] * (image.ndim - 2), mode="symmetric"
    )
    return padded[centre[0] : centre[0] + CROP_PX, centre[1] : centre[1] + CROP_PX]


def share_per_patch(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    edges = np.linspace(0, CROP_PX, 17).round().astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(mask.astype(float), edges, 0), edges, 1)
    return (
        sums / np.add.reduceat(np.add.reduceat(np.ones(mask.shape), edges, 0), edges, 1)
    ).ravel()


def test_it_ships_within_the_wheel():
    """Everything works with no download only as long as the wheel stays small."""
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 20 * 2**20


def test_its_files_are_those_that_its_manifest_names():
    manifest = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert {"backbone.safetensors", "sae.safetensors", "sae.json"} == set(manifest["files"])


def test_its_card_says_where_it_comes_from_and_what_it_is_not_for(bundle):
    assert bundle.name == "starter"
    assert "Not for diagnosis" in bundle.card["not_for"]
    assert "DinoBloom" in bundle.card["not_for"]
    licences = " ".join(bundle.card["licences"])
    assert all(word in licences for word in ("BSD-3-Clause", "BCCD: MIT", "Apache-2.0"))
    assert len(bundle.card["data"]) == 2


def test_the_written_card_states_the_measured_numbers(bundle):
    text = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics = bundle.card["metrics"]
    for key in ("nucleus_auroc", "red_cell_auroc", "background_auroc"):
        assert f"{metrics[key]:.3f}" in text
    for key in ("l0_bccd", "explained_variance_bccd", "teacher_cosine"):
        assert f"{metrics[key]:.2f}" in text or f"{metrics[key]:.1f}" in text


def test_it_reads_cells_as_a_dinov2_does(bundle):
    """257 tokens (class token and 16 × 16 patches) of the width that the SAE reads."""
    with torch.no_grad():
        tokens = bundle.tokens(torch.zeros(2, 3, 224, 224))
    assert tokens.shape == (2, 257, bundle.sae.d_model)
    assert 2000 <= bundle.d_sae <= 4096


def test_few_concepts_are_active_on_unseen_cells(seen):
    l0 = (seen.activations > 0).sum(-1).float().mean()
    assert 5 <= l0 <= 60


def test_active_concepts_rebuild_the_tokens_of_unseen_cells(bundle, seen):
    tokens = seen.tokens.flatten(0, 1)
    with torch.no_grad():
        rebuilt = bundle.sae.decode(seen.activations.flatten(0, 1))
    centred = tokens - tokens.mean(0)
    assert 1 - ((tokens - rebuilt).square().sum() / centred.square().sum()) >= 0.75


def test_one_concept_marks_nuclei_of_unseen_cells(bundle, seen):
    concept = bundle.card["metrics"]["nucleus_concept"]
    strength = seen.activations[:, 1:, concept].numpy()
    inside, outside = strength[seen.nucleus], strength[seen.rest]
    assert len(inside) > 200
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    area = (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))
    assert area >= 0.93


def test_activations_are_on_the_scale_of_the_threshold(seen):
    """A concept counts as present above 0.2; most active ones should be near it or above."""
    active = seen.activations[seen.activations > 0]
    assert 0.1 < float(active.median()) < 5
