"""Measure a student and its autoencoder on crops of images that they were not trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from .crops import CROP_UM, RED_CELL_UM, cut_square, patch_shares
from .fields import Field
from .truth import HARDLY, KINDS, MOSTLY, truth_maps

CELLS = ("WBC", "RBC", "Platelets")


@dataclass(frozen=True, slots=True)
class ScoredCrops:
    """Crops with what their patches show.

    Attributes
    ----------
    pixels
        (n, 224, 224, 3) uint8.
    truth
        By kind: (n, 256) int8; 1 shows it, 0 does not, −1 is not scored.
    """

    pixels: NDArray[np.uint8]
    truth: dict[str, NDArray[np.int8]]


def scored_crops(fields: list[Field]) -> ScoredCrops:
    """Cut 25 µm squares of BCCD fields: one around each white cell, two that tile the field."""
    pixels, truth = [], {kind: [] for kind in KINDS}
    for field in fields:
        image, maps = field.read(), truth_maps(field)
        covered = np.stack([maps[kind] == 1 for kind in KINDS], -1)
        unknown = np.stack([maps[kind] == -1 for kind in KINDS], -1)
        side = CROP_UM / RED_CELL_UM * field.red_cell_px
        white = field.boxes["WBC"]
        centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in white]
        height, width = image.shape[:2]
        centres += [(height / 2, side / 2), (height / 2, width - side / 2)]
        for centre in centres:
            pixels.append(cut_square(image, centre, side))
            share = patch_shares(covered, centre, side)
            rest = (share < HARDLY) & (patch_shares(unknown, centre, side) < HARDLY)
            labels = np.where(share > MOSTLY, 1, np.where(rest, 0, -1)).astype(np.int8)
            for index, kind in enumerate(KINDS):
                truth[kind].append(labels[:, index])
    return ScoredCrops(np.stack(pixels), {kind: np.stack(rows) for kind, rows in truth.items()})


def plain_crops(fields: list[Field]) -> NDArray[np.uint8]:
    """Cut two 25 µm squares out of the middle of each field, side by side."""
    pixels = []
    for field in fields:
        image = field.read()
        side = CROP_UM / RED_CELL_UM * field.red_cell_px
        height, width = image.shape[:2]
        for x in (width / 2 - side / 2, width / 2 + side / 2):
            pixels.append(cut_square(image, (height / 2, x), side))
    return np.stack(pixels)


def cell_crops(fields: list[Field], red_cells: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Cut 25 µm squares around annotated cells of BCCD.

    Returns
    -------
    pixels, kinds
        (n, 224, 224, 3) uint8, and (n,) indices into `CELLS`. Of each field all white cells and
        platelets, and at most `red_cells` red cells, evenly picked.
    """
    pixels, kinds = [], []
    for field in fields:
        image = field.read()
        side = CROP_UM / RED_CELL_UM * field.red_cell_px
        for index, kind in enumerate(CELLS):
            boxes = field.boxes[kind]
            if kind == "RBC" and len(boxes) > red_cells:
                boxes = boxes[np.linspace(0, len(boxes) - 1, red_cells).round().astype(int)]
            for y0, x0, y1, x1 in boxes:
                pixels.append(cut_square(image, ((y0 + y1) / 2, (x0 + x1) / 2), side))
                kinds.append(index)
    return np.stack(pixels), np.array(kinds)


def auroc(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve (Mann-Whitney, ties count half)."""
    n1 = int(positive.sum())
    n0 = len(positive) - n1
    return float((rankdata(score)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def best_concept(activations: Tensor, truth: NDArray[np.int8]) -> int:
    """Return the concept whose activation separates the patches of one kind best.

    Parameters
    ----------
    activations
        (n, 256, d_sae), patches only.
    truth
        (n, 256) int8; −1 is left out.
    """
    known = torch.from_numpy(truth >= 0)
    f = activations[known].float()
    positive = torch.from_numpy(truth[truth >= 0] == 1)
    # The exact area is slow for thousands of concepts: those with the largest standardised
    # difference are enough.
    difference = (f[positive].mean(0) - f[~positive].mean(0)) / (f.std(0) + 1e-6)
    candidates = difference.topk(40).indices
    areas = [auroc(f[:, c].numpy(), positive.numpy()) for c in candidates]
    return int(candidates[int(np.argmax(areas))])


def concept_auroc(activations: Tensor, truth: NDArray[np.int8], concept: int) -> float:
    """Return the AUROC of one concept over all scored patches; see :func:`best_concept`."""
    known = truth >= 0
    return auroc(activations[..., concept].float().numpy()[known], truth[known] == 1)


def profile_probe(profiles: NDArray[np.float32], kinds: NDArray[np.int64], c: float) -> Pipeline:
    """Fit a logistic regression that tells cells by their standardised profiles (n, d_sae)."""
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=c, class_weight="balanced", max_iter=3000)
    )
    return probe.fit(profiles, kinds)


def probe_accuracy(
    probe: Pipeline, profiles: NDArray[np.float32], kinds: NDArray[np.int64]
) -> dict[str, Any]:
    """Return balanced accuracy, and the share of each kind that is told rightly."""
    said = probe.predict(profiles)
    found: dict[str, Any] = {"balanced_accuracy": float(balanced_accuracy_score(kinds, said))}
    for index, kind in enumerate(CELLS):
        found[f"recall_{kind.lower()}"] = float((said == index)[kinds == index].mean())
        found[f"cells_{kind.lower()}"] = int((kinds == index).sum())
    return found


def explained_variance(x: Tensor, x_hat: Tensor) -> float:
    """Return ``1 − Σ(x − x̂)² / Σ(x − x̄)²``, the mean taken per dimension over all tokens."""
    centred = x - x.mean(0)
    return 1 - float((x - x_hat).square().sum() / centred.square().sum())


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the mean cosine between the rows of two token tables."""
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1).mean())
