"""From a trained autoencoder and tokens of images to its report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import TrainingError
from napari_cytosae.training.metrics import (
    Dictionary,
    evaluate,
    monosemanticity,
    pca_dictionary,
    random_frozen_decoder,
    raw_dictionary,
    sae_dictionary,
)
from napari_cytosae.training.report.examples import pick_examples
from napari_cytosae.training.report.page import TrainingReport, write_report
from napari_cytosae.training.sweep.images import Images, as_source, token_batches
from napari_cytosae.training.tokens.sources import TokenSource
from napari_cytosae.training.trained import TrainedSae

_BASELINE_TOKENS: Final = 50_000
"""Tokens to which the baselines are fitted, at most."""


def report_on(
    trained: TrainedSae,
    tokens: Images,
    path: str | Path,
    *,
    rows: Sequence[int] | None = None,
    fit_rows: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    crop_of: Callable[[int], NDArray[np.uint8]] | None = None,
    title: str = "A sparse autoencoder",
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    baseline_steps: int = 300,
    permutations: int = 99,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainingReport:
    """Measure an autoencoder beside its baselines and write one page about it.

    Parameters
    ----------
    trained
        The autoencoder, its recipe and its history.
    tokens
        Of images, at the block it was trained on: a token store, or an array.
    path
        The HTML file to write.
    rows
        Images to measure on, and to show; all where None. Best those that were not trained on.
    fit_rows
        Images that the baselines are fitted to; those not in `rows`, or all where that is none.
    labels
        One per image of `tokens`.
    crop_of
        Gives the crop of an image, (height, width, 3) uint8, by its row in `tokens`.
    title, facts, notes
        See `TrainingReport`.
    baseline_steps
        Training steps of the random frozen decoder's encoder.
    permutations
        See `evaluate`.
    cancelled
        Asked before each batch.

    Returns
    -------
    What was written.

    Raises
    ------
    TrainingError
        There are no images, or the tokens do not go with the autoencoder.
    Cancelled
        When `cancelled` says so.
    RunError
        The file cannot be written.
    """
    sae = trained.sae
    source = as_source(tokens)
    if source.shape[2] != sae.d_model:
        raise TrainingError(
            f"The autoencoder reads tokens {sae.d_model} wide; these are {source.shape[2]} wide."
        )
    every = np.arange(source.shape[0])
    seen = every if rows is None else np.asarray(sorted(rows), np.int64)
    if not len(seen):
        raise TrainingError("There are no images to report on.")
    rest = np.setdiff1d(every, seen) if fit_rows is None else np.asarray(sorted(fit_rows))
    only_class = trained.config.class_token_only

    own = None if labels is None else [labels[row] for row in seen]
    dictionaries = [sae_dictionary(sae)]
    dictionaries += _baselines(source, rest if len(rest) else seen, trained, baseline_steps)
    found = evaluate(
        lambda: token_batches(source, seen, only_class),
        dictionaries,
        labels=own,
        permutations=permutations,
        cancelled=cancelled,
    )
    profiles = found.profiles[0]
    means = np.concatenate([part.mean(1) for part in token_batches(source, seen, only_class)])
    centred = means - means.mean(0)
    alike = None
    if (np.linalg.norm(centred, axis=1) > 0).all():
        alike = monosemanticity(profiles, centred)
    examples = pick_examples(
        sae,
        lambda place: next(token_batches(source, seen[place : place + 1], only_class))[0],
        profiles,
        monosemanticity=alike,
        labels=own,
    )
    report = TrainingReport(
        title=title,
        facts=facts or {},
        settings=trained.config.to_json(),
        history=trained.history,
        measured=[row.to_json() for row in found.rows],
        mean_activation_cuts=found.mean_activation_cuts,
        examples=examples,
        notes=[*_notes(rows is None, len(seen), own), *notes],
    )
    show = None if crop_of is None else lambda place: crop_of(int(seen[place]))
    write_report(report, path, show)
    return report


def _baselines(
    source: TokenSource,
    rows: NDArray[np.int64],
    trained: TrainedSae,
    steps: int,
) -> list[Dictionary]:
    """Fit the baselines to some tokens of some images, evenly picked."""
    sae = trained.sae
    only_class = trained.config.class_token_only
    per_image = 1 if only_class else source.shape[1]
    count = max(1, min(len(rows), _BASELINE_TOKENS // per_image))
    some = rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]
    parts = list(token_batches(source, some, only_class))
    flat = np.concatenate(parts).reshape(-1, sae.d_model)
    active = float(np.diff(sae_dictionary(sae).encode(flat[:4096]).indptr).mean())
    components = int(np.clip(round(active), 1, sae.d_model))
    return [
        raw_dictionary(flat),
        pca_dictionary(flat, components),
        random_frozen_decoder(
            flat, sae.d_sae, l1=trained.config.l1, steps=steps, seed=trained.config.seed
        ),
    ]


def _notes(on_all: bool, images: int, labels: Sequence[str] | None) -> list[str]:
    found = []
    if on_all:
        found.append("These images may be those that it was trained on: the figures flatter it.")
    if images < 100:
        found.append(f"With {images} images, most figures are rough.")
    if labels is None:
        found.append("Without labels, nothing is said of what concepts have to do with them.")
    return found
