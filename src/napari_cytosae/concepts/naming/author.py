"""Who names concepts on this computer, remembered from one time to the next."""

import getpass
from contextlib import suppress
from pathlib import Path

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming.records import tidy
from napari_cytosae.errors import RunError
from napari_cytosae.home import home_folder


def _path() -> Path:
    return home_folder() / "author.txt"


def remembered_author() -> str:
    """Give the name that was used last, else the account's."""
    with suppress(OSError, UnicodeDecodeError):
        if author := tidy(_path().read_text(encoding="utf-8")):
            return author
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return ""


def remember_author(author: str) -> None:
    """Remember a name; where that cannot be written it has to be typed again, no more."""
    with suppress(OSError, RunError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_durably(
            _path(), lambda temporary: temporary.write_text(tidy(author), encoding="utf-8")
        )
