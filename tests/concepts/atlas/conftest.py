from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cytosae.concepts.atlas import DataSet, read_published

SETS = ("mll23", "acevedo", "bmc", "hehr")


@pytest.fixture(scope="session")
def published_folder(shared) -> Path:
    """Folder of the four published feature-data folders."""
    return shared / "data" / "cytosae-feature-data"


@pytest.fixture(scope="session")
def published(published_folder) -> dict[str, DataSet]:
    """The four published data sets, by name."""
    return {name: read_published(published_folder / name) for name in SETS}


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
