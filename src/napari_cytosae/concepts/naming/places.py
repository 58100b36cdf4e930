"""Where names live: one file per SAE in the user's folder, or a file that a lab shares."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from napari_cytosae.concepts.durable import write_json_durably
from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.names_file import SUFFIX, read_names
from napari_cytosae.concepts.naming.records import Record
from napari_cytosae.errors import NamesError, RunError
from napari_cytosae.home import home_folder
from napari_cytosae.models.registry import NAMES, bundle_folders

_PLACES: Final = "places.json"
_opened: WeakValueDictionary[tuple[Path, str], Dictionary] = WeakValueDictionary()
_opening = threading.Lock()


def names_folder() -> Path:
    """Folder of the dictionaries; ``NAPARI_CYTOSAE_NAMES`` names another, such as a lab's."""
    chosen = os.environ.get("NAPARI_CYTOSAE_NAMES")
    return Path(chosen) if chosen else home_folder() / "names"


def names_path(sae_digest: str) -> Path:
    """File that holds the names of an SAE's concepts: a shared one that was chosen, or one's own."""
    shared = _read_places().get(sae_digest)
    return Path(shared) if shared else names_folder() / f"{sae_digest[:16]}{SUFFIX}"


def use_shared_names(sae_digest: str, path: str | Path | None) -> Path:
    """Keep the names of an SAE's concepts in a file of the lab from now on.

    Names in one's own file stay there; `Dictionary.merge` takes them over.

    Parameters
    ----------
    sae_digest
        Digest of the SAE.
    path
        The shared file, which need not exist yet, or a folder to keep it in; None goes back to
        one's own file.

    Returns
    -------
    Path
        The file that is used now.

    Raises
    ------
    NamesError
        Where the file names concepts of another SAE, or the choice cannot be saved.
    """
    places = _read_places()
    places.pop(sae_digest, None)
    if path is not None:
        path = Path(path).expanduser().absolute()
        if path.is_dir():
            path = path / f"{sae_digest[:16]}{SUFFIX}"
        if path.exists():
            Dictionary(path, sae_digest)  # says what is wrong with it before it is chosen
        places[sae_digest] = str(path)
    try:
        _places_path().parent.mkdir(parents=True, exist_ok=True)
        write_json_durably(_places_path(), {"version": 1, "files": places})
    except (OSError, RunError) as error:
        raise NamesError(f"{_places_path()} cannot be written ({error}).") from error
    return names_path(sae_digest)


def dictionary_of(sae_digest: str, bundle_names: Path | None = None) -> Dictionary:
    """Open the dictionary of an SAE; the same object for all who ask while anyone holds it.

    Names that a bundle brings along are in it, and give way to those of the user's own file.

    Parameters
    ----------
    sae_digest
        Digest of the SAE.
    bundle_names
        File of names of a bundle that is not among those known by name.

    Raises
    ------
    NamesError
        Where the file cannot be read.
    """
    key = (names_path(sae_digest), sae_digest)
    with _opening:
        dictionary = _opened.get(key)
        if dictionary is None:
            shipped = list(shipped_records(sae_digest))
            dictionary = _opened[key] = Dictionary(key[0], sae_digest, shipped=shipped)
    dictionary.refresh()
    if bundle_names is not None:
        file = read_names(bundle_names)
        if file.sae_digest == sae_digest:
            dictionary.add_shipped(file.records)
    return dictionary


def shipped_records(sae_digest: str) -> Iterator[Record]:
    """Give the names that bundles on this computer bring along for an SAE's concepts."""
    for folder in bundle_folders():
        path = folder / NAMES
        if not path.is_file():
            continue
        try:
            file = read_names(path)
        except NamesError:  # one damaged file of a bundle must not keep all others from being read
            continue
        if file.sae_digest == sae_digest:
            yield from file.records


def _places_path() -> Path:
    return home_folder() / "names" / _PLACES


def _read_places() -> dict[str, str]:
    try:
        content = json.loads(_places_path().read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NamesError(
            f"{_places_path()} cannot be read ({error!r}). Delete it, and choose the shared files "
            "again."
        ) from error
