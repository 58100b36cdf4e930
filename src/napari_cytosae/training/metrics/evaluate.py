"""Measure an autoencoder on images, beside its baselines."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.training.metrics.baselines import Dictionary
from napari_cytosae.training.metrics.labels import (
    label_entropy,
    label_purity,
    score_concepts,
)
from napari_cytosae.training.metrics.monosemanticity import monosemanticity
from napari_cytosae.training.metrics.probe import probe_accuracy
from napari_cytosae.training.metrics.reconstruction import ReconstructionSums
from napari_cytosae.training.metrics.sparsity import MEAN_ACTIVATIONS, ActivationSums

Images = Iterable[NDArray[np.float32]]  # batches (images, tokens, d_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One dictionary's figures; each is defined where it is computed.

    Figures that need labels are None without them; means over concepts leave out those that are
    active on no image.

    Parameters
    ----------
    name, size
        The dictionary's.
    images, tokens
        How many were looked at.
    explained_variance, explained_variance_uncentred, normalised_mse, class_token_cosine
        See `ReconstructionSums`.
    l0_per_token, l0_per_image, dead_share
        See `ActivationSums`.
    concepts_above
        Concepts above mean activation 10⁻⁶, 10⁻⁵ … 1.
    monosemanticity
        Mean over concepts; see `napari_cytosae.training.metrics.monosemanticity`.
    purity, entropy
        Mean over concepts; see `label_purity` and `label_entropy`.
    best_auroc
        By label, the best AUROC of a single concept; see `concept_auroc`. Picked among `size`
        concepts on the same images: read it beside the baselines'.
    significant_share
        Share of concepts that tell some label better than chance; see `score_concepts`.
    probe_profiles
        Balanced accuracy of a linear probe on profiles; see `probe_accuracy`.
    probe_class_token, probe_swapped
        The same on class tokens, and with their reconstruction in their place.
    """

    name: str
    size: int
    images: int
    tokens: int
    explained_variance: float
    explained_variance_uncentred: float
    normalised_mse: float
    class_token_cosine: float
    l0_per_token: float
    l0_per_image: float
    dead_share: float
    concepts_above: tuple[int, ...]
    monosemanticity: float
    purity: float | None = None
    entropy: float | None = None
    best_auroc: dict[str, float] | None = None
    significant_share: float | None = None
    probe_profiles: float | None = None
    probe_class_token: float | None = None
    probe_swapped: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the figures as JSON has them; NaN becomes null."""
        content = asdict(self)
        for key, value in content.items():
            if isinstance(value, float) and not np.isfinite(value):
                content[key] = None
        return content


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An autoencoder's figures beside its baselines', and what they were computed from.

    Parameters
    ----------
    rows
        The dictionaries', in the order given.
    profiles
        (images, size) each: mean activations over tokens.
    mean_activation_cuts
        Of `Measured.concepts_above`.
    """

    rows: tuple[Measured, ...]
    profiles: tuple[csr_array, ...] = field(repr=False)
    mean_activation_cuts: tuple[float, ...] = MEAN_ACTIVATIONS

    def to_json(self) -> dict[str, Any]:
        """Give the figures as JSON has them."""
        return {
            "mean_activation_cuts": list(self.mean_activation_cuts),
            "rows": [row.to_json() for row in self.rows],
        }


def evaluate(
    images: Callable[[], Images],
    dictionaries: Sequence[Dictionary],
    *,
    labels: Sequence[str] | None = None,
    embeddings: NDArray[np.float32] | None = None,
    permutations: int = 99,
    seed: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Measure dictionaries on the same images.

    Parameters
    ----------
    images
        Gives batches of tokens (images, tokens, d_model), the class token first; called once per
        dictionary. Only one batch is in memory.
    dictionaries
        The autoencoder and its baselines.
    labels
        One per image.
    embeddings
        (images, d) from another encoder, for monosemanticity. Without them the mean raw token of
        each image is taken, less the mean over images: the score then says less, as the
        autoencoder was trained on what it is measured with.
    permutations
        For the share of significant concepts; 0 leaves it out.
    seed
        Of permutations and folds.
    cancelled
        Asked before each batch.

    Raises
    ------
    TrainingError
        There are no images, or not as many labels or embeddings as images.
    Cancelled
        When `cancelled` says so.
    """
    rows, profiles = [], []
    for dictionary in dictionaries:
        seen = _look(images(), dictionary, cancelled)
        count = len(seen.classes)
        if labels is not None and len(labels) != count:
            raise TrainingError(f"There are {count} images, but {len(labels)} labels.")
        vectors = seen.means - seen.means.mean(0) if embeddings is None else embeddings
        found = seen.activations.profiles
        rows.append(
            Measured(
                name=dictionary.name,
                size=dictionary.size,
                images=count,
                tokens=seen.sums.tokens,
                explained_variance=seen.sums.explained_variance,
                explained_variance_uncentred=seen.sums.explained_variance_uncentred,
                normalised_mse=seen.sums.normalised_mse,
                class_token_cosine=seen.sums.class_token_cosine,
                l0_per_token=seen.activations.l0_per_token,
                l0_per_image=seen.activations.l0_per_image,
                dead_share=seen.activations.dead_share,
                concepts_above=tuple(seen.activations.concepts_above()),
                monosemanticity=_mean(monosemanticity(found, vectors)),
                **_labelled(seen, found, labels, permutations, seed),
            )
        )
        profiles.append(found)
    return Evaluation(tuple(rows), tuple(profiles))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    sums: ReconstructionSums
    activations: ActivationSums
    classes: NDArray[np.float32]  # (images, d_model) class tokens, and rebuilt
    rebuilt: NDArray[np.float32]
    means: NDArray[np.float32]


def _look(images: Images, dictionary: Dictionary, cancelled: Callable[[], bool]) -> _Seen:
    sums: ReconstructionSums | None = None
    activations = ActivationSums(dictionary.size)
    classes, rebuilt, means = [], [], []
    for batch in images:
        if cancelled():
            raise Cancelled("The measurement was stopped.")
        n, tokens, d_model = batch.shape
        x = np.ascontiguousarray(batch.reshape(n * tokens, d_model), np.float32)
        f = dictionary.encode(x)
        x_hat = dictionary.decode(f)
        sums = sums or ReconstructionSums(d_model)
        sums.add(x, x_hat)
        sums.add_class_tokens(x[::tokens], x_hat[::tokens])
        activations.add(f, n)
        classes.append(x[::tokens])
        rebuilt.append(x_hat[::tokens])
        means.append(x.reshape(n, tokens, d_model).mean(1))
    if sums is None:
        raise TrainingError("There are no images to measure on.")
    parts = (np.concatenate(part) for part in (classes, rebuilt, means))
    return _Seen(sums, activations, *parts)


def _labelled(
    seen: _Seen,
    profiles: csr_array,
    labels: Sequence[str] | None,
    permutations: int,
    seed: int,
) -> dict[str, Any]:
    """Give the figures that need labels."""
    if labels is None or len(set(labels)) < 2:
        return {}
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    tests = score_concepts(profiles, codes, permutations=max(permutations, 0), seed=seed)
    active = np.diff(profiles.tocsc().indptr) > 0
    found: dict[str, Any] = {
        "purity": _mean(label_purity(profiles, codes)),
        "entropy": _mean(label_entropy(profiles, codes)),
        "best_auroc": {
            str(name): float(np.nanmax(tests.auroc[:, index])) for index, name in enumerate(names)
        },
    }
    if permutations > 0 and active.any():
        found["significant_share"] = float(tests.significant[active].any(1).mean())
    if np.bincount(codes).min() < 2:
        return found
    for key, features, swapped in (
        ("probe_profiles", profiles.toarray(), None),
        ("probe_class_token", seen.classes, None),
        ("probe_swapped", seen.classes, seen.rebuilt),
    ):
        found[key] = probe_accuracy(features, codes, swapped=swapped, seed=seed).balanced
    return found


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
