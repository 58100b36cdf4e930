"""Whether a sparse autoencoder is any good, in numbers, each with its definition and its source."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.metrics.baselines import (
        Dictionary,
        pca_dictionary,
        random_frozen_decoder,
        raw_dictionary,
        sae_dictionary,
        train_frozen_decoder,
    )
    from napari_cytosae.training.metrics.evaluate import Evaluation, Measured, evaluate
    from napari_cytosae.training.metrics.labels import (
        ConceptTests,
        concept_auroc,
        label_entropy,
        label_purity,
        rejected_by_benjamini_hochberg,
        score_concepts,
    )
    from napari_cytosae.training.metrics.monosemanticity import monosemanticity
    from napari_cytosae.training.metrics.probe import ProbeAccuracy, probe_accuracy
    from napari_cytosae.training.metrics.reconstruction import ReconstructionSums
    from napari_cytosae.training.metrics.sparsity import MEAN_ACTIVATIONS, ActivationSums
    from napari_cytosae.training.metrics.stability import matched_cosine

_HOMES = {
    "baselines": [
        "Dictionary",
        "pca_dictionary",
        "random_frozen_decoder",
        "raw_dictionary",
        "sae_dictionary",
        "train_frozen_decoder",
    ],
    "evaluate": ["Evaluation", "Measured", "evaluate"],
    "labels": [
        "ConceptTests",
        "concept_auroc",
        "label_entropy",
        "label_purity",
        "rejected_by_benjamini_hochberg",
        "score_concepts",
    ],
    "monosemanticity": ["monosemanticity"],
    "probe": ["ProbeAccuracy", "probe_accuracy"],
    "reconstruction": ["ReconstructionSums"],
    "sparsity": ["MEAN_ACTIVATIONS", "ActivationSums"],
    "stability": ["matched_cosine"],
}

__all__ = [
    "MEAN_ACTIVATIONS",
    "ActivationSums",
    "ConceptTests",
    "Dictionary",
    "Evaluation",
    "Measured",
    "ProbeAccuracy",
    "ReconstructionSums",
    "concept_auroc",
    "evaluate",
    "label_entropy",
    "label_purity",
    "matched_cosine",
    "monosemanticity",
    "pca_dictionary",
    "probe_accuracy",
    "random_frozen_decoder",
    "raw_dictionary",
    "rejected_by_benjamini_hochberg",
    "sae_dictionary",
    "score_concepts",
    "train_frozen_decoder",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
