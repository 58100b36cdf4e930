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
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePictures
from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.models import load_bundle

FOLDER = Path(models.__file__).parent / "starter"
CROP_PX = 334  # 25 µm: a red cell of BCCD, 7.5 µm, is about 100 px wide
TEST = 64  # the first images of BCCD are for testing: neither trained on nor chosen by
FIELDS = range(0, TEST, 4)
KINDS = ("nucleus", "cytoplasm", "red_cell", "background")
LEAST_AUROC = {"nucleus": 0.96, "cytoplasm": 0.8, "red_cell": 0.93, "background": 0.95}


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("starter")


@dataclass(frozen=True)
class Seen:
    """Tokens and activations of white cells of test fields, and what their patches show."""

    tokens: torch.Tensor  # (n, 257, d_model)
    activations: torch.Tensor  # (n, 257, d_sae)
    shown: dict[str, NDArray[np.bool_]]  # by kind, (n, 256)
    rest: dict[str, NDArray[np.bool_]]  # by kind, (n, 256); patches in neither are not scored


@pytest.fixture(scope="module")
def seen(bundle, shared) -> Seen:
    """Encode the white cells of sixteen fields that nothing was trained on or chosen by."""
    crops = []
    shown: dict[str, list[NDArray[np.bool_]]] = {kind: [] for kind in KINDS}
    rest: dict[str, list[NDArray[np.bool_]]] = {kind: [] for kind in KINDS}
    images = sorted((shared / "data" / "bccd" / "JPEGImages").glob("*.jpg"))
    for index in FIELDS:
        image = imread(images[index])
        boxes = white_cell_boxes(shared / "data" / "bccd", images[index].stem)
        truth = kinds_of_pixels(image, boxes)
        for y0, x0, y1, x1 in boxes:
            centre = ((y0 + y1) // 2, (x0 + x1) // 2)
            crops.append(cut(image, centre))
            for kind, (yes, unknown) in truth.items():
                covered = share_per_patch(cut(yes, centre))
                unclear = share_per_patch(cut(unknown, centre))
                shown[kind].append(covered > 0.5)
                rest[kind].append((covered < 0.05) & (unclear < 0.05))
    with torch.no_grad():
        tokens = bundle.tokens(bundle.preprocess(crops))
        activations = bundle.sae.encode(tokens)
    stacked = ({kind: np.stack(rows) for kind, rows in part.items()} for part in (shown, rest))
    return Seen(tokens, activations, *stacked)


def kinds_of_pixels(
    image: NDArray[np.uint8], boxes: list[tuple[int, int, int, int]]
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each kind, the pixels that show it and those of which that is not known.

    Drawn more simply than by the script that trained it: chromatin absorbs red light, which red
    cells do not; haemoglobin absorbs blue, which cytoplasm hardly does.
    """
    flat = image.reshape(-1, 3).astype(float)
    bright = flat.sum(1) > np.quantile(flat.sum(1), 0.8)
    red, green, blue = np.moveaxis(
        -np.log(np.clip(image, 1, None) / np.median(flat[bright], axis=0)), -1, 0
    )
    purple = (red > 0.2) & (green > 0.45)
    stained = green > 0.15
    glass = green < 0.08
    in_box, in_cell = np.zeros(purple.shape, bool), np.zeros(purple.shape, bool)
    rows, columns = np.indices(purple.shape, sparse=True)
    for y0, x0, y1, x1 in boxes:
        in_box[max(0, y0 - 6) : y1 + 6, max(0, x0 - 6) : x1 + 6] = True
        y, x, h, w = (y0 + y1) / 2, (x0 + x1) / 2, (y1 - y0) / 2, (x1 - x0) / 2
        in_cell |= ((rows - y) / h) ** 2 + ((columns - x) / w) ** 2 <= 0.9
    haemoglobin = blue > 0.6 * green
    nucleus = purple & in_box
    # Purple outside the boxes: a platelet, or a white cell without a box.
    stray = purple & ~in_box
    cytoplasm = in_cell & stained & ~purple & ~haemoglobin
    red_cell = stained & ~purple & ~in_box & haemoglobin
    faint = ~stained & ~glass
    return {
        "nucleus": (nucleus, stray),
        "cytoplasm": (cytoplasm, (in_box & ~purple & ~glass & ~cytoplasm) | stray),
        "red_cell": (red_cell, (in_box & stained & ~purple) | (stained & ~red_cell & ~in_box)),
        "background": (glass & ~in_cell, faint | (glass & in_cell)),
    }


def white_cell_boxes(bccd: Path, stem: str) -> list[tuple[int, int, int, int]]:
    boxes = []
    for item in ElementTree.parse(bccd / "Annotations" / f"{stem}.xml").iter("object"):
        box = [int(item.findtext(f"bndbox/{key}")) for key in ("ymin", "xmin", "ymax", "xmax")]
        if item.findtext("name") == "WBC" and box[2] > box[0] and box[3] > box[1]:
            boxes.append(tuple(box))
    return boxes


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
    assert len(bundle.card["data"]) == 3


def test_the_written_card_states_the_measured_numbers(bundle):
    text = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics = bundle.card["metrics"]
    for kind in KINDS:
        assert f"| {metrics[f'{kind}_concept']} | {metrics[f'{kind}_auroc']:.3f} |" in text
    assert f"{metrics['profile_balanced_accuracy']:.3f}" in text
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
    assert 10 <= l0 <= 40


def test_active_concepts_rebuild_the_tokens_of_unseen_cells(bundle, seen):
    tokens = seen.tokens.flatten(0, 1)
    with torch.no_grad():
        rebuilt = bundle.sae.decode(seen.activations.flatten(0, 1))
    centred = tokens - tokens.mean(0)
    assert 1 - ((tokens - rebuilt).square().sum() / centred.square().sum()) >= 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_one_concept_marks_each_part_of_unseen_fields(bundle, seen, kind):
    concept = bundle.card["metrics"][f"{kind}_concept"]
    strength = seen.activations[:, 1:, concept].numpy()
    inside, outside = strength[seen.shown[kind]], strength[seen.rest[kind]]
    assert len(inside) > 200
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    area = (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))
    assert area >= LEAST_AUROC[kind]


def test_the_card_says_that_these_concepts_were_taught(bundle):
    text = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "taught, not found" in text
    assert "taught" in bundle.card["summary"]


def test_its_measured_figures_reach_what_it_was_built_for(bundle):
    metrics = bundle.card["metrics"]
    for kind, least in LEAST_AUROC.items():
        assert metrics[f"{kind}_auroc"] >= least
        low, high = metrics[f"{kind}_auroc_range"]
        assert low <= metrics[f"{kind}_auroc"] <= high
    assert 10 <= metrics["l0_bccd"] <= 40
    assert metrics["explained_variance_bccd"] >= 0.8
    assert metrics["dead_share"] < 0.05
    assert metrics["profile_balanced_accuracy"] >= 0.95


def test_activations_are_on_the_scale_of_the_threshold(seen):
    """A concept counts as present above 0.2; most active ones should be near it or above."""
    active = seen.activations[seen.activations > 0]
    assert 0.1 < float(active.median()) < 5


def test_its_atlas_is_of_its_own_autoencoder_and_shows_only_drawn_cells(bundle):
    atlas = Atlas.open(FOLDER / "atlas")
    assert atlas.sae_digest == bundle.sae_digest
    assert [data.name for data in atlas] == ["BCCD", "Chula RBC-12", "drawn cells"]
    nucleus = bundle.card["metrics"]["nucleus_concept"]
    row = atlas.table.set_index("concept_id").loc[nucleus]
    assert row["compartment"] == "nucleus"
    with ReferencePictures() as pictures:
        shown = {data.name: list(pictures.of(data, nucleus, 3)) for data in atlas}
    assert all(picture.crop is not None for picture in shown["drawn cells"])
    assert all(picture.crop is None for picture in shown["BCCD"])
    assert not any(str(picture.image).startswith(("/", "\\")) for picture in shown["BCCD"])


def test_it_names_what_it_was_taught(bundle):
    metrics = bundle.card["metrics"]
    names = Dictionary(bundle.names_path, bundle.sae_digest)
    assert names.name(metrics["nucleus_concept"]) == "nucleus"
    assert names.name(metrics["red_cell_concept"]) == "red cell"
    assert all(entry.suggested for entry in names.entries.values())
