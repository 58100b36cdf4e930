"""Build the starter bundle: a small distilled ViT and its sparse autoencoder.

Run from the project's root::

    python scripts/build_starter.py --data ../shared/data --out src/napari_cytosae/models/starter

``--data`` holds ``bccd/``, ``chula-rbc12/`` and ``teacher/dinov2_vits14_224_fp16.pth``. Crops,
teacher tokens, student and its tokens go to ``--work`` (5 GB) and are reused when they are there.
About an hour and a half on two cores. The metrics that it prints go into the bundle's card.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starter.bundle_files import backbone_state, half_precision, write_bundle
from starter.crops import jitter_stain, random_crops
from starter.distil import (
    DEPTH,
    WIDTH,
    Student,
    TokenScale,
    distil,
    load_teacher,
    normalised,
    teacher_tokens,
)
from starter.fields import Field, read_fields
from starter.metrics import (
    best_concept,
    concept_auroc,
    cosine,
    explained_variance,
    plain_crops,
    scored_crops,
)
from starter.sae import Sae, SaeRecipe, train_sae
from starter.truth import KINDS

TEACHER = Path("teacher") / "dinov2_vits14_224_fp16.pth"


def main() -> None:
    """Cut crops, ask the teacher, distil, train the autoencoder, measure, write the bundle."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--work", type=Path, default=Path("/tmp/cytosae-starter"))
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--steps", type=int, default=2000, help="of the distillation")
    options.add_argument("--batch", type=int, default=16, help="crops per step")
    options.add_argument("--lr", type=float, default=2e-3, help="of the distillation")
    recipe = SaeRecipe()
    options.add_argument("--d-sae", type=int, default=recipe.d_sae)
    options.add_argument("--l1", type=float, default=recipe.l1)
    options.add_argument("--sae-lr", type=float, default=recipe.lr)
    options.add_argument("--sae-steps", type=int, default=recipe.steps)
    options.add_argument("--prefixes", type=int, nargs="*", default=recipe.prefixes)
    job = options.parse_args()
    job.work.mkdir(parents=True, exist_ok=True)
    recipe = SaeRecipe(
        d_sae=job.d_sae,
        l1=job.l1,
        lr=job.sae_lr,
        steps=job.sae_steps,
        prefixes=tuple(job.prefixes),
    )

    fields = read_fields(job.data)
    crops = training_crops(fields, job.seed, job.work / "crops.npy")
    teacher = load_teacher(job.data / TEACHER)
    targets = taught_tokens(teacher, crops, job.work / "teacher.npy")
    scale = TokenScale(torch.from_numpy(targets[::8]).float())
    student = trained_student(crops, targets, scale, job)
    # What is measured is what is shipped: weights rounded to float16.
    backbone = backbone_state(student.vit)
    student.vit.load_state_dict({key: value.float() for key, value in backbone.items()})
    tokens = training_tokens(student, crops, job.seed, job.work / "tokens.npy")
    sae = train_sae(tokens.reshape(-1, WIDTH), recipe, job.seed)
    sae_state = half_precision(sae.state_dict())
    sae.load_state_dict({key: value.float() for key, value in sae_state.items()})
    metrics = measured(fields, student, sae, teacher, scale, tokens)
    print(json.dumps(metrics, indent=2))
    write_bundle(
        job.out,
        backbone,
        sae_state,
        DEPTH - 1,
        metrics,
        {
            "seed": job.seed,
            "training_crops": len(crops),
            "fields": counted(fields),
            "distillation": {"steps": job.steps, "batch": job.batch, "lr": job.lr},
            "sae": asdict(recipe),
        },
    )


def counted(fields: list[Field]) -> dict[str, int]:
    """Count the fields of each source that were trained on and that were held out."""
    counts = {}
    for source in ("bccd", "chula-fields", "chula-diseases"):
        held_out = [field.held_out for field in fields if field.source == source]
        counts[f"held_{source.replace('-', '_')}"] = sum(held_out)
        counts[f"train_{source.replace('-', '_')}"] = len(held_out) - sum(held_out)
    return counts


def training_crops(fields: list[Field], seed: int, cache: Path) -> NDArray[np.uint8]:
    """Cut every training crop, or read them from the cache; (n, 224, 224, 3) uint8."""
    if not cache.is_file():
        rng = np.random.default_rng(seed)
        crops = [crop for f in fields if not f.held_out for crop in random_crops(f, rng)]
        np.save(cache, np.stack(crops))
    return np.load(cache, mmap_mode="c")


def taught_tokens(teacher: torch.nn.Module, crops: NDArray, cache: Path) -> NDArray[np.float16]:
    """Run the teacher over the crops, or read its tokens from the cache; (n, 257, 768)."""
    if not cache.is_file():
        part = cache.with_suffix(".part.npy")
        shape = (len(crops), 257, 768)
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        start = time.time()
        for first in range(0, len(crops), 16):
            out[first : first + 16] = teacher_tokens(teacher, crops[first : first + 16]).numpy()
            if first % 320 == 0:
                print(f"teacher {first}/{len(crops)} {time.time() - start:.0f} s", flush=True)
        out.flush()
        part.rename(cache)
    return np.load(cache, mmap_mode="c")


def trained_student(
    crops: NDArray, targets: NDArray, scale: TokenScale, job: argparse.Namespace
) -> Student:
    """Distil the student, or read it from the working folder."""
    torch.manual_seed(job.seed)
    student = Student()
    cache = job.work / "student.pt"
    if not cache.is_file():
        student.start_from_patches(crops[::16])
        part = cache.with_suffix(".part.pt")
        distil(
            student,
            crops,
            targets,
            scale,
            steps=job.steps,
            batch=job.batch,
            lr=job.lr,
            seed=job.seed,
            checkpoint=part,
        )
        part.rename(cache)
    student.load_state_dict(torch.load(cache, weights_only=True))
    return student.eval().requires_grad_(False)


def streams(student: Student, crops: NDArray[np.uint8]) -> Tensor:
    """Return the student's residual streams, (n, 257, 192) float32."""
    with torch.inference_mode():
        parts = [
            student.vit.forward_features(normalised(crops[first : first + 16]))
            for first in range(0, len(crops), 16)
        ]
    return torch.cat(parts)


def training_tokens(
    student: Student, crops: NDArray[np.uint8], seed: int, cache: Path
) -> NDArray[np.float16]:
    """Return the student's tokens of all crops as they are, and of all turned and tinted anew."""
    if not cache.is_file():
        rng = np.random.default_rng(seed + 1)
        out = np.empty((2 * len(crops), 257, WIDTH), dtype=np.float16)
        for first in range(0, len(crops), 64):
            plain = np.asarray(crops[first : first + 64])
            turn = int(rng.integers(4))
            varied = [jitter_stain(np.rot90(crop, turn)[::-1], rng, 0.7) for crop in plain]
            rows = np.arange(first, first + len(plain))
            out[rows] = streams(student, plain).numpy()
            out[rows + len(crops)] = streams(student, np.stack(varied)).numpy()
            if first % 640 == 0:
                print(f"student's tokens {first}/{len(crops)}", flush=True)
        np.save(cache, out)
    return np.load(cache, mmap_mode="c")


def measured(
    fields: list[Field],
    student: Student,
    sae: Sae,
    teacher: torch.nn.Module,
    scale: TokenScale,
    tokens: NDArray[np.float16],
) -> dict[str, Any]:
    """Measure on held-out images; concepts are chosen on images of the training.

    Returns
    -------
    The ``metrics`` of the model card.
    """
    bccd = [field for field in fields if field.source == "bccd"]
    known = scored_crops([field for field in bccd if not field.held_out][::3])
    unseen = scored_crops([field for field in bccd if field.held_out])
    chula = plain_crops([f for f in fields if f.source != "bccd" and f.held_out])
    metrics: dict[str, Any] = {"held_out_fields": sum(field.held_out for field in fields)}

    with torch.inference_mode():
        x = streams(student, unseen.pixels)
        f = sae.encode(x)
        f_known = sae.encode(streams(student, known.pixels))[:, 1:].half()
        for kind in KINDS:
            concept = best_concept(f_known, known.truth[kind])
            key = kind.replace(" ", "_")
            metrics[f"{key}_concept"] = concept
            metrics[f"{key}_auroc"] = concept_auroc(f[:, 1:], unseen.truth[kind], concept)
            metrics[f"{key}_patches"] = int((unseen.truth[kind] == 1).sum())
        x_chula = streams(student, chula)
        for name, part in (("bccd", x), ("chula", x_chula)):
            flat = part.flatten(0, 1)
            acts = sae.encode(flat)
            metrics[f"l0_{name}"] = float((acts > 0).sum(1).float().mean())
            metrics[f"explained_variance_{name}"] = explained_variance(flat, sae.decode(acts))
        active = f[f > 0]
        values = np.quantile(active[:: max(1, len(active) // 200_000)].numpy(), (0.1, 0.5, 0.9))
        metrics["active_value_10_50_90_percent"] = [float(value) for value in values]
        fired = torch.zeros(sae.b_enc.shape, dtype=torch.bool)
        for row in tokens[:: max(1, len(tokens) // 1000)]:
            fired |= (sae.encode(torch.from_numpy(row).float()) > 0).any(0)
        metrics["dead_share"] = float((~fired).float().mean())
        taught = torch.cat(
            [teacher_tokens(teacher, unseen.pixels[i : i + 16]) for i in range(0, len(x), 16)]
        )
        told = student.head(x)
        half = told.shape[-1] // 2
        metrics["teacher_cosine"] = cosine(
            (told * scale.std + scale.mean)[..., :half], taught[..., :half]
        )
        metrics["teacher_cosine_standardised"] = cosine(told[..., :half], scale(taught)[..., :half])
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in metrics.items()}


if __name__ == "__main__":
    main()
