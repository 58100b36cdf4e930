"""Write the bundle folder: float16 weights, JSON beside them, and the model card."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from napari_cytosae.concepts.naming.names_file import NamesFile
from napari_cytosae.concepts.naming.records import Naming, Record
from napari_cytosae.models import SparseAutoencoder
from napari_cytosae.models.bundle import digest_of_sae
from napari_cytosae.models.registry import NAMES

from .card import model_card
from .crops import IMAGE_SIZE
from .distil import MEAN, STD
from .measure import KEYS

DATA = [
    "BCCD (Blood Cell Count and Detection): Wright-stained blood fields",
    "Chula RBC-12: red-cell fields of thalassaemia patients, and its fields by disease",
    "Smears drawn by the software itself",
]
LICENCES = [
    "Weights: BSD-3-Clause, as the software",
    "BCCD: MIT",
    "Chula RBC-12: MIT",
    "Teacher DINOv2 ViT-S/14: Apache-2.0 (used in training, not contained)",
]
TAUGHT_ON = "2026-11-26T00:00:00+00:00"
"""Date of the names: fixed, so that the same starter has the same file."""

NOT_FOR = (
    "Not for diagnosis. Not DinoBloom and not the published CytoSAE: its concepts are its own, "
    "learned from two small public data sets and from drawn smears, and those of the parts of cells "
    "were taught, so that everything can be tried without a download."
)


def half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round weights to the float16 that is shipped."""
    return {key: value.detach().half().contiguous() for key, value in state.items()}


def write_bundle(
    out: Path,
    backbone: dict[str, Tensor],
    sae: dict[str, Tensor],
    block: int,
    metrics: dict[str, Any],
    recipe: dict[str, Any],
) -> None:
    """Write the weights, ``sae.json``, ``bundle.json`` and ``MODEL_CARD.md``.

    Parameters
    ----------
    out
        The bundle's folder.
    backbone, sae
        Float16 weights, DINOv2's key names and ``W_enc``, ``b_enc``, ``W_dec``, ``b_dec``.
    block
        The block after which the autoencoder reads, from 0.
    metrics, recipe
        What was measured on held-out images, and the numbers of the training.

    Raises
    ------
    KeyError
        The card needs a number that is in neither.
    """
    out.mkdir(parents=True, exist_ok=True)
    d_model, d_sae = sae["W_enc"].shape
    save_file(backbone, out / "backbone.safetensors")
    save_file(sae, out / "sae.safetensors")
    _write_json(
        out / "sae.json",
        {
            "format": "cytosae-sae",
            "version": 1,
            "architecture": "relu",
            "d_model": d_model,
            "d_sae": d_sae,
            "block": block,
            "hook": "resid",
            "dtype": "float16",
        },
    )
    files = ("backbone.safetensors", "sae.safetensors", "sae.json")
    parameters = sum(value.numel() for value in backbone.values())
    _write_json(
        out / "bundle.json",
        {
            "format": "cytosae-bundle",
            "version": 1,
            "name": "starter",
            "block": block,
            "preprocessing": {
                "image_size": IMAGE_SIZE,
                "interpolation": "bilinear",
                "antialias": True,
                "mean": list(MEAN),
                "std": list(STD),
            },
            "files": {
                name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files
            },
            "card": {
                "summary": (
                    f"A small vision transformer (patch 14, width {d_model}, {block + 1} blocks, "
                    f"{parameters / 1e6:.1f} million weights) distilled from DINOv2 ViT-S/14 on "
                    f"blood fields and taught the parts of blood cells, and a sparse autoencoder of "
                    f"{d_sae} concepts on its tokens."
                ),
                "data": DATA,
                "licences": LICENCES,
                "recipe": recipe,
                "metrics": metrics,
                "not_for": NOT_FOR,
            },
        },
    )
    _write_names(out / NAMES, sae, block, metrics)
    size = sum((out / name).stat().st_size for name in files)
    low, middle, high = metrics["active_value_10_50_90_percent"]
    sae_recipe = recipe["sae"]
    facts = {
        **metrics,
        **recipe["fields"],
        **{
            f"{key}_range": "{:.3f} to {:.3f}".format(*metrics[f"{key}_auroc_range"])
            for key in KEYS.values()
        },
        "image_size": IMAGE_SIZE,
        "d_model": d_model,
        "heads": d_model // 64,
        "block": block,
        "blocks": block + 1,
        "backbone_million": parameters / 1e6,
        "d_sae": d_sae,
        "megabytes": size / 1e6,
        "seed": recipe["seed"],
        "training_crops": recipe["training_crops"],
        "distilled": _said_distillation(recipe["distillation"]),
        **{f"teach_{key}": value for key, value in recipe["teaching"].items()},
        "dropped_percent": 100 * (1 - recipe["keep_background"]),
        "l1": sae_recipe["l1"],
        "sae_steps": sae_recipe["steps"],
        "sae_batch": sae_recipe["batch_tokens"],
        "sae_lr": sae_recipe["lr"],
        "ghosts": "ghost gradients, " if sae_recipe["ghost_gradients"] else "",
        "prefixes": _said_prefixes(sae_recipe["prefixes"]),
        "low": low,
        "middle": middle,
        "high": high,
        "dead_percent": 100 * metrics["dead_share"],
    }
    (out / "MODEL_CARD.md").write_text(model_card(facts), encoding="utf-8")


TAUGHT = {
    "nucleus": Naming("nucleus", ("nucleus of a white cell", "chromatin"), "nucleus"),
    "cytoplasm": Naming("cytoplasm", ("cytoplasm of a white cell",), "cytoplasm"),
    "red_cell": Naming("red cell", ("erythrocyte",)),
    "platelet": Naming("platelet", ("thrombocyte",)),
    "background": Naming("background", ("glass",), "background"),
}
"""What the concepts that were taught are called, by the metrics' keys."""


def _write_names(path: Path, sae: dict[str, Tensor], block: int, metrics: dict[str, Any]) -> None:
    """Suggest names for the concepts that mark what was taught; the autoencoder's digest is theirs."""
    d_model, d_sae = sae["W_enc"].shape
    whole = SparseAutoencoder(d_model, d_sae, block)
    whole.load_state_dict({key: value.float() for key, value in sae.items()})
    records = tuple(
        Record(
            int(metrics[f"{key}_concept"]),
            replace(
                naming, notes=f"AUROC {metrics[f'{key}_auroc']:.3f} on the images for testing."
            ),
            date=TAUGHT_ON,
            suggested_by="model card",
        )
        for key, naming in TAUGHT.items()
    )
    about = "Names of the starter's concepts that were taught; see its model card."
    file = NamesFile(digest_of_sae(whole), about, records)
    path.write_text(file.to_text(), encoding="utf-8")


def _said_distillation(distillation: dict[str, Any]) -> str:
    common = (
        "The targets are the teacher's residual streams after its last two blocks,\n"
        "   standardised per dimension; the student reads them off its own last residual stream "
        "through one\n   linear layer, on turned, mirrored and slightly tinted crops. Mean squared "
        "error, class token counted\n   eight times; a mild penalty keeps the variance of every "
        "dimension near one. "
    )
    numbers = "{steps} steps of {batch} crops, Muon and AdamW, learning rate {lr}."
    return common + numbers.format(**distillation) + distillation.get("note", "")


def _said_prefixes(prefixes: Sequence[int]) -> str:
    if not prefixes:
        return ""
    counts = " and ".join(str(count) for count in prefixes)
    return (
        f"\n   The same error is also asked of the first {counts} concepts alone (Matryoshka: Bussmann\n"
        "   et al. 2025), so that broad concepts are not split up among narrow ones."
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def backbone_state(vit: torch.nn.Module) -> dict[str, Tensor]:
    """Return the ViT's weights under DINOv2's names, in float16."""
    return half_precision(vit.state_dict())
