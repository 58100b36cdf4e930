"""A finished training as a bundle that can be used at once."""

import shutil
from pathlib import Path
from typing import Final

from napari_cytosae.errors import TrainingError
from napari_cytosae.models import Bundle
from napari_cytosae.training.tokens.store import TokenStore
from napari_cytosae.training.trained import TrainedSae

BUNDLE: Final = "bundle"
"""The folder, in a training's own, that the bundle goes to."""


def join_backbone(trained: TrainedSae, store: TokenStore, name: str) -> Bundle:
    """Join a trained autoencoder with the backbone that made its tokens.

    Parameters
    ----------
    trained
        The autoencoder, trained on `store`.
    store
        Holds the backbone and its preprocessing.
    name
        What the bundle is called.

    Raises
    ------
    TrainingError
        They do not go together.
    CheckpointError
        The store's backbone is missing or damaged.
    """
    if (trained.sae.d_model, trained.sae.block) != (store.shape[2], store.block):
        raise TrainingError(
            f"The autoencoder reads tokens {trained.sae.d_model} wide after block "
            f"{trained.sae.block}; {store.path} holds tokens {store.shape[2]} wide after block "
            f"{store.block}."
        )
    model = store.model()
    card = {
        "summary": f"Trained on {len(store):,} crops, with the backbone of {model.name or '?'}.",
        "training": trained.config.to_json(),
        "tokens": store.identity,
    }
    return Bundle(
        name=name,
        backbone=model.backbone,
        sae=trained.sae,
        preprocessing=model.preprocessing,
        card=card,
    )


def save_as_bundle(
    trained: TrainedSae, store: TokenStore, folder: str | Path, name: str | None = None
) -> Path:
    """Write a training's bundle into the training's folder; one that is there is replaced.

    Parameters
    ----------
    trained, store
        See `join_backbone`.
    folder
        The training's folder.
    name
        What the bundle is called; by default as the folder.

    Returns
    -------
    The bundle's folder, which `load_bundle` reads.

    Raises
    ------
    CheckpointError
        It cannot be written.
    """
    folder = Path(folder)
    target = folder / BUNDLE
    bundle = join_backbone(trained, store, name or folder.resolve().name)
    if target.exists():
        # The new one is whole before the old one goes.
        fresh = folder / f"{BUNDLE}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        bundle.save(fresh)
        shutil.rmtree(target)
        fresh.replace(target)
    else:
        bundle.save(target)
    return target
