"""Measure what is shipped, on images that were kept from its training and its choice."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from napari_cytosae.models import SparseAutoencoder

from .crops import jitter_stain
from .distil import TEACHER_BLOCKS, TokenScale, normalised, teacher_tokens
from .fields import Field, Split
from .metrics import (
    ScoredCrops,
    best_concept,
    cell_crops,
    concept_auroc,
    cosine,
    explained_variance,
    plain_crops,
    probe_accuracy,
    profile_probe,
    scored_crops,
)
from .truth import KINDS

KEYS = dict(zip(KINDS, ("nucleus", "cytoplasm", "red_cell", "platelet", "background"), strict=True))
"""What the metrics of the card call each kind."""

PROBE_C = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""What the probe's inverse regularisation is picked from."""

_BATCH = 16


def streams(vit: VisionTransformer, crops: NDArray[np.uint8]) -> Tensor:
    """Return the student's residual streams, (n, 257, 192) float32."""
    with torch.inference_mode():
        parts = [
            vit.forward_features(normalised(np.ascontiguousarray(crops[first : first + _BATCH])))
            for first in range(0, len(crops), _BATCH)
        ]
    return torch.cat(parts)


class Seen:
    """One split's crops and their streams; the autoencoders are measured on the same."""

    def __init__(self, fields: list[Field], split: Split, vit: VisionTransformer) -> None:
        mine = [field for field in fields if field.split == split]
        bccd = [field for field in mine if field.source == "bccd"]
        self.fields = len([field for field in mine if field.source != "drawn"])
        self.scored: ScoredCrops = scored_crops(bccd)
        cells, self.kinds = cell_crops(bccd, red_cells=3)
        self.bccd = streams(vit, self.scored.pixels)
        self.cells = streams(vit, cells)
        self.chula = streams(vit, plain_crops([f for f in mine if f.source.startswith("chula")]))
        drawn = [field for field in mine if field.source == "drawn"]
        self.drawn: ScoredCrops = scored_crops(drawn)
        self.drawn_streams = streams(vit, self.drawn.pixels)
        # As another laboratory might have stained and photographed the same fields.
        rng = np.random.default_rng(0)
        tinted = np.stack([jitter_stain(crop, rng, 2.0) for crop in self.scored.pixels])
        self.tinted = streams(vit, tinted)


def chosen_concepts(sae: SparseAutoencoder, choose: Seen) -> dict[str, int]:
    """Pick, for each kind, the concept that marks it best on the images for choosing."""
    f = sae.encode(choose.bccd[:, 1:])
    return {kind: best_concept(f, choose.scored.truth[kind]) for kind in KINDS}


def concept_metrics(
    sae: SparseAutoencoder, concepts: dict[str, int], seen: Seen
) -> dict[str, float | int]:
    """Return each kind's AUROC by its concept, with and without the stain varied, and on drawings."""
    found: dict[str, float | int] = {}
    for name, stream, truth in (
        ("", seen.bccd, seen.scored.truth),
        ("tinted_", seen.tinted, seen.scored.truth),
        ("drawn_", seen.drawn_streams, seen.drawn.truth),
    ):
        f = sae.encode(stream[:, 1:])
        for kind, key in KEYS.items():
            found[f"{name}{key}_auroc"] = concept_auroc(f, truth[kind], concepts[kind])
    for kind, key in KEYS.items():
        found[f"{key}_concept"] = concepts[kind]
        found[f"{key}_patches"] = int((seen.scored.truth[kind] == 1).sum())
    return found


def code_metrics(
    sae: SparseAutoencoder, seen: Seen, training_tokens: NDArray[np.float16]
) -> dict[str, Any]:
    """Return sparsity, explained variance, the scale of activations, and silent concepts."""
    found: dict[str, Any] = {}
    for name, part in (("bccd", seen.bccd), ("chula", seen.chula)):
        flat = part.flatten(0, 1)
        f = sae.encode(flat)
        found[f"l0_{name}"] = float((f > 0).sum(1).float().mean())
        found[f"explained_variance_{name}"] = explained_variance(flat, sae.decode(f))
    f = sae.encode(seen.bccd)
    active = f[f > 0]
    values = np.quantile(active[:: max(1, len(active) // 200_000)].numpy(), (0.1, 0.5, 0.9))
    found["active_value_10_50_90_percent"] = [float(value) for value in values]
    fired = torch.zeros(sae.d_sae, dtype=torch.bool)
    for row in training_tokens[:: max(1, len(training_tokens) // 1000)]:
        fired |= (sae.encode(torch.from_numpy(row).float()) > 0).any(0)
    found["dead_share"] = float((~fired).float().mean())
    return found


def profiles_of(sae: SparseAutoencoder, cells: Tensor) -> NDArray[np.float32]:
    """Return (n, d_sae) profiles: each concept's mean over the tokens of each cell."""
    parts = [sae.encode(part).mean(1).numpy() for part in cells.split(_BATCH)]
    return np.concatenate(parts)


def crop_profiles(
    sae: SparseAutoencoder, vit: VisionTransformer, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the profiles of crops as they are, mirrored, and turned by two right angles' worth.

    (4 · n, d_sae): the crops in their order, four times.
    """
    views = (crops, crops[:, ::-1], crops.swapaxes(1, 2), crops[:, ::-1, ::-1])
    parts = [
        profiles_of(sae, streams(vit, view[first : first + 256]))
        for view in views
        for first in range(0, len(view), 256)
    ]
    return np.concatenate(parts)


def probe_metrics(
    sae: SparseAutoencoder,
    vit: VisionTransformer,
    cells: NDArray[np.uint8],
    kinds: NDArray[np.int64],
    choose: Seen,
    test: Seen,
) -> dict[str, Any]:
    """Fit a probe to the training's cells and return what it tells of other images' cells.

    How much it is regularised is picked on the images for choosing.
    """
    known = crop_profiles(sae, vit, cells)
    probes = [profile_probe(known, np.tile(kinds, 4), c) for c in PROBE_C]
    there = profiles_of(sae, choose.cells)
    scores = [probe_accuracy(probe, there, choose.kinds)["balanced_accuracy"] for probe in probes]
    best = int(np.argmax(scores))
    found = probe_accuracy(probes[best], profiles_of(sae, test.cells), test.kinds)
    return {
        "profile_probe_c": PROBE_C[best],
        "profile_choose_balanced_accuracy": scores[best],
        **{f"profile_{key}": value for key, value in found.items()},
    }


def teacher_metrics(
    vit: VisionTransformer,
    teacher: torch.nn.Module,
    crops: NDArray[np.uint8],
    seen: Seen,
    count: int = 192,
) -> dict[str, float]:
    """Return how well a linear map, fitted to some training crops, reads the teacher's tokens.

    The teacher's block −2; `teacher_cosine_standardised` after each dimension was standardised, so
    that the mean that all tokens have in common does not help.
    """
    some = np.ascontiguousarray(crops[:: max(1, len(crops) // count)][:count])
    unseen = seen.scored.pixels[:count]
    known, wanted = (
        torch.cat([teacher_tokens(teacher, c[i : i + _BATCH]) for i in range(0, len(c), _BATCH)])
        for c in (some, unseen)
    )
    half = known.shape[-1] // len(TEACHER_BLOCKS)
    scale = TokenScale(known)
    x, y = streams(vit, some).flatten(0, 1), scale(known)[..., :half].flatten(0, 1)
    centre = x.mean(0)
    gram = (x - centre).T @ (x - centre) + 1e-2 * len(x) * torch.eye(x.shape[1])
    head = torch.linalg.solve(gram, (x - centre).T @ (y - y.mean(0)))
    told = (seen.bccd[: len(unseen)] - centre) @ head + y.mean(0)
    mean, std = scale.mean[..., :half], scale.std[..., :half]
    return {
        "teacher_cosine": cosine(told * std + mean, wanted[..., :half]),
        "teacher_cosine_standardised": cosine(told, scale(wanted)[..., :half]),
    }


def rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics with four digits behind the point."""
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in metrics.items()}
