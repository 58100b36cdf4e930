"""One piece of a cohort described otherwise: sums of its raw tokens, and of a random dictionary."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cytosae.cohorts.baselines.run_tokens import map_run_tokens, options_of
from napari_cytosae.cohorts.extraction.plan import Unit
from napari_cytosae.cohorts.extraction.settings import ExtractionSettings
from napari_cytosae.cohorts.sums import Sums
from napari_cytosae.concepts.cell import N_TOKENS
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import Cancelled, CohortError, CytoSAEError
from napari_cytosae.models import (
    Bundle,
    SparseAutoencoder,
    load_sae,
    resolve_device,
    resolve_precision,
)

_SUMS = ("concept_ids", "counts", "cells", "active", "means", "maxima")


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Sums over the cells of one piece of work, or of several.

    Parameters
    ----------
    tokens
        (d_model,) float64: sum of the cells' means over their 257 tokens.
    class_tokens
        (d_model,) float64 sum of the cells' class tokens.
    random
        Sums of the random dictionary's activations; every one that is active counts.
    """

    tokens: NDArray[np.float64]
    class_tokens: NDArray[np.float64]
    random: Sums

    def __add__(self, other: "Piece") -> "Piece":
        return Piece(
            self.tokens + other.tokens,
            self.class_tokens + other.class_tokens,
            self.random + other.random,
        )

    def save(self, path: Path, key: str) -> None:
        """Write it, whole or not at all."""
        content = {f"random_{name}": getattr(self.random, name) for name in _SUMS}

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(
                    file, key=np.array(key), d_sae=self.random.d_sae, n_cells=self.random.n_cells,
                    tokens=self.tokens, class_tokens=self.class_tokens, **content,
                )  # fmt: skip

        write_durably(path, write)

    @classmethod
    def load(cls, path: Path, key: str | None = None) -> "Piece | None":
        """Read it back; None where there is none, it is damaged, or made of something else."""
        try:
            # The file is opened here: numpy leaves a damaged one open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                if key is not None and str(content["key"]) != key:
                    return None
                random = Sums(
                    int(content["d_sae"]),
                    int(content["n_cells"]),
                    *(content[f"random_{name}"] for name in _SUMS),
                )
                return cls(content["tokens"], content["class_tokens"], random)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True, slots=True)
class PieceWork:
    """Describes one piece of work, and writes that to a file; what is there already is kept.

    Parameters
    ----------
    decoder
        Folder of the random dictionary.
    digest
        What it is known by.
    files
        Where the file of each piece goes.
    """

    decoder: Path
    digest: str
    files: Path

    def path(self, unit: Unit) -> Path:
        """Give the piece's file."""
        return self.files / f"{unit.images[0]:07d}.npz"

    def __call__(
        self, unit: Unit, settings: ExtractionSettings, cancelled: Callable[[], bool]
    ) -> str:
        """Say why it failed; empty where it did not."""
        try:
            run = Run(unit.folder)
            known_by = repr((run.manifest.key, len(run), self.digest))
            key = sha256(known_by.encode()).hexdigest()
            if Piece.load(self.path(unit), key) is None:
                self._sums(unit, run, settings, cancelled).save(self.path(unit), key)
        except Cancelled:
            raise
        except CytoSAEError as error:
            return str(error)
        return ""

    def _sums(
        self, unit: Unit, run: Run, settings: ExtractionSettings, cancelled: Callable[[], bool]
    ) -> Piece:
        options = options_of(run, settings)
        where = resolve_device(options.device)
        how = resolve_precision(options.precision, where)
        sae = load_sae(self.decoder).configured(where, how)

        def work(_: Bundle, tokens: torch.Tensor) -> Piece:
            return _piece_of(tokens, sae)

        whole: Piece | None = None
        for _, piece in map_run_tokens(unit, run, settings, work, cancelled=cancelled):
            whole = piece if whole is None else whole + piece
        if whole is None:
            none = np.zeros(sae.d_model)
            return Piece(none, none, Sums.empty(sae.d_sae))
        if whole.random.n_cells != len(run):
            raise CohortError(f"{run.path.name} holds {len(run)} cells, but others were seen.")
        return whole


def _piece_of(tokens: torch.Tensor, sae: SparseAutoencoder) -> Piece:
    """Sum the tokens of (B, 257, d_model) cells."""
    found = sae.encode_sparse(tokens.reshape(-1, tokens.shape[-1]))
    d = sae.d_sae
    values = found.values.astype(np.float64)
    counts = np.bincount(found.indices, minlength=d)
    # One run of entries per cell and direction, for each cell's largest.
    cell = np.repeat(np.arange(len(found.indptr) - 1) // N_TOKENS, np.diff(found.indptr))
    place = cell * d + found.indices
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    of_cells = place[order][starts] % d
    largest = np.maximum.reduceat(values[order], starts) if starts.size else np.zeros(0)
    cells = np.bincount(of_cells, minlength=d).astype(np.int64)
    ids = np.flatnonzero(counts)
    random = Sums(
        d,
        len(tokens),
        ids.astype(np.int64),
        counts[ids].astype(np.int64),
        cells[ids],
        cells[ids],
        np.asarray(np.bincount(found.indices, values, d)[ids] / N_TOKENS, np.float64),
        np.asarray(np.bincount(of_cells, largest, d)[ids], np.float64),
    )
    return Piece(_total(tokens.float().mean(dim=1)), _total(tokens[:, 0].float()), random)


def _total(vectors: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(vectors.cpu().numpy().astype(np.float64).sum(axis=0))
