"""Feature-data folders as upstream writes them."""

from pathlib import Path

import numpy as np
import torch


def write_feature_data(
    folder: Path,
    *,
    scores: np.ndarray,
    labels: np.ndarray,
    k: int = 10,
    classes: tuple[str, ...] | None = None,
) -> Path:
    """Write upstream's five tensors for (images, concepts) scores, as upstream computes them."""
    folder.mkdir(parents=True, exist_ok=True)
    values, indices = torch.from_numpy(scores).float().T.topk(k)
    filled = values > 0
    indices[~filled] = 0  # what upstream leaves in a place that no image fills
    active = (scores > 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = scores.sum(axis=0) / active
    for name, tensor in {
        "max_activating_image_indices": indices.float(),
        "max_activating_image_label_indices": torch.from_numpy(labels)[indices],
        "max_activating_image_values": values,
        "sae_sparsity": torch.from_numpy(active / len(scores)).float(),
        "sae_mean_acts": torch.from_numpy(means).float(),
    }.items():
        torch.save(tensor, folder / f"{name}.pt")
    if classes:
        (folder / "classnames.txt").write_text("\n".join(classes) + "\n")
    return folder
