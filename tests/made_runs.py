"""Finished runs with random activations, written without a model, and their dense numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.cells.morphology import MORPHOLOGY
from napari_cytosae.concepts.cell import GRID, N_TOKENS
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.concepts.shards import Shard

D_SAE = 40
SHARD_CELLS = 4
KINDS = np.array(["neutrophil", "lymphocyte", ""])


@dataclass(frozen=True)
class MadeRun:
    """A run folder, its cells' labels and classes, and (cells, tokens, concepts) activations."""

    path: Path
    cells: np.ndarray
    kinds: np.ndarray
    dense: np.ndarray


def make_run(
    path: Path,
    n_cells: int,
    seed: int,
    *,
    bundle: str = "b" * 64,
    image: str | None = None,
    state: str = "finished",
    distinct: int = 6,
) -> MadeRun:
    """Write a run; few of its cells are different, so that many concepts' scores are equal."""
    (path / "tokens").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    shape = (distinct, N_TOKENS, D_SAE)
    pool = np.random.default_rng(0).gamma(1.0, 0.5, shape) * (rng.random(shape) < 0.03)
    pool[..., 3] = 0
    pool[1:, :, 4] = 0
    dense = pool.astype(np.float16)[rng.integers(0, distinct, n_cells)]
    cells = 10 + 3 * np.arange(n_cells)
    kinds = KINDS[rng.integers(0, 3, n_cells)]
    for index, start in enumerate(range(0, n_cells, SHARD_CELLS)):
        flat = dense[start : start + SHARD_CELLS].reshape(-1, D_SAE)
        rows, concepts = np.nonzero(flat)
        Shard(
            labels=cells[start : start + SHARD_CELLS],
            indptr=np.concatenate([[0], np.cumsum((flat > 0).sum(axis=1))]),
            concept_ids=concepts.astype(np.uint16),
            values=flat[rows, concepts],
            d_sae=D_SAE,
        ).write(path / "tokens" / f"shard-{index:06d}.safetensors")
    boxes = dict.fromkeys(("crop_y0", "crop_x0", "crop_y1", "crop_x1"), 0.0)
    table = pd.DataFrame({"label": cells, "kind": kinds, **boxes})
    table.to_csv(path / "cells.csv", index=False)
    RunManifest(
        state=state,
        key=RunKey(image or f"{seed:064x}", "detect", 25.0, 0.5, False, 0.1, bundle, "float32"),
        bundle_name="made",
        d_sae=D_SAE,
        slide_name=f"slide-{seed}.png",
        slide_path=f"../slide-{seed}.png",
        slide_shape=(100, 100),
        n_cells=n_cells,
        shard_cells=SHARD_CELLS,
        batch_cells=2,
        threshold=0.2,
        device="cpu",
        software_version="0",
        created="2026-01-01T00:00:00+00:00",
        sae_digest="5ae" * 20,
    ).write(path)
    return MadeRun(path, cells, kinds, dense)


@dataclass(frozen=True)
class MadeMeasures:
    """What was written of a run's cells: (n, m) morphology and (n, 6, 16, 16) points."""

    morphology: np.ndarray
    points: np.ndarray


def measure_made_run(run: MadeRun, seed: int = 0) -> MadeMeasures:
    """Write measures beside a run's tokens; with ties, cells without nucleus, and gaps."""
    (run.path / "measures").mkdir(exist_ok=True)
    rng = np.random.default_rng(1000 + seed)
    n = len(run.cells)
    morphology = rng.normal(size=(n, len(MORPHOLOGY))).round(1)
    morphology[:, 0] = run.dense[:, :, 5].astype(float).mean(axis=1)  # goes with concept 5
    morphology[rng.random(morphology.shape) < 0.1] = np.nan
    morphology[:, 1] = 1.0  # the same in all cells
    points = rng.multinomial(16, np.ones(7) / 7, (n, GRID, GRID))[..., :6].transpose(0, 3, 1, 2)
    points = np.ascontiguousarray(points).astype(np.uint8)
    points[::5] = 0
    morphology[::7] = np.nan
    for index, start in enumerate(range(0, n, SHARD_CELLS)):
        rows = slice(start, start + SHARD_CELLS)
        ShardMeasures(
            run.cells[rows], morphology[rows], tuple(MORPHOLOGY), points[rows], COMPARTMENTS
        ).write(run.path / "measures" / f"shard-{index:06d}.npz")
    return MadeMeasures(morphology, points)
