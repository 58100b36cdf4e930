"""Which bundles there are, where they come from, and where they lie. Imports no torch."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cytosae.errors import CheckpointError, DownloadError
from napari_cytosae.home import home_folder
from napari_cytosae.models import known_hashes
from napari_cytosae.models.download import Progress, download

if TYPE_CHECKING:
    from napari_cytosae.models.bundle import Bundle

STARTER = Path(__file__).with_name("starter")
NAMES = "names.jsonl"
"""A bundle's folder may bring along names of its concepts in this file; it has no hash, so that
names can be edited."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What is known of a bundle without loading it.

    Parameters
    ----------
    name, summary
        What a person calls it, and what it is.
    installed
        Whether it can be loaded without a download.
    size_bytes
        On disk, or to be downloaded.
    folder
        Where it lies, or will lie.
    sources
        Where it comes from; empty for the starter and for one's own.
    card
        The model card of a published bundle; others carry theirs in ``bundle.json``.
    """

    name: str
    summary: str
    installed: bool
    size_bytes: int
    folder: Path
    sources: tuple[str, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Published:
    summary: str
    size_bytes: int
    files: Mapping[str, tuple[str, ...]]
    backbone: str
    sae: str
    card: Mapping[str, str]


# The published CytoSAE (arXiv 2507.12464) and its backbone DinoBloom-B, as their authors host them.
PUBLISHED = {
    "cytosae": _Published(
        summary="the published CytoSAE: 49,152 concepts on DinoBloom-B",
        size_bytes=648_000_000,
        files={
            "DinoBloom-B.pth": (
                "https://zenodo.org/records/10908163/files/DinoBloom-B.pth?download=1",
                "https://huggingface.co/MarrLab/DinoBloom/resolve/main/pytorch_model_b.bin",
                "https://huggingface.co/1aurent/vit_base_patch14_224.dinobloom/resolve/main/"
                "model.safetensors",
            ),
            "final_sparse_autoencoder_dinov2_vitb14_-2_resid_49152.pt": (
                "https://nefeli.helmholtz-munich.de/records/fdn7v-4vt65/files/"
                "final_sparse_autoencoder_dinov2_vitb14_-2_resid_49152.pt?download=1",
            ),
        },
        backbone="DinoBloom-B.pth",
        sae="final_sparse_autoencoder_dinov2_vitb14_-2_resid_49152.pt",
        card={
            "summary": "CytoSAE: 49,152 concepts on the second to last block of DinoBloom-B",
            "paper": "arXiv 2507.12464 (CytoSAE), arXiv 2404.05022 (DinoBloom)",
            "backbone": "DinoBloom-B, Zenodo record 10908163",
            "sae": "nefeli.helmholtz-munich.de record fdn7v-4vt65",
            "not_for": "Not for diagnosis.",
        },
    )
}


def available_bundles() -> list[BundleInfo]:
    """List the bundles that `load_bundle` knows by name: shipped, published, and one's own."""
    known = [_info_of_folder("starter", STARTER)] if (STARTER / "bundle.json").is_file() else []
    for name, published in PUBLISHED.items():
        folder = _bundles() / name
        known.append(
            BundleInfo(
                name,
                published.summary,
                all((folder / file).is_file() for file in published.files),
                published.size_bytes,
                folder,
                tuple(url for urls in published.files.values() for url in urls),
                published.card,
            )
        )
    if _bundles().is_dir():
        known.extend(
            _info_of_folder(folder.name, folder)
            for folder in sorted(_bundles().iterdir())
            if folder.name not in PUBLISHED and (folder / "bundle.json").is_file()
        )
    return known


def bundle_folders() -> list[Path]:
    """List the folders of all bundles on this computer, the shipped one first."""
    found = [folder for folder in (STARTER,) if folder.is_dir()]
    if _bundles().is_dir():
        found.extend(sorted(folder for folder in _bundles().iterdir() if folder.is_dir()))
    return found


def find_bundle(name: str) -> BundleInfo:
    """Look a bundle up by name.

    Raises
    ------
    CheckpointError
        There is none; the message suggests the one that may have been meant.
    """
    known = {info.name: info for info in available_bundles()}
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(known)}."
    raise CheckpointError(f"There is no bundle {name!r}, nor a folder of that name. {hint}")


def weight_files(name: str) -> tuple[Path, Path] | None:
    """Backbone and SAE files of a published bundle that was fetched; None for bundle folders.

    Raises
    ------
    DownloadError
        It was not fetched yet, or a file has changed since it was first used.
    """
    published = PUBLISHED.get(name)
    if published is None:
        return None
    folder = _bundles() / name
    missing = [file for file in published.files if not (folder / file).is_file()]
    if missing:
        raise DownloadError(
            f"{name} is not here yet: fetch it (napari-cytosae bundles fetch {name}), or put "
            f"{' and '.join(missing)} into {folder}"
        )
    for file in published.files:
        known_hashes.check(folder / file)
    return folder / published.backbone, folder / published.sae


def fetch_bundle(
    name: str,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    sources: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Download what a published bundle consists of; what is there already is only checked.

    Parameters
    ----------
    name
        A name of `available_bundles`.
    progress
        Called with the bytes done and in all, over all files; None where a server does not say.
    cancelled
        Asked between pieces; what came is kept.
    sources
        Mirrors by file name, in place of the published ones.

    Returns
    -------
    The bundle's folder.

    Raises
    ------
    DownloadError
        A file cannot be fetched or is not what it should be.
    Cancelled
        `cancelled` said so.
    """
    info = find_bundle(name)
    published = PUBLISHED.get(name)
    if published is None:
        return info.folder
    before = 0

    def add_up(done: int, _total: int | None) -> None:
        progress(before + done, max(info.size_bytes, before + done))

    for file, urls in published.files.items():
        target = info.folder / file
        addresses = (sources or published.files).get(file, urls)
        download(addresses, target, progress=add_up, cancelled=cancelled)
        before += target.stat().st_size
    progress(before, before)
    return info.folder


def add_bundle(
    folder: str | Path | None = None,
    *,
    backbone: str | Path | None = None,
    sae: str | Path | None = None,
    name: str | None = None,
) -> BundleInfo:
    """Give a bundle folder, or a backbone and an SAE file, a name of one's own.

    The model is loaded once, so that what gets a name is known to work, and copied.

    Raises
    ------
    CheckpointError
        The model cannot be loaded, or the name is taken or no name.
    """
    from dataclasses import replace

    from napari_cytosae.models.bundle import load_bundle
    from napari_cytosae.models.bundle_folder import copy_bundle, save_bundle

    bundle: Bundle = load_bundle(
        None if folder is None else Path(folder), backbone=backbone, sae=sae
    )
    name = name or bundle.name
    if not re.fullmatch(r"[\w][\w.+\- ]*", name):
        raise CheckpointError(f"{name!r} is no name: use letters, digits, dots and dashes.")
    target = _bundles() / name
    if any(info.name == name for info in available_bundles()) or target.exists():
        raise CheckpointError(f"There is a bundle {name!r} already; choose another name.")
    if folder is not None:
        copy_bundle(Path(folder), target)
    else:
        save_bundle(replace(bundle, name=name), target)
    return _info_of_folder(name, target)


def _bundles() -> Path:
    return home_folder() / "bundles"


def _info_of_folder(name: str, folder: Path) -> BundleInfo:
    try:
        content = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        summary = str((content.get("card") or {}).get("summary", "a model of your own"))
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except (OSError, ValueError, AttributeError) as error:
        # One damaged folder must not hide the others; loading it says what is wrong, too.
        return BundleInfo(name, f"damaged ({error}): mend or delete {folder}", False, 0, folder)
    return BundleInfo(name, summary, True, size, folder)
