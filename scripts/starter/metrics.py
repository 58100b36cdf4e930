"""Measure a student and its autoencoder on crops of images that nothing was trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from .crops import CROP_UM, IMAGE_SIZE, RED_CELL_UM, cut_square
from .fields import Field
from .truth import HARDLY, KINDS, MOSTLY, truth_maps


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
        side = CROP_UM / RED_CELL_UM * field.red_cell_px
        white = field.boxes["WBC"]
        centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in white]
        height, width = image.shape[:2]
        centres += [(height / 2, side / 2), (height / 2, width - side / 2)]
        for centre in centres:
            pixels.append(cut_square(image, centre, side))
            for kind, labels in maps.items():
                truth[kind].append(_patch_truth(labels, centre, side))
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


def _patch_truth(
    labels: NDArray[np.int8], centre: tuple[float, float], side: float
) -> NDArray[np.int8]:
    """Label the 256 patches of one crop by how much of each is covered."""
    shares = []
    for value in (1, -1):
        mask = np.repeat(((labels == value) * 255).astype(np.uint8)[..., None], 3, axis=-1)
        square = cut_square(mask, centre, side)[..., 0] / 255
        patches = square.reshape(16, IMAGE_SIZE // 16, 16, IMAGE_SIZE // 16)
        shares.append(patches.mean((1, 3)).ravel())
    covered, unknown = shares
    rest = (covered < HARDLY) & (unknown < HARDLY)
    return np.where(covered > MOSTLY, 1, np.where(rest, 0, -1)).astype(np.int8)


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


def explained_variance(x: Tensor, x_hat: Tensor) -> float:
    """Return ``1 − Σ(x − x̂)² / Σ(x − x̄)²``, the mean taken per dimension over all tokens."""
    centred = x - x.mean(0)
    return 1 - float((x - x_hat).square().sum() / centred.square().sum())


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the mean cosine between the rows of two token tables."""
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1).mean())
