"""Models on disk: safetensors with JSON in its header; reading one runs no code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_cytosae.cohorts.classification.familiarity import Familiarity
from napari_cytosae.cohorts.classification.model import CohortModel
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.errors import CohortError

FORMAT = "napari-cytosae cohort model"
FORMAT_VERSION = 1

_TENSORS = ("concept_ids", "mean", "scale", "weights", "intercepts", "seen")


def save_model(model: CohortModel, path: str | Path) -> Path:
    """Write a model as one ``.safetensors`` file, whole or not at all.

    Raises
    ------
    RunError
        Where the file cannot be written.
    """
    target = Path(path)
    tensors = {name: np.ascontiguousarray(getattr(model, name)) for name in _TENSORS}
    tensors["axes"] = np.ascontiguousarray(model.familiarity.axes)
    tensors["variances"] = np.ascontiguousarray(model.familiarity.variances)
    used = set(model.concept_ids.tolist())
    names = {str(k): name for k, name in model.stored_names.items() if k in used}
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "classes": list(model.classes),
        "statistic": model.statistic,
        "per": model.per,
        "threshold": model.threshold,
        "d_sae": model.d_sae,
        "limit_t2": model.familiarity.limit_t2,
        "limit_q": model.familiarity.limit_q,
        "names": names,
        "suggested": sorted(used & model.stored_names.suggested),
        "facts": dict(model.facts),
    }
    metadata = {"cytosae": json.dumps(header, ensure_ascii=False)}
    # As bytes: safetensors' own files are readable by their owner alone.
    content = save(tensors, metadata)
    write_durably(target, lambda part: part.write_bytes(content), needed_bytes=len(content))
    return target


def load_model(path: str | Path) -> CohortModel:
    """Read what `save_model` wrote.

    Raises
    ------
    CohortError
        Where there is no such file, or it is damaged or of another kind.
    """
    file = Path(path)
    if not file.is_file():
        raise CohortError(f"{file} does not exist. Classify a cohort first: its model is saved.")
    try:
        with safe_open(file, "np") as content:
            header = json.loads((content.metadata() or {})["cytosae"])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CohortError(f"{file} holds no model of a cohort, or is damaged.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CohortError(f"{file} holds no model of a cohort.")
    if header.get("format_version") != FORMAT_VERSION:
        raise CohortError(f"{file} was written by another version; classify the cohort again.")
    try:
        model = _model(header, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CohortError(f"{file} is damaged ({error}). Classify the cohort again.") from error
    return model


def _model(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> CohortModel:
    classes = tuple(str(name) for name in header["classes"])
    k, n = tensors["concept_ids"].size, len(classes)
    expected = {
        "concept_ids": (k,), "mean": (k,), "scale": (k,), "weights": (n, k), "intercepts": (n,),
    }  # fmt: skip
    for name, shape in expected.items():
        if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            raise ValueError(f"its {name} do not fit")
    d_sae = int(header["d_sae"])
    ids, seen = tensors["concept_ids"].astype(np.int64), tensors["seen"].astype(np.int64)
    if any(part.size and not 0 <= part.min() <= part.max() < d_sae for part in (ids, seen)):
        raise ValueError("its concepts are beyond the autoencoder's")
    if not (tensors["scale"] > 0).all() or n < 2:
        raise ValueError("its scales or classes do not fit")
    axes, variances = tensors["axes"], tensors["variances"]
    if axes.shape != (variances.size, k):
        raise ValueError("its axes do not fit")
    return CohortModel(
        classes,
        ids,
        tensors["mean"],
        tensors["scale"],
        tensors["weights"],
        tensors["intercepts"],
        seen,
        Familiarity(axes, variances, float(header["limit_t2"]), float(header["limit_q"])),
        header["statistic"],
        header["per"],
        float(header["threshold"]),
        d_sae,
        dict(header["facts"]),
        Names(
            {int(key): str(name) for key, name in header["names"].items()},
            frozenset(int(key) for key in header["suggested"]),
        ),
    )
