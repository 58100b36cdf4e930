"""A classifier of patients: made from a cohort, applied to others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from napari_cytosae import __version__
from napari_cytosae.cohorts.barcodes import Barcodes, Per, Statistic
from napari_cytosae.cohorts.classification.classification import Classification, class_labels
from napari_cytosae.cohorts.classification.familiarity import Familiarity
from napari_cytosae.cohorts.classification.features import Features, words_of
from napari_cytosae.cohorts.classification.fit import Fit, fit
from napari_cytosae.cohorts.classification.folds import check
from napari_cytosae.cohorts.classification.options import ClassificationOptions
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.errors import CohortError

FAMILIAR = 1.0
_MOST_UNSEEN = 0.05
"""Share of a barcode in concepts that no fitted patient has, above which a patient is unlike them."""


@dataclass(frozen=True, eq=False)
class CohortModel:
    """Multinomial logistic regression on standardised barcodes.

    Logits are centred: they sum to 0 over the classes; softmax gives the probabilities.

    Parameters
    ----------
    classes
        What is predicted.
    concept_ids
        (k,) int64 concepts that it reads.
    mean, scale
        (k,) mean and standard deviation of the barcodes of the fitted patients.
    weights
        (classes, k) per standard deviation.
    intercepts
        (classes,).
    seen
        Concepts that any fitted patient has.
    familiarity
        What the fitted patients are like.
    statistic, per, threshold
        Which barcodes, and their τ.
    d_sae
        Concepts of the SAE.
    facts
        Provenance: digests, versions, options, numbers of patients, scores.
    stored_names
        Names of concepts as they stood when it was made.
    """

    classes: tuple[str, ...]
    concept_ids: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    seen: NDArray[np.int64]
    familiarity: Familiarity
    statistic: Statistic
    per: Per
    threshold: float
    d_sae: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    stored_names: Names = field(default_factory=lambda: Names({}))

    @property
    def sae_digest(self) -> str | None:
        """Digest of the SAE whose concepts it reads; None where it is not known."""
        digest = self.facts.get("sae_digest")
        return str(digest) if digest else None

    @cached_property
    def names(self) -> Names:
        """Name of every concept that has one, as the SAE's dictionary has them now."""
        from napari_cytosae.cohorts.names import current_names

        return current_names(self.sae_digest, self.stored_names)

    def class_index(self, name: str) -> int:
        """Give a class's place.

        Raises
        ------
        CohortError
            Where there is no such class.
        """
        if name not in self.classes:
            known = ", ".join(self.classes)
            raise CohortError(f"The model knows no class “{name}”; it knows {known}.")
        return self.classes.index(name)

    def check(self, barcodes: Barcodes) -> None:
        """Refuse barcodes that mean something else.

        Raises
        ------
        CohortError
            Where they are of another SAE or threshold.
        """
        theirs = barcodes.provenance.get("sae_digest")
        if barcodes.d_sae != self.d_sae or (
            self.sae_digest and theirs and str(theirs) != self.sae_digest
        ):
            raise CohortError(
                "These barcodes are of another autoencoder than the model's: their concepts mean "
                "other things. Extract the cohort with the bundle that the model was made with"
                f"{_bundle(self.facts)}."
            )
        if not np.isclose(barcodes.threshold, self.threshold):
            raise CohortError(
                f"These barcodes count tokens above {barcodes.threshold:g}, the model's above "
                f"{self.threshold:g}. Extract the cohort with the model's threshold."
            )

    def values(self, barcodes: Barcodes) -> NDArray[np.float64]:
        """Give the barcodes of the model's concepts, (patients, k)."""
        self.check(barcodes)
        return barcodes.dense(self.concept_ids, self.statistic, self.per)

    def logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the logits of barcodes (patients, k), (patients, classes)."""
        return np.asarray(
            (values - self.mean) / self.scale @ self.weights.T + self.intercepts, np.float64
        )

    def probabilities(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the probabilities of barcodes (patients, k), (patients, classes)."""
        return np.asarray(softmax(self.logits(values), axis=1), np.float64)

    def predict(self, barcodes: Barcodes) -> pd.DataFrame:
        """Predict patients.

        Returns
        -------
        DataFrame
            Index ``patient``; ``predicted``, a column ``p NAME`` per class, ``unlike`` (whether the
            patient is unlike all that the model was fitted to), ``why``, and the distances
            ``within`` and ``beside`` (T² and Q over their limits) and ``unseen`` (share of the
            barcode in concepts that no fitted patient has).

        Raises
        ------
        CohortError
            Where the barcodes are of another SAE or threshold.
        """
        values = self.values(barcodes)
        probabilities = self.probabilities(values)
        within, beside = self.familiarity.distances((values - self.mean) / self.scale)
        everything = barcodes.values(self.statistic, self.per)
        total = np.asarray(everything.sum(axis=1)).ravel()
        known = np.asarray(everything[:, self.seen].sum(axis=1)).ravel()
        unseen = np.where(total > 0, 1 - known / np.where(total > 0, total, 1.0), 1.0)
        unseen = unseen.clip(0.0, 1.0)
        fewest = int(self.facts.get("fewest_cells", 0))
        reasons = [
            _why(*row, fewest=fewest)
            for row in zip(
                within, beside, unseen, barcodes.patients["n_cells"].astype(int), strict=True
            )
        ]
        classes = np.array(self.classes, object)
        return pd.DataFrame(
            {
                "predicted": classes[probabilities.argmax(axis=1)],
                **{f"p {name}": probabilities[:, k] for k, name in enumerate(self.classes)},
                "unlike": [bool(reason) for reason in reasons],
                "why": reasons,
                "within": within,
                "beside": beside,
                "unseen": unseen,
            },
            index=barcodes.patients.index,
        )


def train_model(
    barcodes: Barcodes,
    options: ClassificationOptions | None = None,
    scores: Classification | None = None,
) -> CohortModel:
    """Fit a model to all patients of a cohort, to be applied to others.

    Parameters
    ----------
    barcodes
        Of the cohort.
    options
        How; as in the classification where that is given.
    scores
        The cross-validation whose scores the model carries with it.

    Raises
    ------
    CohortError
        Where there are too few patients, or no concept is left to learn from.
    """
    options = options or (scores.options if scores is not None else ClassificationOptions())
    classes, rows, labels, _ = class_labels(barcodes, options)
    chosen = barcodes.select(rows)
    groups = None if options.groups is None else words_of(chosen.patients[options.groups])
    check(labels, classes, groups, options.by, options.groups)
    features = Features.of_barcodes(chosen, options)
    everyone = np.arange(len(rows), dtype=np.int64)
    one = fit(features, labels, everyone, len(classes), options, groups, options.seed)
    facts = {"c": one.c, "patients": len(rows)}
    if scores is not None:
        facts |= {name: scores.validation.mean(name) for name in ("weighted_f1", "auroc")}
    return model_of_fit(one, features, chosen, everyone, classes, options, facts)


def fold_models(
    barcodes: Barcodes, classification: Classification
) -> tuple[tuple[CohortModel, NDArray[np.int64]], ...]:
    """Give the models of the first repeat, each with the rows of the patients it has not seen.

    To explain a patient of the cohort by a model that was made without them.
    """
    chosen = barcodes.select(classification.rows)
    features = Features.of_barcodes(chosen, classification.options)
    everyone = np.arange(len(chosen))
    return tuple(
        (
            model_of_fit(
                one,
                features,
                chosen,
                np.setdiff1d(everyone, left),
                classification.classes,
                classification.options,
                {"c": one.c, "patients": len(everyone) - len(left)},
            ),
            classification.rows[left],
        )
        for one, left in classification.validation.fits
    )


def model_of_fit(
    one: Fit,
    features: Features,
    barcodes: Barcodes,
    rows: NDArray[np.int64],
    classes: tuple[str, ...],
    options: ClassificationOptions,
    facts: Mapping[str, Any],
) -> CohortModel:
    """Make a model of a fit to some rows of the barcodes."""
    assert features.concept_ids is not None
    if not one.columns.size:
        raise CohortError(
            "No concept is left to learn from: lower the mean activation or the number of patients "
            "that a concept needs."
        )
    kept = barcodes.select(rows)
    own = {
        key: barcodes.provenance[key]
        for key in ("bundle", "bundle_digest", "sae_digest", "cohort", "cohort_digest")
        if barcodes.provenance.get(key)
    }
    counts = pd.Series(words_of(kept.patients[options.by])).value_counts()
    return CohortModel(
        classes,
        features.concept_ids[one.columns],
        one.mean,
        one.scale,
        one.weights,
        one.intercepts,
        kept.concept_ids,
        Familiarity.of(features.values[np.ix_(rows, one.columns)], options.seed),
        options.statistic,
        options.per,
        barcodes.threshold,
        barcodes.d_sae,
        {
            **own,
            "software_version": __version__,
            "by": options.by,
            "groups": options.groups or "",
            "balanced": options.balanced,
            "min_mean_activation": options.min_mean_activation,
            "seed": options.seed,
            "class_sizes": {name: int(counts.get(name, 0)) for name in classes},
            "fewest_cells": int(kept.patients["n_cells"].min()),
            **facts,
        },
        barcodes.names,
    )


def _why(within: float, beside: float, unseen: float, n_cells: int, *, fewest: int) -> str:
    reasons = []
    if unseen > _MOST_UNSEEN:
        reasons.append(f"{unseen:.0%} of the barcode is in concepts that no such patient had")
    if beside > FAMILIAR:
        reasons.append("its concepts go together as in no such patient")
    if within > FAMILIAR:
        reasons.append("its concepts are stronger or weaker than in any such patient")
    if n_cells < fewest / 2:
        reasons.append(f"{n_cells} cells, while the others had {fewest} or more")
    return f"Unlike the training cohort: {'; '.join(reasons)}." if reasons else ""


def _bundle(facts: Mapping[str, Any]) -> str:
    return f" ({facts['bundle']})" if facts.get("bundle") else ""
