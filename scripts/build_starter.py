"""Build the starter bundle: a small distilled ViT and its sparse autoencoder.

Run from the project's root::

    python scripts/build_starter.py --data ../shared/data --out src/napari_cytosae/models/starter

``--data`` holds ``bccd/``, ``chula-rbc12/`` and ``teacher/dinov2_vits14_224_fp16.pth``. Crops,
teacher tokens, student and its tokens go to ``--work`` (4 GB) and are reused when they are there.
Two or three hours on two cores. The metrics that it prints go into the bundle's card.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from napari_cytosae.models import SparseAutoencoder
from napari_cytosae.training import SaeTrainingConfig, train_sae
from starter.bundle_files import backbone_state, half_precision, write_bundle
from starter.crops import taught_crops
from starter.distil import (
    DEPTH,
    WIDTH,
    Student,
    TokenScale,
    distil,
    load_teacher,
    teacher_tokens,
    turned,
)
from starter.fields import Field, read_fields
from starter.measure import (
    KEYS,
    Seen,
    chosen_concepts,
    code_metrics,
    concept_metrics,
    probe_metrics,
    rounded,
    streams,
    teacher_metrics,
)
from starter.metrics import cell_crops
from starter.teach import CodeError, Lesson, seen_views, taught_directions, teach, vary_stain
from starter.truth import BACKGROUND, KINDS

TEACHER = Path("teacher") / "dinov2_vits14_224_fp16.pth"

FIRST_STUDENT = (
    "\n   This was done for the first version of this bundle, whose student was taken over: 4304 "
    "crops of\n   the fields for training and those for choosing, none of those for testing."
)
"""What the card says of a student that was not distilled anew (`--start`)."""


def main() -> None:
    """Cut crops, distil or start from a backbone, teach, train the autoencoder, measure, write."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--work", type=Path, default=Path("/tmp/cytosae-starter"))
    options.add_argument(
        "--start", type=Path, help="backbone.safetensors to teach, instead of distilling one anew"
    )
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--steps", type=int, default=2000, help="of the distillation")
    options.add_argument("--batch", type=int, default=16, help="crops per step")
    options.add_argument("--lr", type=float, default=2e-3, help="of the distillation")
    options.add_argument("--teach-steps", type=int, default=1000)
    options.add_argument("--teach-lr", type=float, default=1e-3)
    options.add_argument("--d-sae", type=int, default=2304)
    options.add_argument("--l1", type=float, default=2e-4)
    options.add_argument("--sae-lr", type=float, default=1e-3)
    options.add_argument("--sae-steps", type=int, default=1000)
    options.add_argument("--sae-batch", type=int, default=2048, help="tokens per step")
    options.add_argument("--prefixes", type=int, nargs="*", default=(8, 64))
    options.add_argument(
        "--keep-background",
        type=float,
        default=0.5,
        help="share of the tokens of background that the autoencoder is trained on",
    )
    options.add_argument(
        "--sae-seeds", type=int, nargs="*", default=(1, 2), help="others, to see what is stable"
    )
    job = options.parse_args()
    job.work.mkdir(parents=True, exist_ok=True)

    fields = read_fields(job.data)
    lesson = training_lesson(fields, job.seed, job.work)
    teacher = load_teacher(job.data / TEACHER)
    vit = distilled(lesson.crops, teacher, job)
    taught(vit, lesson, job)
    # What is measured is what is shipped: weights rounded to float16.
    backbone = backbone_state(vit)
    vit.load_state_dict({key: value.float() for key, value in backbone.items()})
    vit.eval().requires_grad_(False)
    tokens = training_tokens(vit, lesson.crops, job.seed, job.work / "tokens.npy")
    config = SaeTrainingConfig(
        d_sae=job.d_sae,
        l1=job.l1,
        lr=job.sae_lr,
        steps=job.sae_steps,
        warmup_steps=100,
        batch_tokens=job.sae_batch,
        b_dec_init="mean",
        prefixes=tuple(job.prefixes),
        seed=job.seed,
    )
    fewer = less_background(tokens, taught_directions(job.seed), job.keep_background, job.seed)
    sae = trained_autoencoder(fewer, config, job.work)
    others = [
        trained_autoencoder(fewer, replace(config, seed=seed), job.work) for seed in job.sae_seeds
    ]
    choose, test = Seen(fields, "choose", vit), Seen(fields, "test", vit)
    metrics = measured(fields, lesson, vit, sae, teacher, tokens, choose, test)
    metrics |= stability([sae, *others], choose, test)
    print(json.dumps(metrics, indent=2))
    write_bundle(
        job.out,
        backbone,
        half_precision(dict(sae.state_dict())),
        DEPTH - 1,
        metrics,
        {
            "seed": job.seed,
            "training_crops": len(lesson.crops),
            "fields": counted(fields),
            "distillation": {
                "steps": job.steps,
                "batch": job.batch,
                "lr": job.lr,
                "note": FIRST_STUDENT if job.start else "",
            },
            "teaching": {"steps": job.teach_steps, "batch": job.batch, "lr": job.teach_lr},
            "sae": config.to_json(),
            "keep_background": job.keep_background,
        },
    )


def counted(fields: list[Field]) -> dict[str, int]:
    """Count the fields of each source by what they were for."""
    counts: dict[str, int] = {}
    for field in fields:
        key = f"{field.split}_{field.source.replace('-', '_')}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def training_lesson(fields: list[Field], seed: int, work: Path) -> Lesson:
    """Cut every training crop, or read them from the working folder."""
    pixels, known = work / "crops.npy", work / "crops.npz"
    if not known.is_file():
        rng = np.random.default_rng(seed)
        crops = [c for f in fields if f.split == "train" for c in taught_crops(f, rng)]
        np.save(pixels, np.stack([crop.pixels for crop in crops]))
        np.savez(
            known,
            coverage=np.stack([crop.coverage for crop in crops]),
            middle=np.array([crop.middle for crop in crops]),
        )
    there = np.load(known)
    return Lesson(np.load(pixels, mmap_mode="c"), there["coverage"], there["middle"])


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


def distilled(
    crops: NDArray[np.uint8], teacher: torch.nn.Module, job: argparse.Namespace
) -> VisionTransformer:
    """Distil a student, or take the backbone to start from."""
    torch.manual_seed(job.seed)
    student = Student()
    if job.start is not None:
        state = {key: value.float() for key, value in load_file(job.start).items()}
        student.vit.load_state_dict(state)
        return student.vit.eval().requires_grad_(False)
    cache = job.work / "student.pt"
    if not cache.is_file():
        targets = taught_tokens(teacher, crops, job.work / "teacher.npy")
        scale = TokenScale(torch.from_numpy(targets[::8]).float())
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
    return student.vit.eval().requires_grad_(False)


def taught(vit: VisionTransformer, lesson: Lesson, job: argparse.Namespace) -> None:
    """Teach the student its directions, in place, or read what it was taught."""
    cache = job.work / "taught.pt"
    if not cache.is_file():
        views = seen_views(vit, lesson, job.seed)
        teach(
            vit,
            views,
            CodeError(lesson),
            taught_directions(job.seed),
            steps=job.teach_steps,
            batch=job.batch,
            lr=job.teach_lr,
            seed=job.seed,
            checkpoint=job.work / "teaching.pt",
        )
        torch.save(vit.state_dict(), cache)
    vit.load_state_dict(torch.load(cache, weights_only=True))


def training_tokens(
    vit: VisionTransformer, crops: NDArray[np.uint8], seed: int, cache: Path
) -> NDArray[np.float16]:
    """Return the student's tokens of all crops as they are, and of every other turned and tinted."""
    if not cache.is_file():
        parts = []
        for first in range(0, len(crops), 64):
            plain = np.asarray(crops[first : first + 64])
            generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
            turn = int(torch.randint(8, (), generator=generator))
            some = turned(torch.from_numpy(plain[::2]).float(), turn)
            varied = vary_stain(some, torch.full((len(some),), 0.7), generator)
            parts.append(streams(vit, plain).half().numpy())
            parts.append(streams(vit, varied.round().to(torch.uint8).numpy()).half().numpy())
            if first % 640 == 0:
                print(f"student's tokens {first}/{len(crops)}", flush=True)
        np.save(cache, np.concatenate(parts))
    return np.load(cache, mmap_mode="c")


def less_background(
    tokens: NDArray[np.float16], directions: Tensor, keep: float, seed: int
) -> NDArray[np.float16]:
    """Drop some of the tokens that the student takes for background: (n, 192) of (images, 257, 192).

    Where half of all tokens are background, the cheapest code under an L1 norm is to move the
    decoder's bias there and to have no concept for it.
    """
    direction = directions[KINDS.index(BACKGROUND)].numpy()
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, len(tokens), 256):
        flat = tokens[first : first + 256].reshape(-1, WIDTH)
        shows = flat.astype(np.float32) @ direction > 0
        parts.append(flat[~shows | (rng.random(len(flat)) < keep)])
    return np.concatenate(parts)


def trained_autoencoder(
    tokens: NDArray[np.float16], config: SaeTrainingConfig, work: Path
) -> SparseAutoencoder:
    """Train an autoencoder, or read it; its weights are rounded to the float16 that is shipped."""
    cache = work / f"sae-{config.seed}.pt"
    if not cache.is_file():

        def say(record: dict[str, float | int]) -> None:
            if record["step"] % 100 == 0:
                said = " ".join(f"{key} {value:.4g}" for key, value in record.items())
                print(f"autoencoder {config.seed}: {said}", flush=True)

        trained = train_sae(torch.from_numpy(tokens), config, block=DEPTH - 1, progress=say)
        torch.save(half_precision(dict(trained.sae.state_dict())), cache)
    state = {key: value.float() for key, value in torch.load(cache, weights_only=True).items()}
    d_model, d_sae = state["W_enc"].shape
    sae = SparseAutoencoder(d_model, d_sae, DEPTH - 1)
    sae.load_state_dict(state)
    return sae.requires_grad_(False)


def measured(
    fields: list[Field],
    lesson: Lesson,
    vit: VisionTransformer,
    sae: SparseAutoencoder,
    teacher: torch.nn.Module,
    tokens: NDArray[np.float16],
    choose: Seen,
    test: Seen,
) -> dict[str, Any]:
    """Measure on the images for testing; concepts are picked on the images for choosing."""
    cells, kinds = cell_crops(
        [f for f in fields if f.split == "train" and f.source == "bccd"], red_cells=4
    )
    concepts = chosen_concepts(sae, choose)
    return rounded(
        {
            "held_out_fields": test.fields,
            **concept_metrics(sae, concepts, test),
            **code_metrics(sae, test, tokens),
            **probe_metrics(sae, vit, cells, kinds, choose, test),
            **teacher_metrics(vit, teacher, lesson.crops, test),
        }
    )


def stability(saes: list[SparseAutoencoder], choose: Seen, test: Seen) -> dict[str, Any]:
    """Return the range of each AUROC over autoencoders that differ in their seed."""
    found = [concept_metrics(sae, chosen_concepts(sae, choose), test) for sae in saes]
    ranges = {
        f"{key}_auroc_range": [
            round(pick(float(one[f"{key}_auroc"]) for one in found), 4) for pick in (min, max)
        ]
        for key in KEYS.values()
    }
    return {"sae_seeds": len(saes), **ranges}


if __name__ == "__main__":
    main()
