"""Which files of a cohort are images or runs, and whether they can be opened at all."""

from pathlib import Path

from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides.pictures import PICTURE_MAGIC

_CHECKED = frozenset(
    {".bif", ".bmp", ".jpeg", ".jpg", ".ndpi", ".png", ".qptiff", ".scn", ".svs", ".tif", ".tiff"}
)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IMAGE_SUFFIXES = _CHECKED | {".czi", ".dcm", ".mrxs", ".svslide", ".vms", ".vmu"}
RUN_FILE = "run.json"


def is_run(path: Path) -> bool:
    """Tell whether a path is a run folder."""
    return (path / RUN_FILE).is_file()


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image."""
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def images_in(folder: Path) -> list[Path]:
    """List the images and runs that lie in a folder, sorted as people count: 2 before 10."""
    entries = [entry for entry in folder.iterdir() if is_run(entry) or is_image(entry)]
    return sorted(entries, key=_as_counted)


def sub_folders(folder: Path) -> list[Path]:
    """List the folders in a folder that are no runs and not hidden."""
    entries = [
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and not is_run(entry)
    ]
    return sorted(entries, key=_as_counted)


def why_unreadable(path: Path) -> str:
    """Say why an image or run cannot be read, from its first bytes; empty where nothing shows.

    The pixels are not decoded: a file that is damaged further in is found when it is analysed.
    """
    if path.is_dir():
        if not is_run(path):
            return "is a folder and no run"
        from napari_cytosae.concepts.manifest import RunManifest

        try:
            RunManifest.read(path)
        except CytoSAEError as error:
            return str(error)
        return ""
    try:
        with path.open("rb") as file:
            first = file.read(16)
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"
    if not first:
        return "is empty (0 bytes)"
    if path.suffix.lower() in _CHECKED and not first.startswith((*PICTURE_MAGIC, *_TIFF_MAGIC)):
        return "is not an image that can be read"
    return ""


def _as_counted(path: Path) -> tuple[tuple[bool, int, str], ...]:
    """Order ``field 2`` before ``field 10``."""
    parts: list[tuple[bool, int, str]] = []
    word = ""
    for character in path.name.casefold():
        if word and character.isdecimal() != word[-1].isdecimal():
            parts.append(_part(word))
            word = ""
        word += character
    parts.append(_part(word))
    return tuple(parts)


def _part(word: str) -> tuple[bool, int, str]:
    return (False, int(word), "") if word.isdecimal() else (True, 0, word)
