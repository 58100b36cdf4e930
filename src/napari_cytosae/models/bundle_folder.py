"""A bundle on disk: a folder with weights, their hashes, preprocessing and the model card."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.backbone import load_backbone
from napari_cytosae.models.bundle import Bundle
from napari_cytosae.models.known_hashes import hash_of
from napari_cytosae.models.preprocessing import Preprocessing
from napari_cytosae.models.registry import NAMES
from napari_cytosae.models.sae_files import OURS as SAE_FILES
from napari_cytosae.models.sae_files import load_sae, save_sae
from napari_cytosae.models.tensor_files import write_tensors

MANIFEST = "bundle.json"
BACKBONE = "backbone.safetensors"
FORMAT = "cytosae-bundle"
VERSION = 1


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle as a folder that `load_bundle` reads; whole, or not at all.

    Raises
    ------
    CheckpointError
        The folder exists already, or cannot be written.
    """
    folder = Path(folder)
    exact = bundle.origin or bundle
    if folder.exists():
        raise CheckpointError(f"{folder} exists already; choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bundle-") as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            state = {
                key: value.contiguous() for key, value in exact.backbone.dinov2_state().items()
            }
            write_tensors(state, made / BACKBONE)
            save_sae(exact.sae, made)
            files = {path.name: hash_of(path) for path in sorted(made.iterdir())}
            manifest = {
                "format": FORMAT,
                "version": VERSION,
                "name": bundle.name,
                "block": bundle.block,
                "depth": bundle.backbone.depth,
                "preprocessing": bundle.preprocessing.to_json(),
                "files": files,
                "card": dict(bundle.card),
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (made / MANIFEST).write_text(text + "\n", encoding="utf-8")
            if bundle.names_path is not None and bundle.names_path.is_file():
                shutil.copyfile(bundle.names_path, made / NAMES)
            made.replace(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written ({error}).") from error
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a bundle folder's ``bundle.json``.

    Raises
    ------
    CheckpointError
        The folder is no bundle, or one of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no bundle: it holds no {MANIFEST}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not describe a bundle.")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {manifest.get('version')}; this napari-cytosae reads {VERSION}."
        )
    return manifest


def load_bundle_folder(folder: str | Path, block: int | None = None) -> Bundle:
    """Load a bundle folder after checking every file against its recorded hash.

    Raises
    ------
    CheckpointError
        A file is missing, was changed, or does not fit.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    where = folder / MANIFEST
    hashes, own_block, depth = (manifest.get(key) for key in ("files", "block", "depth"))
    if not isinstance(hashes, dict) or not {BACKBONE, *SAE_FILES} <= hashes.keys():
        raise CheckpointError(f"{where} should list {BACKBONE} and {' and '.join(SAE_FILES)}.")
    if type(own_block) is not int or type(depth) not in (int, type(None)):
        raise CheckpointError(f"{where} does not say which block the model reads.")
    for name, wanted in hashes.items():
        path = folder / name
        if path.parent != folder or not path.is_file():
            raise CheckpointError(f"{folder} lacks {name!r}; fetch or copy the bundle again.")
        if hash_of(path) != wanted:
            raise CheckpointError(
                f"{path} is not the file that {MANIFEST} describes; fetch or copy the bundle again."
            )
    sae = load_sae(folder / SAE_FILES[0], own_block if block is None else block)
    backbone = load_backbone(folder / BACKBONE, sae.block, depth)
    sae.block = backbone.block
    preprocessing = Preprocessing.from_json(manifest.get("preprocessing"), str(where))
    card = manifest.get("card")
    return Bundle(
        str(manifest.get("name") or folder.name),
        backbone,
        sae,
        preprocessing,
        card=card if isinstance(card, dict) else {},
        names_path=names if (names := folder / NAMES).is_file() else None,
    )


def copy_bundle(source: Path, target: Path) -> Path:
    """Copy a bundle folder that `load_bundle_folder` accepts; whole, or not at all."""
    manifest = read_manifest(source)
    if target.exists():
        raise CheckpointError(f"{target} exists already; choose another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as temporary:
        made = Path(temporary) / target.name
        made.mkdir()
        for name in (MANIFEST, *manifest["files"]):
            shutil.copy2(source / name, made / name)
        if (source / NAMES).is_file():
            shutil.copy2(source / NAMES, made / NAMES)
        made.replace(target)
    return target
